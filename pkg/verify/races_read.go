package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

func racePullUndisturbed(t *T) {
	config, layer := t.newBlob(200), t.newBlob(3000)
	t.seedBlob(t.repo, config)
	t.seedBlob(t.repo, layer)
	stable := t.seedManifest(t.repo, "stable", t.imageOf(config, layer).encode())
	t.meanwhile(6, func(i int) {
		b := t.newBlob(50_000)
		t.upload(t.repo, b).wantStatus(http.StatusCreated)
		t.putManifest(t.repo, fmt.Sprintf("v%d", i), t.imageOf(config, layer, b).encode()).wantStatus(http.StatusCreated)
	}, func() {
		t.getManifest(t.repo, "stable").wantWhole(stable)
		t.wantBlob(t.repo, layer)
	})
}

func raceTagReaders(t *T) {
	versions := t.versions(t.repo, 12)
	t.seedManifest(t.repo, "latest", versions[0])
	t.meanwhile(len(versions), func(i int) {
		t.putManifest(t.repo, "latest", versions[i]).wantStatus(http.StatusCreated)
	}, func() {
		t.headManifest(t.repo, "latest").wantOneOf(versions)
		t.getManifest(t.repo, "latest").wantOneOf(versions)
	})
}

func raceManifestReaders(t *T) {
	versions := t.versions(t.repo, 4)
	t.meanwhile(len(versions), func(i int) {
		t.putManifest(t.repo, fmt.Sprintf("v%d", i), versions[i]).wantStatus(http.StatusCreated)
	}, func() {
		for i, m := range versions {
			for _, ref := range []string{fmt.Sprintf("v%d", i), string(m.digest)} {
				t.headManifest(t.repo, ref).wantMissingOr(m.content)
				t.getManifest(t.repo, ref).wantMissingOr(m.content)
			}
		}
	})
}

func raceTagListReaders(t *T) {
	m := t.newImage(t.repo)
	before := []string{"b", "d", "f"}
	for _, tag := range before {
		t.seedManifest(t.repo, tag, m)
	}
	t.meanwhile(12, func(i int) {
		t.putManifest(t.repo, fmt.Sprintf("%c%02d", "abcdefg"[i%7], i), m).wantStatus(http.StatusCreated)
	}, func() {
		t.wantContains("the tag list", t.listedTags(t.repo), before...)
	})
}

func raceTagListPages(t *T) {
	m := t.newImage(t.repo)
	var before []string
	for i := range 9 {
		before = append(before, fmt.Sprintf("%c", 'a'+2*i)) // a, c, e ...
		t.seedManifest(t.repo, before[i], m)
	}
	t.setup(func() { // otherwise the pages have no end even without a race
		a := t.get(t.repo.tags("?n=2&last=" + before[8])).wantStatus(http.StatusOK)
		a.want(len(a.tagPage(t.repo)) == 0, "expected no tags after the last one")
	})
	t.meanwhile(8, func(i int) {
		tag := fmt.Sprintf("%c", 'b'+2*i) // between them
		t.putManifest(t.repo, tag, m).wantStatus(http.StatusCreated)
		t.delete(t.repo.manifest(tag)) // a registry may refuse it
	}, func() {
		var seen []string
		for _, tag := range t.walkTags(t.repo, 2) {
			if slices.Contains(before, tag) {
				seen = append(seen, tag)
			}
		}
		t.want(slices.Equal(seen, before), "expected each of the tags %v once, the pages have %v", before, seen)
	})
}

// walkTags reads the tag list in pages, each with the last tag of the previous page.
func (t *T) walkTags(repo repository, n int) (tags []string) {
	query := fmt.Sprintf("?n=%d", n)
	for range 100 {
		a := t.get(repo.tags(query)).wantStatus(http.StatusOK)
		page := a.tagPage(repo)
		tags = append(tags, page...)
		if len(page) == 0 || len(page) < n && a.next() == "" {
			return tags
		}
		query = fmt.Sprintf("?n=%d&last=%s", n, url.QueryEscape(page[len(page)-1]))
	}
	t.want(false, "the pages of the tag list have no end: %d tags so far", len(tags))
	return nil
}

func raceReferrersReaders(t *T) {
	subject := t.seedImage(t.repo, "v1")
	t.needsReferrers(t.repo, subject.digest)
	attached := t.referrersTo(subject, 15)
	for i, m := range attached[:3] {
		t.seedManifest(t.repo, fmt.Sprintf("attached-%d", i), m)
	}
	t.meanwhile(12, func(i int) {
		m := attached[3+i]
		t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
	}, func() {
		listed := t.listedReferrers(t.repo, subject.digest)
		for _, m := range attached[:3] {
			t.wantContains("the list of referrers", listed, string(m.digest))
		}
	})
}
