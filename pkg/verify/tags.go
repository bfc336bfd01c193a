package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func tagCases() []Case { return slices.Concat(tagListCases(), tagPageCases()) }

func tagListCases() []Case {
	const listers = "crane ls, skopeo list-tags, and tools that choose the newest release"
	return []Case{
		{
			"tags-list", Discovery, Must, "Listing Tags",
			"GET of the tags answers 200 with every tag of the repository, each once.",
			listers, tagsList,
		},
		{
			"tags-form", Discovery, Must, "Listing Tags",
			"The list of tags is a JSON object with the repository's name and an array of tags.",
			listers, tagsForm,
		},
		{
			"tags-content-type", Discovery, Should, "RFC 9110 8.3",
			"The list of tags has the Content-Type application/json.",
			"clients that choose by it how to read the answer", tagsContentType,
		},
		{
			"tags-order", Discovery, Must, "Listing Tags",
			"The tags come in lexical order: byte by byte, or with upper and lower case alike.",
			"clients that page through a list miss tags", tagsOrder,
		},
		{
			"tags-at-once", Discovery, Must, "Listing Tags",
			"A tag is listed as soon as its push is answered, and once only after it has moved.",
			"jobs that list right after a push", tagsAtOnce,
		},
		{
			"tags-only-tags", Discovery, Must, "Listing Tags",
			"A manifest that was pushed by digest, sha256 or sha512, is not in the list of tags.",
			"clients that pull everything that is listed", tagsOnlyTags,
		},
		{
			"tags-repositories-apart", Discovery, Must, "Definitions",
			"The list has the tags of this repository, not those of ones whose names begin like it.",
			"mirrors copy what is not there", tagsRepositoriesApart,
		},
		{
			"tags-none", Discovery, Should, "Listing Tags",
			"A repository without tags answers 200 with an empty array, not null.",
			"clients take 404 for a repository that is gone, and in typed languages fail on null", tagsNone,
		},
		{
			"tags-missing-repository", Discovery, Must, "Endpoints",
			"The list of a repository that does not exist answers 404, or 200 with no tags.",
			"clients take anything else for an outage", tagsMissingRepository,
		},
		{
			"tags-after-delete", Discovery, Must, "Deleting tags",
			"A tag that was deleted is no longer listed, and all others are.",
			"clients pull what is gone", tagsAfterDelete,
		},
		{
			"tags-many", Discovery, Must, "Listing Tags",
			"All of 130 tags are listed: at once, or on pages that a Link header leads to.",
			listers, tagsMany,
		},
	}
}

// tagList is the answer of the API.
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// tags asks for a list of tags.
func (p *probe) tags(repo repository, query string) (list tagList, a *answer) {
	a = p.get(repo.tags(query)).is(http.StatusOK)
	a.decode(&list)
	return list, a
}

// allTags follows a list to its end.
func (p *probe) allTags(repo repository, query string) (tags []string, last *answer) {
	list, a := p.tags(repo, query)
	tags = list.Tags
	seen := map[string]bool{}
	for next := a.next(); next != ""; next = a.next() {
		a.want(!seen[next], "expected pages that end: this Link came before")
		seen[next] = true
		var page tagList
		a = p.get(next).is(http.StatusOK)
		a.decode(&page)
		tags = append(tags, page.Tags...)
		a.want(len(seen) < 1000, "expected pages that end")
	}
	return tags, a
}

// hasTags expects exactly these tags, in any order.
func (a *answer) hasTags(got []string, want ...string) {
	slices.Sort(want)
	sorted := slices.Sorted(slices.Values(got))
	a.want(slices.Equal(sorted, want), "expected the tags %v, got %v", want, sorted)
}

// withTags pushes an image to these tags.
func (p *probe) withTags(tags ...string) manifest {
	m := p.newImage(p.repo)
	for _, tag := range tags {
		p.hasManifest(p.repo, tag, m)
	}
	return m
}

func tagsList(p *probe) {
	p.withTags("v2", "v1", "latest", "1.0", "_x")
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v2", "v1", "latest", "1.0", "_x")
}

func tagsForm(p *probe) {
	p.withTags("v1")
	list, a := p.tags(p.repo, "")
	a.want(list.Name == string(p.repo), "expected the name %q", p.repo)
	a.want(len(list.Tags) == 1 && list.Tags[0] == "v1", `expected the tags ["v1"]`)
}

func tagsContentType(p *probe) {
	p.withTags("v1")
	_, a := p.tags(p.repo, "")
	mediaType, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	a.want(mediaType == "application/json", "expected the header Content-Type: application/json")
}

func tagsOrder(p *probe) {
	p.withTags("b", "A", "c", "a1", "D", "B2", "d", "C0")
	tags, a := p.allTags(p.repo, "")
	alike := func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) }
	a.want(slices.IsSorted(tags) || slices.IsSortedFunc(tags, alike), "expected the tags in lexical order, got %v", tags)
}

func tagsAtOnce(p *probe) {
	m := p.withTags("v1")
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v1")
	p.hasManifest(p.repo, "v2", m)
	tags, a = p.allTags(p.repo, "")
	a.hasTags(tags, "v1", "v2")
	p.hasManifest(p.repo, "v1", p.variant(m))
	tags, a = p.allTags(p.repo, "")
	a.hasTags(tags, "v1", "v2")
}

func tagsOnlyTags(p *probe) {
	m := p.withTags("v1")
	p.hasManifest(p.repo, "", p.variant(m))
	other := p.variant(m)
	other.blob = sha512Of(other.content)
	p.putManifest(p.repo, string(other.digest), other) // which a registry may refuse
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v1")
}

func tagsRepositoriesApart(p *probe) {
	p.withTags("here")
	p.hasImage(p.other, "other")
	p.hasImage(p.repo+"/below", "below")
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "here")
}

func tagsNone(p *probe) {
	p.hasImage(p.repo, "")
	list, a := p.tags(p.repo, "")
	a.want(len(list.Tags) == 0, "expected no tags")
	var raw struct{ Tags json.RawMessage }
	a.decode(&raw)
	a.want(bytes.HasPrefix(raw.Tags, []byte("[")), "expected an empty array")
}

func tagsMissingRepository(p *probe) {
	a := p.get(p.repo.tags("")).is(http.StatusNotFound, http.StatusOK)
	if a.status == http.StatusOK {
		var list tagList
		a.decode(&list)
		a.want(len(list.Tags) == 0, "expected no tags")
	}
}

func tagsAfterDelete(p *probe) {
	p.withTags("v1", "v2", "v3")
	p.given(func() { p.deletes(p.repo.manifest("v2")) })
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v1", "v3")
}

func tagsMany(p *probe) {
	m := p.newImage(p.repo)
	want := make([]string, 130)
	p.each(10, func(i int) {
		for j := i; j < len(want); j += 10 {
			want[j] = fmt.Sprintf("v%d", j)
			p.hasManifest(p.repo, want[j], m)
		}
	})
	tags, a := p.allTags(p.repo, "")
	a.want(len(tags) == len(want), "expected %d tags, got %d", len(want), len(tags))
	a.hasTags(tags, want...)
}
