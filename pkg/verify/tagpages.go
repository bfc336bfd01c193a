package verify

import (
	"slices"
)

// sevenTags pushes tags that both orders of the spec sort alike.
func (t *T) sevenTags() []string {
	tags := []string{"a", "b", "c", "d", "e", "f", "g"}
	t.withTags(tags...)
	return tags
}

// wantPage expects a page of these tags. It may have fewer if a Link header follows.
func (t *T) wantPage(query string, want []string) {
	list, a := t.tags(t.repo, query)
	if a.next() != "" && len(list.Tags) > 0 && len(list.Tags) < len(want) {
		want = want[:len(list.Tags)]
	}
	a.want(slices.Equal(list.Tags, want), "expected the tags %v, got %v", want, list.Tags)
}

func tagsN(t *T) {
	all := t.sevenTags()
	for _, n := range []int{1, 3, 6, 7} {
		t.wantPage(page(n, ""), all[:n])
	}
}

func tagsNLarge(t *T) {
	all := t.sevenTags()
	t.wantPage(page(8, ""), all)
	t.wantPage(page(100, ""), all)
}

func tagsNZero(t *T) {
	t.sevenTags()
	for _, query := range []string{page(0, ""), page(0, "c")} {
		list, a := t.tags(t.repo, query)
		a.want(len(list.Tags) == 0, "expected no tags, got %v", list.Tags)
		a.want(a.Header.Get("Link") == "", "expected no Link header")
	}
}

func tagsNInvalid(t *T) {
	t.withTags("v1")
	for _, n := range []string{"-1", "abc", "1.5", "1e1", "0x10", "99999999999999999999999"} {
		t.get(t.repo.tags("?n=" + n)).wantRefused()
	}
}

func tagsLast(t *T) {
	all := t.sevenTags()
	t.wantPage(page(2, "a"), all[1:3])
	t.wantPage(page(1, "c"), all[3:4])
	t.wantPage(page(5, "e"), all[5:])
	t.wantPage(page(2, "e"), all[5:])
}

func tagsLastWithoutN(t *T) {
	all := t.sevenTags()
	t.wantPage(page(-1, "a"), all[1:])
	t.wantPage(page(-1, "f"), all[6:])
}

func tagsLastMissing(t *T) {
	all := t.sevenTags()
	t.wantPage(page(2, "bb"), all[2:4])
	t.wantPage(page(-1, "d0"), all[4:])
	t.wantPage(page(2, "0"), all[:2])
	t.wantPage(page(2, "zz"), nil)
}

func tagsLastEnd(t *T) {
	t.sevenTags()
	for _, query := range []string{page(-1, "g"), page(2, "g")} {
		list, a := t.tags(t.repo, query)
		a.want(len(list.Tags) == 0, "expected no tags, got %v", list.Tags)
		a.want(a.next() == "", "expected no Link header")
	}
}

func tagsPagesByLast(t *T) {
	all := t.sevenTags()
	for _, n := range []int{1, 2, 7} {
		var got []string
		for last := ""; ; last = got[len(got)-1] {
			list, a := t.tags(t.repo, page(n, last))
			if len(list.Tags) == 0 {
				a.want(slices.Equal(got, all), "expected the tags %v with n=%d, got %v", all, n, got)
				break
			}
			got = append(got, list.Tags...)
			a.want(len(got) <= len(all), "expected each tag once with n=%d, got %v", n, got)
		}
	}
}

func tagsPagesByLink(t *T) {
	all := t.sevenTags()
	if _, a := t.tags(t.repo, page(2, "")); a.Header.Get("Link") == "" {
		t.notOffered(a, "lists have no Link header")
	}
	for _, n := range []int{1, 2, 7} {
		got, a := t.allTags(t.repo, page(n, ""))
		a.want(slices.Equal(got, all), "expected the tags %v with n=%d, got %v", all, n, got)
	}
}

func tagsLinkForm(t *T) {
	t.sevenTags()
	_, a := t.tags(t.repo, page(2, ""))
	if a.Header.Get("Link") == "" {
		t.notOffered(a, "lists have no Link header")
	}
	a.want(a.next() != "", `expected a header like Link: </v2/name/tags/list?n=2&last=b>; rel="next"`)
}

func tagsLinkMore(t *T) {
	t.sevenTags()
	for _, query := range []string{"", page(7, ""), page(100, ""), page(2, "e"), page(-1, "c")} {
		list, a := t.tags(t.repo, query)
		if len(list.Tags) > 0 && list.Tags[len(list.Tags)-1] == "g" {
			a.want(a.next() == "", "expected no Link header: g is the last tag")
		}
	}
}
