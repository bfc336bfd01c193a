package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

func readRaces() []Case {
	return []Case{
		{
			"race-pull-undisturbed", Concurrency, Must, "Pulling manifests",
			"An image that is there is pulled at any time, whatever else is pushed to its repository.",
			"deployments that fail while CI pushes", racePullUndisturbed,
		},
		{
			"race-tag-readers", Concurrency, Must, "Pulling manifests",
			"Whoever pulls a tag that moves gets one of its manifests, whole and with its digest, and never 404.",
			"rolling deployments of latest", raceTagReaders,
		},
		{
			"race-manifest-readers", Concurrency, Must, "Pulling manifests",
			"Whoever asks for a manifest that is being pushed gets 404 or the whole of it, by tag and by digest.",
			"deployments that wait for an image", raceManifestReaders,
		},
		{
			"race-tag-list-readers", Concurrency, Must, "Listing Tags",
			"A tag list that is read while tags are pushed is in order, has each tag once, and has all that were there before.",
			"tools that look for the newest tag", raceTagListReaders,
		},
		{
			"race-tag-list-pages", Concurrency, Must, "Listing Tags",
			"Who reads the tag list in pages while other tags come and go gets 200 for each page, and sees each tag that stays exactly once.",
			"tools that copy all tags, and retention jobs that delete what they did not see", raceTagListPages,
		},
		{
			"race-referrers-readers", Concurrency, Must, "Listing Referrers",
			"A list of referrers that is read while more are pushed is an index, has each once, and has all that were there before.",
			"who verifies a signature while SBOMs are attached", raceReferrersReaders,
		},
	}
}

func racePullUndisturbed(p *probe) {
	config, layer := p.newBlob(200), p.newBlob(3000)
	p.hasBlob(p.repo, config)
	p.hasBlob(p.repo, layer)
	stable := p.hasManifest(p.repo, "stable", p.imageOf(config, layer).encode())
	p.meanwhile(6, func(i int) {
		b := p.newBlob(50_000)
		p.upload(p.repo, b).is(http.StatusCreated)
		p.putManifest(p.repo, fmt.Sprintf("v%d", i), p.imageOf(config, layer, b).encode()).is(http.StatusCreated)
	}, func() {
		p.getManifest(p.repo, "stable").isWhole(stable)
		p.isPulled(p.repo, layer)
	})
}

func raceTagReaders(p *probe) {
	versions := p.versions(p.repo, 12)
	p.hasManifest(p.repo, "latest", versions[0])
	p.meanwhile(len(versions), func(i int) {
		p.putManifest(p.repo, "latest", versions[i]).is(http.StatusCreated)
	}, func() {
		p.headManifest(p.repo, "latest").isOneOf(versions)
		p.getManifest(p.repo, "latest").isOneOf(versions)
	})
}

func raceManifestReaders(p *probe) {
	versions := p.versions(p.repo, 4)
	p.meanwhile(len(versions), func(i int) {
		p.putManifest(p.repo, fmt.Sprintf("v%d", i), versions[i]).is(http.StatusCreated)
	}, func() {
		for i, m := range versions {
			for _, ref := range []string{fmt.Sprintf("v%d", i), string(m.digest)} {
				p.headManifest(p.repo, ref).isMissingOr(m.content)
				p.getManifest(p.repo, ref).isMissingOr(m.content)
			}
		}
	})
}

func raceTagListReaders(p *probe) {
	m := p.newImage(p.repo)
	before := []string{"b", "d", "f"}
	for _, tag := range before {
		p.hasManifest(p.repo, tag, m)
	}
	p.meanwhile(12, func(i int) {
		p.putManifest(p.repo, fmt.Sprintf("%c%02d", "abcdefg"[i%7], i), m).is(http.StatusCreated)
	}, func() {
		p.holds("the tag list", p.listedTags(p.repo), before...)
	})
}

