package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func tagsList(t *T) {
	t.withTags("v2", "v1", "latest", "1.0", "_x")
	t.wantTags("v2", "v1", "latest", "1.0", "_x")
}

func tagsForm(t *T) {
	t.withTags("v1")
	list, a := t.tags(t.repo, "")
	a.want(list.Name == string(t.repo), "expected the name %q", t.repo)
	a.want(len(list.Tags) == 1 && list.Tags[0] == "v1", `expected the tags ["v1"]`)
}

func tagsContentType(t *T) {
	t.withTags("v1")
	_, a := t.tags(t.repo, "")
	mediaType, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	a.want(mediaType == "application/json", "expected the header Content-Type: application/json")
}

func tagsOrder(t *T) {
	t.withTags("b", "A", "c", "a1", "D", "B2", "d", "C0")
	tags, a := t.allTags(t.repo, "")
	alike := func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) }
	a.want(slices.IsSorted(tags) || slices.IsSortedFunc(tags, alike), "expected the tags in lexical order, got %v", tags)
}

func tagsAtOnce(t *T) {
	m := t.withTags("v1")
	t.wantTags("v1")
	t.seedManifest(t.repo, "v2", m)
	t.wantTags("v1", "v2")
	t.seedManifest(t.repo, "v1", t.variant(m))
	t.wantTags("v1", "v2")
}

func tagsOnlyTags(t *T) {
	m := t.withTags("v1")
	t.seedManifest(t.repo, "", t.variant(m))
	other := t.variant(m)
	other.blob = sha512Of(other.content)
	t.putManifest(t.repo, string(other.digest), other) // a registry may refuse it
	t.wantTags("v1")
}

func tagsRepositoriesApart(t *T) {
	t.withTags("here")
	t.seedImage(t.other, "other")
	t.seedImage(t.repo+"/below", "below")
	t.wantTags("here")
}

func tagsNone(t *T) {
	t.seedImage(t.repo, "")
	list, a := t.tags(t.repo, "")
	a.want(len(list.Tags) == 0, "expected no tags")
	var raw struct{ Tags json.RawMessage }
	a.decode(&raw)
	a.want(bytes.HasPrefix(raw.Tags, []byte("[")), "expected an empty array")
}

func tagsMissingRepository(t *T) {
	a := t.get(t.repo.tags("")).wantStatus(http.StatusNotFound, http.StatusOK)
	if a.Status == http.StatusOK {
		var list tagList
		a.decode(&list)
		a.want(len(list.Tags) == 0, "expected no tags")
	}
}

func tagsAfterDelete(t *T) {
	t.withTags("v1", "v2", "v3")
	t.setup(func() { t.wantDeleted(t.repo.manifest("v2")) })
	t.wantTags("v1", "v3")
}

func tagsMany(t *T) {
	m := t.newImage(t.repo)
	want := make([]string, 130)
	t.parallel(10, func(i int) {
		for j := i; j < len(want); j += 10 {
			want[j] = fmt.Sprintf("v%d", j)
			t.seedManifest(t.repo, want[j], m)
		}
	})
	t.wantTags(want...)
}
