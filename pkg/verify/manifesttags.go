package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func pushTagsCases() []Case {
	return []Case{
		{
			"manifest-push-tags", Push, May, "Pushing Manifests",
			"PUT of a manifest to its digest with ?tag= sets the tags too.",
			"one request for each tag", manifestPushTags,
		},
		{
			"manifest-push-tags-header", Push, Must, "Pushing Manifests",
			"After a push with ?tag=, exactly the tags in OCI-Tag are set, new ones and ones that were elsewhere.",
			"clients do not set again what they believe is set", manifestPushTagsHeader,
		},
		{
			"manifest-push-tags-ten", Push, Should, "Pushing Manifests",
			"One push sets 10 tags.",
			"one request for each tag", manifestPushTagsTen,
		},
		{
			"manifest-push-tags-many", Push, Should, "Pushing Manifests",
			"A push with 300 tags is refused with a 4xx status, or answered with those that were set in OCI-Tag.",
			"clients take a fault for an outage", manifestPushTagsMany,
		},
		{
			"manifest-push-tags-malformed", Push, Must, "Pulling manifests",
			"A push with a tag in ?tag= that is not allowed is refused, or goes on without that tag.",
			"tags that clients cannot ask for", manifestPushTagsMalformed,
		},
		{
			"manifest-push-tags-sha512", Push, Should, "Pushing Manifests",
			"A manifest with a sha512 digest gets its tags with ?tag=.",
			"tags cannot be pushed with a digest of choice in any other way", manifestPushTagsSHA512,
		},
	}
}

// pushTags pushes a manifest with tags, and returns those that were set. The case
// ends where the registry does not know the parameter.
func (p *probe) pushTags(m manifest, tags ...string) (*answer, []string) {
	a := p.putManifest(p.repo, string(m.digest)+"?"+url.Values{"tag": tags}.Encode(), m)
	var set []string
	for _, header := range a.header.Values("OCI-Tag") {
		for tag := range strings.SplitSeq(header, ",") {
			set = append(set, strings.TrimSpace(tag))
		}
	}
	return a, set
}

// offersPushTags ends the case where the registry does not set tags so.
func (p *probe) offersPushTags(m manifest) {
	if a, set := p.pushTags(m, "offered"); len(set) == 0 {
		p.notOffered(a, "?tag= does nothing: there is no OCI-Tag")
	}
}

func manifestPushTags(p *probe) {
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	a, set := p.pushTags(m, "v1", "v2")
	a.is(http.StatusCreated).want(slices.Contains(set, "v1") && slices.Contains(set, "v2"), "expected v1 and v2 in OCI-Tag")
	for _, ref := range []string{"v1", "v2", string(m.digest)} {
		p.pulls(p.repo, ref, m)
	}
}

func manifestPushTagsHeader(p *probe) {
	old := p.hasImage(p.repo, "v1")
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	a, set := p.pushTags(m, "v1", "v2", "v3")
	a.is(http.StatusCreated)
	for _, tag := range []string{"v1", "v2", "v3"} {
		switch {
		case slices.Contains(set, tag):
			p.pulls(p.repo, tag, m)
		case tag == "v1":
			p.pulls(p.repo, tag, old)
		default:
			p.getManifest(p.repo, tag).is(http.StatusNotFound)
		}
	}
}

func manifestPushTagsTen(p *probe) {
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	var tags []string
	for i := range 10 {
		tags = append(tags, fmt.Sprintf("v%d", i))
	}
	a, set := p.pushTags(m, tags...)
	a.is(http.StatusCreated)
	for _, tag := range tags {
		a.want(slices.Contains(set, tag), "expected %s in OCI-Tag", tag)
		p.pulls(p.repo, tag, m)
	}
}

func manifestPushTagsMany(p *probe) {
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	var tags []string
	for i := range 300 {
		tags = append(tags, fmt.Sprintf("v%d", i))
	}
	a, set := p.pushTags(m, tags...)
	if a.status != http.StatusCreated {
		a.refused()
		return
	}
	for _, tag := range []string{"v0", "v150", "v299"} {
		want := http.StatusNotFound
		if slices.Contains(set, tag) {
			want = http.StatusOK
		}
		p.headManifest(p.repo, tag).is(want)
	}
}

func manifestPushTagsMalformed(p *probe) {
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	for _, bad := range []string{".hidden", "a b", "", strings.Repeat("a", 129), "a,b", "sha256:" + strings.Repeat("a", 64)} {
		a, set := p.pushTags(m, "v1", bad)
		if a.status == http.StatusCreated {
			a.want(!slices.Contains(set, bad) || bad == "", "expected no tag %q", bad)
			continue
		}
		a.refused()
	}
}

func manifestPushTagsSHA512(p *probe) {
	m := p.newImage(p.repo)
	p.offersPushTags(m)
	m.blob = sha512Of(m.content)
	p.given(func() { p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated) })
	a, set := p.pushTags(m, "v1")
	a.is(http.StatusCreated).hasDigest(m.digest).want(slices.Contains(set, "v1"), "expected v1 in OCI-Tag")
	p.pulls(p.repo, "v1", m)
}