func raceTagListPages(p *probe) {
	m := p.newImage(p.repo)
	var before []string
	for i := range 9 {
		before = append(before, fmt.Sprintf("%c", 'a'+2*i)) // a, c, e ...
		p.hasManifest(p.repo, before[i], m)
	}
	p.given(func() { // or else the pages have no end even without a race
		a := p.get(p.repo.tags("?n=2&last=" + before[8])).is(http.StatusOK)
		a.want(len(a.tagPage(p.repo)) == 0, "expected no tags after the last one")
	})
	p.meanwhile(8, func(i int) {
		tag := fmt.Sprintf("%c", 'b'+2*i) // between them
		p.putManifest(p.repo, tag, m).is(http.StatusCreated)
		p.delete(p.repo.manifest(tag)) // which a registry may refuse
	}, func() {
		var seen []string
		for _, tag := range p.walkTags(p.repo, 2) {
			if slices.Contains(before, tag) {
				seen = append(seen, tag)
			}
		}
		p.want(slices.Equal(seen, before), "expected each of the tags %v once, the pages have %v", before, seen)
	})
}

// walkTags reads the tag list in pages, each after the last tag of the one before.
func (p *probe) walkTags(repo repository, n int) (tags []string) {
	query := fmt.Sprintf("?n=%d", n)
	for range 100 {
		a := p.get(repo.tags(query)).is(http.StatusOK)
		page := a.tagPage(repo)
		tags = append(tags, page...)
		if len(page) == 0 || len(page) < n && a.next() == "" {
			return tags
		}
		query = fmt.Sprintf("?n=%d&last=%s", n, url.QueryEscape(page[len(page)-1]))
	}
	p.want(false, "the pages of the tag list have no end: %d tags so far", len(tags))
	return nil
}

func raceReferrersReaders(p *probe) {
	subject := p.hasImage(p.repo, "v1")
	p.needsReferrers(p.repo, subject.digest)
	attached := p.referrersTo(subject, 15)
	for i, m := range attached[:3] {
		p.hasManifest(p.repo, fmt.Sprintf("attached-%d", i), m)
	}
	p.meanwhile(12, func(i int) {
		m := attached[3+i]
		p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	}, func() {
		listed := p.listedReferrers(p.repo, subject.digest)
		for _, m := range attached[:3] {
			p.holds("the list of referrers", listed, string(m.digest))
		}
	})
}

// needsReferrers ends a case where there is no referrers API.
func (p *probe) needsReferrers(repo repository, subject oci.Digest) {
	if a := p.get(repo.referrers(subject, "")); a.status == http.StatusNotFound {
		p.notOffered(a, "there is no referrers API")
	}
}

// referrersTo are n manifests with this subject, which are not pushed yet. Their
// blobs are the subject's.
func (p *probe) referrersTo(subject manifest, n int) []manifest {
	ms := make([]manifest, n)
	for i := range ms {
		doc := subject.doc
		doc.ArtifactType, doc.Annotations = "application/vnd.pierless.verify", p.annotated()
		d := subject.descriptor()
		doc.Subject = &d
		ms[i] = doc.encode()
	}
	return ms
}

// listedReferrers asks for all referrers, and expects indexes that have each once.
func (p *probe) listedReferrers(repo repository, subject oci.Digest) (listed []string) {
	target := repo.referrers(subject, "")
	for range 100 {
		a := p.get(target).is(http.StatusOK).has("Content-Type", mediaIndex)
		var page oci.Index
		a.decode(&page)
		a.want(page.SchemaVersion == 2 && page.MediaType == mediaIndex, "expected an image index")
		for _, d := range page.Manifests {
			a.want(!slices.Contains(listed, string(d.Digest)), "expected each referrer once, %s is there twice", d.Digest)
			listed = append(listed, string(d.Digest))
		}
		if target = a.next(); target == "" {
			return listed
		}
	}
	p.want(false, "the pages of the list of referrers have no end: %d so far", len(listed))
	return nil
}
