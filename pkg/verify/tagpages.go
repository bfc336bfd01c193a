package verify

import (
	"fmt"
	"net/url"
	"slices"
)

func tagPageCases() []Case {
	const pagers = "clients that page through a list miss tags, or never end"
	return []Case{
		{
			"tags-n", Discovery, Must, "Listing Tags",
			"With n, the first n tags are listed; fewer only where there are no more, or a Link header leads on.",
			pagers, tagsN,
		},
		{
			"tags-n-large", Discovery, Must, "Listing Tags",
			"With an n that is larger than the number of tags, all are listed.",
			pagers, tagsNLarge,
		},
		{
			"tags-n-zero", Discovery, Must, "Listing Tags",
			"With n=0 the list is empty, and there is no Link header.",
			pagers, tagsNZero,
		},
		{
			"tags-n-invalid", Discovery, Should, "Listing Tags",
			"An n that is not a whole number, or is negative, is refused with a 4xx status.",
			"users are not told what is wrong", tagsNInvalid,
		},
		{
			"tags-last", Discovery, Must, "Listing Tags",
			"With n and last, the n tags after last are listed, without last.",
			pagers, tagsLast,
		},
		{
			"tags-last-without-n", Discovery, Must, "Listing Tags",
			"With last alone, all tags after it are listed.",
			pagers, tagsLastWithoutN,
		},
		{
			"tags-last-missing", Discovery, Should, "Listing Tags",
			"With a last that is not there, the tags that come after it in the order are listed.",
			"paging fails where a tag is deleted meanwhile", tagsLastMissing,
		},
		{
			"tags-last-end", Discovery, Must, "Listing Tags",
			"With the last tag as last, the list is empty, without a Link header.",
			pagers, tagsLastEnd,
		},
		{
			"tags-pages-by-last", Discovery, Must, "Listing Tags",
			"Pages that are asked for with the last tag of the page before have each tag once, in order.",
			"clients that know no Link header", tagsPagesByLast,
		},
		{
			"tags-pages-by-link", Discovery, Must, "Listing Tags",
			"Pages that the Link header leads to have each tag once, in order.",
			"crane, skopeo, oras and regctl page so", tagsPagesByLink,
		},
		{
			"tags-link-form", Discovery, Must, "Listing Tags",
			`A Link header has a URL in angle brackets and the relation rel="next".`,
			"clients stop after the first page", tagsLinkForm,
		},
		{
			"tags-link-more", Discovery, May, "Listing Tags",
			"There is a Link header only where more tags follow.",
			"one request too many, and clients that believe there is more", tagsLinkMore,
		},
	}
}

// page is the query of a page of tags; n < 0 and an empty last are left out.
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

// sevenTags come in this order in either of the orders that the spec allows.
func (p *probe) sevenTags() []string {
	tags := []string{"a", "b", "c", "d", "e", "f", "g"}
	p.withTags(tags...)
	return tags
}

// lists expects a page of these tags. Fewer are allowed where a Link leads on.
func (p *probe) lists(query string, want []string) {
	list, a := p.tags(p.repo, query)
	if a.next() != "" && len(list.Tags) > 0 && len(list.Tags) < len(want) {
		want = want[:len(list.Tags)]
	}
	a.want(slices.Equal(list.Tags, want), "expected the tags %v, got %v", want, list.Tags)
}

func tagsN(p *probe) {
	all := p.sevenTags()
	for _, n := range []int{1, 3, 6, 7} {
		p.lists(page(n, ""), all[:n])
	}
}

func tagsNLarge(p *probe) {
	all := p.sevenTags()
	p.lists(page(8, ""), all)
	p.lists(page(100, ""), all)
}

func tagsNZero(p *probe) {
	p.sevenTags()
	for _, query := range []string{page(0, ""), page(0, "c")} {
		list, a := p.tags(p.repo, query)
		a.want(len(list.Tags) == 0, "expected no tags, got %v", list.Tags)
		a.want(a.header.Get("Link") == "", "expected no Link header")
	}
}

func tagsNInvalid(p *probe) {
	p.withTags("v1")
	for _, n := range []string{"-1", "abc", "1.5", "1e1", "0x10", "99999999999999999999999"} {
		p.get(p.repo.tags("?n=" + n)).refused()
	}
}

func tagsLast(p *probe) {
	all := p.sevenTags()
	p.lists(page(2, "a"), all[1:3])
	p.lists(page(1, "c"), all[3:4])
	p.lists(page(5, "e"), all[5:])
	p.lists(page(2, "e"), all[5:])
}

func tagsLastWithoutN(p *probe) {
	all := p.sevenTags()
	p.lists(page(-1, "a"), all[1:])
	p.lists(page(-1, "f"), all[6:])
}

func tagsLastMissing(p *probe) {
	all := p.sevenTags()
	p.lists(page(2, "bb"), all[2:4])
	p.lists(page(-1, "d0"), all[4:])
	p.lists(page(2, "0"), all[:2])
	p.lists(page(2, "zz"), nil)
}

func tagsLastEnd(p *probe) {
	p.sevenTags()
	for _, query := range []string{page(-1, "g"), page(2, "g")} {
		list, a := p.tags(p.repo, query)
		a.want(len(list.Tags) == 0, "expected no tags, got %v", list.Tags)
		a.want(a.next() == "", "expected no Link header")
	}
}

func tagsPagesByLast(p *probe) {
	all := p.sevenTags()
	for _, n := range []int{1, 2, 7} {
		var got []string
		for last := ""; ; last = got[len(got)-1] {
			list, a := p.tags(p.repo, page(n, last))
			if len(list.Tags) == 0 {
				a.want(slices.Equal(got, all), "expected the tags %v with n=%d, got %v", all, n, got)
				break
			}
			got = append(got, list.Tags...)
			a.want(len(got) <= len(all), "expected each tag once with n=%d, got %v", n, got)
		}
	}
}

func tagsPagesByLink(p *probe) {
	all := p.sevenTags()
	if _, a := p.tags(p.repo, page(2, "")); a.header.Get("Link") == "" {
		p.notOffered(a, "lists have no Link header")
	}
	for _, n := range []int{1, 2, 7} {
		got, a := p.allTags(p.repo, page(n, ""))
		a.want(slices.Equal(got, all), "expected the tags %v with n=%d, got %v", all, n, got)
	}
}

func tagsLinkForm(p *probe) {
	p.sevenTags()
	_, a := p.tags(p.repo, page(2, ""))
	if a.header.Get("Link") == "" {
		p.notOffered(a, "lists have no Link header")
	}
	a.want(a.next() != "", `expected a header like Link: </v2/name/tags/list?n=2&last=b>; rel="next"`)
}

func tagsLinkMore(p *probe) {
	p.sevenTags()
	for _, query := range []string{"", page(7, ""), page(100, ""), page(2, "e"), page(-1, "c")} {
		list, a := p.tags(p.repo, query)
		if len(list.Tags) > 0 && list.Tags[len(list.Tags)-1] == "g" {
			a.want(a.next() == "", "expected no Link header: g is the last tag")
		}
	}
}
