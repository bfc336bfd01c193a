package verify

import "net/http"

const manyNodes = "registries of several nodes: "

func freshReads() []Case {
	return []Case{
		{
			"race-fresh-tag", Concurrency, Must, "Pulling manifests",
			"A tag is the pushed manifest for every reader from the 201 on, even for those that had asked before.",
			manyNodes + "a deployment pulls what was there before the push", raceFreshTag,
		},
		{
			"race-fresh-manifest", Concurrency, Must, "Pulling manifests",
			"A manifest is found by its digest by every reader from the 201 on, even by those that had asked before.",
			manyNodes + "an index is refused because of a child that was just pushed", raceFreshManifest,
		},
		{
			"race-fresh-blob", Concurrency, Must, "Checking if content exists in the registry",
			"A blob is found by every reader from the 201 on, even by those that had asked before.",
			manyNodes + "docker looks before each upload, and the manifest is refused after it", raceFreshBlob,
		},
		{
			"race-fresh-tag-list", Concurrency, Should, "Listing Tags",
			"The tag list has a pushed tag for every reader from the 201 on.",
			manyNodes + "tools that look for the newest tag", raceFreshTagList,
		},
		{
			"race-fresh-referrers", Concurrency, Must, "Enabling the Referrers API",
			"The list of referrers has a pushed manifest for every reader from the 201 on.",
			manyNodes + "who verifies right after signing finds no signature", raceFreshReferrers,
		},
		{
			"race-fresh-delete", Concurrency, Must, "Deleting Manifests",
			"A deleted manifest, and each of its tags, is 404 for every reader from the 202 on.",
			manyNodes + "an image that had to go is still deployed", raceFreshDelete,
		},
		{
			"race-fresh-delete-tag", Concurrency, Must, "Deleting tags",
			"A deleted tag is 404 for every reader from the 202 on, and its manifest stays.",
			manyNodes + "an image that had to go is still deployed", raceFreshDeleteTag,
		},
		{
			"race-fresh-delete-blob", Concurrency, Must, "Deleting Blobs",
			"A deleted blob is 404 for every reader from the 202 on.",
			manyNodes + "a client that is told it is there does not upload it", raceFreshDeleteBlob,
		},
	}
}

// raceReaders are how many ask at once.
const raceReaders = 8

func raceFreshTag(p *probe) {
	versions := p.versions(p.repo, 3)
	p.each(raceReaders, func(int) { p.getManifest(p.repo, "latest").is(http.StatusNotFound) })
	for _, m := range versions {
		p.putManifest(p.repo, "latest", m).is(http.StatusCreated)
		p.each(raceReaders, func(i int) {
			if i%2 == 0 {
				p.headManifest(p.repo, "latest").isWhole(m)
			}
			p.getManifest(p.repo, "latest").isWhole(m)
		})
	}
}

func raceFreshManifest(p *probe) {
	m := p.newImage(p.repo)
	p.each(raceReaders, func(int) { p.headManifest(p.repo, string(m.digest)).is(http.StatusNotFound) })
	p.each(raceReaders, func(int) { p.getManifest(p.repo, string(m.digest)).is(http.StatusNotFound) })
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.each(raceReaders, func(int) { p.headManifest(p.repo, string(m.digest)).isWhole(m) })
	p.each(raceReaders, func(int) { p.getManifest(p.repo, string(m.digest)).isWhole(m) })
}

func raceFreshBlob(p *probe) {
	b := p.newBlob(3000)
	p.each(raceReaders, func(int) { p.head(p.repo.blob(b.digest)).is(http.StatusNotFound) })
	p.each(raceReaders, func(int) { p.get(p.repo.blob(b.digest)).is(http.StatusNotFound) })
	p.given(func() { p.upload(p.repo, b).is(http.StatusCreated) })
	p.each(raceReaders, func(int) { p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content)) })
	p.each(raceReaders, func(int) { p.isPulled(p.repo, b) })
}

func raceFreshTagList(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.each(raceReaders, func(int) { p.listedTags(p.repo) })
	p.hasManifest(p.repo, "v2", m)
	p.each(raceReaders, func(int) { p.holds("the tag list", p.listedTags(p.repo), "v1", "v2") })
}

func raceFreshReferrers(p *probe) {
	subject := p.hasImage(p.repo, "v1")
	p.needsReferrers(p.repo, subject.digest)
	m := p.referrersTo(subject, 1)[0]
	p.each(raceReaders, func(int) { p.listedReferrers(p.repo, subject.digest) })
	p.hasManifest(p.repo, "", m)
	p.each(raceReaders, func(int) {
		p.holds("the list of referrers", p.listedReferrers(p.repo, subject.digest), string(m.digest))
	})
}

func raceFreshDelete(p *probe) {
	m := p.hasImage(p.repo, "v1")
	other := p.hasManifest(p.repo, "v2", p.variant(m))
	for _, ref := range []string{"v1", string(m.digest)} {
		p.given(func() { p.each(raceReaders, func(int) { p.getManifest(p.repo, ref).isWhole(m) }) })
	}
	gone := func(ref string) {
		p.each(raceReaders, func(int) { p.getManifest(p.repo, ref).is(http.StatusNotFound) })
		p.each(raceReaders, func(int) { p.headManifest(p.repo, ref).is(http.StatusNotFound) })
	}
	p.deletes(p.repo.manifest(string(m.digest)))
	gone(string(m.digest))
	p.given(func() { // where tags outlive their manifest, another case shows it
		p.deletes(p.repo.manifest(string(other.digest)))
		p.getManifest(p.repo, "v2").is(http.StatusNotFound)
	})
	gone("v1")
}

func raceFreshDeleteTag(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasManifest(p.repo, "v2", m)
	p.given(func() { p.each(raceReaders, func(int) { p.getManifest(p.repo, "v1").isWhole(m) }) })
	p.deletes(p.repo.manifest("v1"))
	p.each(raceReaders, func(int) { p.getManifest(p.repo, "v1").is(http.StatusNotFound) })
	p.getManifest(p.repo, "v2").isWhole(m)
	p.getManifest(p.repo, string(m.digest)).isWhole(m)
}

func raceFreshDeleteBlob(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.given(func() {
		p.each(raceReaders, func(int) { p.head(p.repo.blob(b.digest)).is(http.StatusOK) })
		p.each(raceReaders, func(int) { p.isPulled(p.repo, b) })
	})
	p.deletes(p.repo.blob(b.digest))
	p.each(raceReaders, func(int) { p.head(p.repo.blob(b.digest)).is(http.StatusNotFound) })
	p.each(raceReaders, func(int) { p.get(p.repo.blob(b.digest)).is(http.StatusNotFound) })
}
