package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

func TestReferrers(t *testing.T) {
	s := newSite(t)
	config := s.pushBlob("a", []byte("{}"))
	subject := oci.SHA256.FromBytes([]byte("not pushed yet"))
	artifact := func(artifactType, configType, note string) oci.Digest {
		m := marshal(map[string]any{
			"artifactType": artifactType, "config": descriptor(configType, config, 2), "layers": []any{},
			"subject": descriptor(oci.MediaTypeImageManifest, subject, 14), "annotations": map[string]string{"note": note},
		})
		d := oci.SHA256.FromBytes(m)
		a := s.do("PUT", "/v2/a/manifests/"+string(d), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).want(t, http.StatusCreated)
		if a.Header.Get("OCI-Subject") != string(subject) {
			t.Errorf("OCI-Subject %q", a.Header.Get("OCI-Subject"))
		}
		return d
	}
	list := func(query string) (oci.Index, http.Header) {
		a := s.do("GET", "/v2/a/referrers/"+string(subject)+query, nil).want(t, http.StatusOK)
		var index oci.Index
		if err := json.Unmarshal(a.body, &index); err != nil || index.Manifests == nil || a.Header.Get("Content-Type") != oci.MediaTypeImageIndex {
			t.Fatalf("no index: %v, %s", err, a.body)
		}
		return index, a.Header
	}
	if index, _ := list(""); len(index.Manifests) != 0 {
		t.Errorf("referrers from nowhere: %v", index)
	}
	huge := "application/" + strings.Repeat("x", 700)
	small := artifact("application/sig", "c", "one")
	artifact("application/sig.more", "c", "two") // a type that the first is a prefix of
	fromConfig := artifact("", "application/from-config", "three")
	long := artifact(huge, "c", "four")
	if index, _ := list(""); len(index.Manifests) != 4 {
		t.Errorf("%d referrers, want 4", len(index.Manifests))
	}
	for artifactType, want := range map[string]oci.Digest{"application/sig": small, "application/from-config": fromConfig, huge: long} {
		index, head := list("?artifactType=" + url.QueryEscape(artifactType))
		if len(index.Manifests) != 1 || index.Manifests[0].Digest != want || index.Manifests[0].ArtifactType != artifactType ||
			index.Manifests[0].Annotations["note"] == "" || head.Get("OCI-Filters-Applied") != "artifactType" {
			t.Errorf("filter %.40s: %+v", artifactType, index.Manifests)
		}
	}
	for _, nothing := range []string{"none", "%ff", "%00"} { // DynamoDB refuses keys that are not UTF-8
		if index, _ := list("?artifactType=" + nothing); len(index.Manifests) != 0 {
			t.Errorf("the filter %s gives %v", nothing, index.Manifests)
		}
	}
	s.do("DELETE", "/v2/a/manifests/"+string(small), nil).want(t, http.StatusAccepted)
	if index, _ := list(""); len(index.Manifests) != 3 {
		t.Errorf("%d referrers after a delete, want 3", len(index.Manifests))
	}
}

func TestReferrersInPages(t *testing.T) {
	s := newSite(t)
	config := s.pushBlob("a", []byte("{}"))
	subject := oci.SHA256.FromBytes([]byte("subject"))
	want := map[oci.Digest]bool{}
	for i := range 230 {
		pad := ""
		if i%100 == 0 {
			pad = strings.Repeat("x", 1_500_000) // too many annotations for a row
		}
		m := marshal(map[string]any{
			"config": descriptor(fmt.Sprint("t", i%3), config, 2), "annotations": map[string]string{"n": fmt.Sprint(i), "pad": pad},
			"subject": descriptor(oci.MediaTypeImageManifest, subject, 7),
		})
		want[s.pushManifest("a", string(oci.SHA256.FromBytes(m)), m)] = true
	}
	next, pages := "/v2/a/referrers/"+string(subject), 0
	for next != "" {
		a := s.do("GET", next, nil).want(t, http.StatusOK)
		var index oci.Index
		if err := json.Unmarshal(a.body, &index); err != nil {
			t.Fatal(err)
		}
		for _, m := range index.Manifests {
			if !want[m.Digest] {
				t.Errorf("%s is listed twice or was never pushed", m.Digest)
			}
			delete(want, m.Digest)
		}
		next, pages = follow(t, a), pages+1
	}
	if len(want) != 0 || pages < 3 {
		t.Errorf("%d referrers are missing after %d pages", len(want), pages)
	}
}

