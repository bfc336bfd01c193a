package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pushTags pushes a manifest with ?tag= and returns the tags in OCI-Tag.
func (t *T) pushTags(m manifest, tags ...string) (*answer, []string) {
	a := t.putManifest(t.repo, string(m.digest)+"?"+url.Values{"tag": tags}.Encode(), m)
	var set []string
	for _, header := range a.Header.Values("OCI-Tag") {
		for tag := range strings.SplitSeq(header, ",") {
			set = append(set, strings.TrimSpace(tag))
		}
	}
	return a, set
}

// offersPushTags ends the case if the registry does not support ?tag=.
func (t *T) offersPushTags(m manifest) {
	if a, set := t.pushTags(m, "offered"); len(set) == 0 {
		t.notOffered(a, "?tag= is not supported: there is no OCI-Tag")
	}
}

func manifestPushTags(t *T) {
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	a, set := t.pushTags(m, "v1", "v2")
	a.wantStatus(http.StatusCreated).want(slices.Contains(set, "v1") && slices.Contains(set, "v2"), "expected v1 and v2 in OCI-Tag")
	for _, ref := range []string{"v1", "v2", string(m.digest)} {
		t.wantManifest(t.repo, ref, m)
	}
}

func manifestPushTagsHeader(t *T) {
	old := t.seedImage(t.repo, "v1")
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	a, set := t.pushTags(m, "v1", "v2", "v3")
	a.wantStatus(http.StatusCreated)
	for _, tag := range []string{"v1", "v2", "v3"} {
		switch {
		case slices.Contains(set, tag):
			t.wantManifest(t.repo, tag, m)
		case tag == "v1":
			t.wantManifest(t.repo, tag, old)
		default:
			t.getManifest(t.repo, tag).wantStatus(http.StatusNotFound)
		}
	}
}

func manifestPushTagsTen(t *T) {
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	var tags []string
	for i := range 10 {
		tags = append(tags, fmt.Sprintf("v%d", i))
	}
	a, set := t.pushTags(m, tags...)
	a.wantStatus(http.StatusCreated)
	for _, tag := range tags {
		a.want(slices.Contains(set, tag), "expected %s in OCI-Tag", tag)
		t.wantManifest(t.repo, tag, m)
	}
}

func manifestPushTagsMany(t *T) {
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	var tags []string
	for i := range 300 {
		tags = append(tags, fmt.Sprintf("v%d", i))
	}
	a, set := t.pushTags(m, tags...)
	if a.Status != http.StatusCreated {
		a.wantRefused()
		return
	}
	for _, tag := range []string{"v0", "v150", "v299"} {
		want := http.StatusNotFound
		if slices.Contains(set, tag) {
			want = http.StatusOK
		}
		t.headManifest(t.repo, tag).wantStatus(want)
	}
}

func manifestPushTagsMalformed(t *T) {
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	for _, bad := range []string{".hidden", "a b", "", strings.Repeat("a", 129), "a,b", "sha256:" + strings.Repeat("a", 64)} {
		a, set := t.pushTags(m, "v1", bad)
		if a.Status == http.StatusCreated {
			a.want(!slices.Contains(set, bad) || bad == "", "expected no tag %q", bad)
			continue
		}
		a.wantRefused()
	}
}

func manifestPushTagsSHA512(t *T) {
	m := t.newImage(t.repo)
	t.offersPushTags(m)
	m.blob = sha512Of(m.content)
	t.setup(func() { t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated) })
	a, set := t.pushTags(m, "v1")
	a.wantStatus(http.StatusCreated).wantDigest(m.digest).want(slices.Contains(set, "v1"), "expected v1 in OCI-Tag")
	t.wantManifest(t.repo, "v1", m)
}
