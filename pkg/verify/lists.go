package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// tagList is a page of the tag list.
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// tags requests a page of the tag list.
func (t *T) tags(repo repository, query string) (list tagList, a *answer) {
	a = t.get(repo.tags(query)).wantStatus(http.StatusOK)
	a.decode(&list)
	return list, a
}

// pages reads a list page by page, following Link headers, and returns the last page.
func (t *T) pages(target string, read func(page *answer)) *answer {
	seen := map[string]bool{}
	for {
		a := t.get(target).wantStatus(http.StatusOK)
		read(a)
		if target = a.next(); target == "" {
			return a
		}
		a.want(!seen[target] && len(seen) < 1000, "expected a last page: this Link was followed before")
		seen[target] = true
	}
}

// allTags returns the tags on all pages, and the last page.
func (t *T) allTags(repo repository, query string) (tags []string, last *answer) {
	last = t.pages(repo.tags(query), func(page *answer) {
		var list tagList
		page.decode(&list)
		tags = append(tags, list.Tags...)
	})
	return tags, last
}

// wantTags expects exactly these tags in the case's repository, in any order.
func (t *T) wantTags(want ...string) {
	got, a := t.allTags(t.repo, "")
	slices.Sort(got)
	slices.Sort(want)
	a.want(slices.Equal(got, want), "expected the tags %v, got %v", want, got)
}

// withTags pushes an image to these tags.
func (t *T) withTags(tags ...string) manifest {
	m := t.newImage(t.repo)
	for _, tag := range tags {
		t.seedManifest(t.repo, tag, m)
	}
	return m
}

// page returns the query of a page of tags; n < 0 and an empty last are omitted.
func page(n int, last string) string {
	q := url.Values{}
	if n >= 0 {
		q.Set("n", fmt.Sprint(n))
	}
	if last != "" {
		q.Set("last", last)
	}
	return "?" + q.Encode()
}

// listedTags returns all tags, and expects each once and in order. The cases that use it
// push tags in lower case, for which both orders of the spec are the same.
func (t *T) listedTags(repo repository) (tags []string) {
	t.pages(repo.tags(""), func(page *answer) { tags = append(tags, page.tagPage(repo)...) })
	return tags
}

// tagPage returns the tags on a page, and expects each once and in order.
func (a *answer) tagPage(repo repository) []string {
	var page tagList
	a.decode(&page)
	a.want(page.Name == string(repo), "expected the name %q", repo)
	for i := 1; i < len(page.Tags); i++ {
		a.want(page.Tags[i-1] != page.Tags[i], "expected each tag once, %q is listed twice", page.Tags[i])
		a.want(page.Tags[i-1] < page.Tags[i], "expected the tags in order, %q is before %q", page.Tags[i-1], page.Tags[i])
	}
	return page.Tags
}

// offersReferrers pushes a manifest, and ends the case if its referrers answer 404: the
// registry has no referrers API.
func (t *T) offersReferrers(repo repository) (subject manifest) {
	subject = t.seedImage(repo, "")
	t.needsReferrers(repo, subject.digest)
	return subject
}

// seedReferrer pushes an image and an SBOM that refers to it.
func (t *T) seedReferrer() (subject, sbom manifest) {
	subject = t.offersReferrers(t.repo)
	return subject, t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject))
}

// referrers returns the referrers on all pages, and the last page.
func (t *T) referrers(repo repository, subject oci.Digest, query string) (listed []oci.Descriptor, last *answer) {
	last = t.pages(repo.referrers(subject, query), func(page *answer) {
		var index oci.Index
		page.decode(&index)
		listed = append(listed, index.Manifests...)
	})
	return listed, last
}

// wantReferrers expects exactly these referrers, in any order, and returns the last page.
func (t *T) wantReferrers(repo repository, subject oci.Digest, query string, want ...manifest) *answer {
	listed, a := t.referrers(repo, subject, query)
	var got, digests []string
	for _, d := range listed {
		got = append(got, string(d.Digest))
	}
	for _, m := range want {
		digests = append(digests, string(m.digest))
	}
	slices.Sort(got)
	slices.Sort(digests)
	return a.want(slices.Equal(got, digests), "expected %d referrers, %v, got %d, %v", len(digests), short(digests), len(got), short(got))
}

// short truncates a list for an error message.
func short(list []string) []string { return list[:min(len(list), 5)] }

// needsReferrers ends the case if the registry has no referrers API.
func (t *T) needsReferrers(repo repository, subject oci.Digest) {
	if a := t.get(repo.referrers(subject, "")); a.Status == http.StatusNotFound {
		t.notOffered(a, "there is no referrers API")
	}
}

// listedReferrers returns the digests of all referrers, and expects indexes that have
// each once.
func (t *T) listedReferrers(repo repository, subject oci.Digest) (listed []string) {
	t.pages(repo.referrers(subject, ""), func(page *answer) {
		var index oci.Index
		page.wantHeader("Content-Type", mediaIndex).decode(&index)
		page.want(index.SchemaVersion == 2 && index.MediaType == mediaIndex, "expected an image index")
		for _, d := range index.Manifests {
			page.want(!slices.Contains(listed, string(d.Digest)), "expected each referrer once, %s is listed twice", d.Digest)
			listed = append(listed, string(d.Digest))
		}
	})
	return listed
}