// follow returns the target of the Link header.
func follow(t *testing.T, a answer) string {
	t.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	target, found := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !found {
		t.Fatalf("Link %q", link)
	}
	return target
}

func TestTagsAndCatalog(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	tags := []string{"B", "a", "_x", "1.0", "1.0-rc", "Z9", "a.b", "a-b", strings.Repeat("t", 128)}
	for _, tag := range tags {
		s.pushManifest("a", tag, m)
	}
	slices.Sort(tags)
	list := func(path string) (names []string, next string) {
		a := s.do("GET", path, nil).want(t, http.StatusOK)
		var body struct{ Tags, Repositories []string }
		if err := json.Unmarshal(a.body, &body); err != nil {
			t.Fatal(err)
		}
		return append(body.Tags, body.Repositories...), follow(t, a)
	}
	if got, next := list("/v2/a/tags/list"); !slices.Equal(got, tags) || next != "" {
		t.Errorf("tags %q, Link %q", got, next)
	}
	for _, n := range []int{1, 2, 4, 8, 9, 10} {
		var got []string
		for next := fmt.Sprint("/v2/a/tags/list?n=", n); next != ""; {
			var page []string
			page, next = list(next)
			if len(page) > n {
				t.Errorf("n=%d gives %d tags", n, len(page))
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, tags) {
			t.Errorf("n=%d: %q", n, got)
		}
	}
	if got, next := list("/v2/a/tags/list?n=0"); len(got) != 0 || next != "" {
		t.Errorf("n=0 gives %q, Link %q", got, next)
	}
	if got, _ := list("/v2/a/tags/list?last=a.a"); !slices.Equal(got, tags[slices.Index(tags, "a.b"):]) {
		t.Errorf("after a tag that is not there: %q", got)
	}
	if got, next := list("/v2/a/tags/list?n=5&last=zzz"); len(got) != 0 || next != "" {
		t.Errorf("after the last: %q", got)
	}
	for _, name := range []string{"b/c", "b", "b-c"} {
		s.pushManifest(name, "x", s.image(name, "one"))
	}
	if got, next := list("/v2/_catalog?n=2"); !slices.Equal(got, []string{"a", "b"}) || next != "/v2/_catalog?last=b&n=2" {
		t.Errorf("catalog %q, Link %q", got, next)
	}
	if got, _ := list("/v2/_catalog?last=b"); !slices.Equal(got, []string{"b-c", "b/c"}) {
		t.Errorf("catalog after b: %q", got)
	}
	s.do("DELETE", "/v2/b/manifests/x", nil).want(t, http.StatusAccepted)
	if got, _ := list("/v2/b/tags/list"); len(got) != 0 {
		t.Errorf("a repository without tags lists %q", got)
	}
}

// TestPageOfLongTags: 1,000 tags of 128 bytes are one page, the 1,001st another.
func TestPageOfLongTags(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	d := oci.SHA256.FromBytes(m)
	q := url.Values{}
	for i := range 1001 {
		q.Add("tag", fmt.Sprintf("%0128d", i))
		if len(q["tag"]) == registry.MaxTagsPerPush || i == 1000 {
			s.do("PUT", "/v2/a/manifests/"+string(d)+"?"+q.Encode(), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).want(t, http.StatusCreated)
			q = url.Values{}
		}
	}
	var body struct{ Tags []string }
	a := s.do("GET", "/v2/a/tags/list?n=5000", nil).want(t, http.StatusOK)
	if err := json.Unmarshal(a.body, &body); err != nil || len(body.Tags) != 1000 || !slices.IsSorted(body.Tags) {
		t.Fatalf("%d tags, %v", len(body.Tags), err)
	}
	a = s.do("GET", follow(t, a), nil).want(t, http.StatusOK)
	if err := json.Unmarshal(a.body, &body); err != nil || len(body.Tags) != 1 || follow(t, a) != "" {
		t.Errorf("second page: %d tags, %v, Link %q", len(body.Tags), err, a.Header.Get("Link"))
	}
}
