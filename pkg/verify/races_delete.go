package verify

import (
	"fmt"
	"net/http"
	"slices"
)

const cleaners = "retention jobs that run while CI pushes"

func deleteRaces() []Case {
	return []Case{
		{
			"race-delete-moved-tags", Concurrency, Must, "Deleting Manifests",
			"A tag that is pushed to another manifest while its old one is deleted is not lost; tags that stay go with the old one.",
			cleaners + ": a release that was just pushed is gone", raceDeleteMovedTags,
		},
		{
			"race-delete-manifest-list", Concurrency, Should, "Listing Tags",
			"After a manifest is deleted while some of its tags are moved, the tag list has those tags that can be pulled.",
			"tools that copy or scan all tags stop at one that gives 404", raceDeleteManifestList,
		},
		{
			"race-delete-manifest-again", Concurrency, Must, "Deleting Manifests",
			"A manifest that is deleted and pushed at once is wholly there or not at all, and one more push brings it back.",
			cleaners + ": a tag that names nothing", raceDeleteManifestAgain,
		},
		{
			"race-delete-tag-push", Concurrency, Must, "Deleting tags",
			"A tag that is deleted and pushed to another manifest at once is that manifest or 404, and the tag list says the same.",
			cleaners + ": a tag that is listed and cannot be pulled", raceDeleteTagPush,
		},
		{
			"race-delete-blob-push", Concurrency, Must, "Deleting Blobs",
			"After a blob was deleted and uploaded at once, one more upload makes it pullable.",
			cleaners + ": a push succeeds and its layer is gone", raceDeleteBlobPush,
		},
		{
			"race-delete-blob-mount", Concurrency, Must, "Mounting a blob from another repository",
			"A blob that is mounted while it is deleted from its old repository stays where the mount was told 201.",
			cleaners + " in other repositories: a layer is gone", raceDeleteBlobMount,
		},
		{
			"race-delete-blob-elsewhere", Concurrency, Must, "Deleting Blobs",
			"A blob that is uploaded to one repository while it is deleted from another is there in the first.",
			cleaners + " in other repositories: a layer is gone", raceDeleteBlobElsewhere,
		},
	}
}

// mayDelete asks for a deletion, which a registry may leave out.
func (p *probe) mayDelete(target string, statuses ...int) {
	a := p.delete(target)
	if a.status == http.StatusBadRequest || a.status == http.StatusMethodNotAllowed {
		p.notOffered(a, "this deletion")
	}
	a.is(append([]int{http.StatusAccepted}, statuses...)...)
}

// together runs all of them at once.
func (p *probe) together(steps ...func()) {
	p.each(len(steps), func(i int) { steps[i]() })
}

// deletedWhileMoved deletes a manifest while some of its tags are pushed to
// another one.
func (p *probe) deletedWhileMoved() (deleted, kept manifest, moved, stayed []string) {
	versions := p.versions(p.repo, 2)
	deleted, kept = versions[0], p.hasManifest(p.repo, "", versions[1])
	moved, stayed = []string{"move-0", "move-1", "move-2", "move-3", "move-4", "move-5"}, []string{"stay-0", "stay-1"}
	for _, tag := range slices.Concat(moved, stayed) {
		p.hasManifest(p.repo, tag, deleted)
	}
	steps := []func(){func() { p.mayDelete(p.repo.manifest(string(deleted.digest))) }}
	for _, tag := range moved {
		steps = append(steps, func() { p.putManifest(p.repo, tag, kept).is(http.StatusCreated) })
	}
	p.together(steps...)
	return deleted, kept, moved, stayed
}

func raceDeleteMovedTags(p *probe) {
	deleted, kept, moved, stayed := p.deletedWhileMoved()
	p.getManifest(p.repo, string(deleted.digest)).is(http.StatusNotFound)
	for _, tag := range stayed {
		p.getManifest(p.repo, tag).is(http.StatusNotFound)
	}
	for _, tag := range moved {
		p.getManifest(p.repo, tag).isWhole(kept)
	}
	p.getManifest(p.repo, string(kept.digest)).isWhole(kept)
}

func raceDeleteManifestList(p *probe) {
	var moved []string
	p.given(func() { _, _, moved, _ = p.deletedWhileMoved() })
	tags := p.listedTags(p.repo)
	p.want(slices.Equal(tags, moved), "expected the tags %v in the list, got %v", moved, tags)
}

func raceDeleteManifestAgain(p *probe) {
	m := p.hasImage(p.repo, "v0")
	p.together(
		func() { p.mayDelete(p.repo.manifest(string(m.digest)), http.StatusNotFound) },
		func() { p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated) },
		func() { p.putManifest(p.repo, "v0", m).is(http.StatusCreated) },
		func() { p.putManifest(p.repo, "v1", m).is(http.StatusCreated) },
		func() { p.putManifest(p.repo, "v2", m).is(http.StatusCreated) },
	)
	there := p.getManifest(p.repo, string(m.digest)).isMissingOr(m.content)
	for i := range 3 {
		a := p.getManifest(p.repo, fmt.Sprintf("v%d", i))
		tagged := a.isMissingOr(m.content)
		a.want(there || !tagged, "expected 404: its manifest cannot be pulled by digest")
	}
	p.putManifest(p.repo, "v3", m).is(http.StatusCreated)
	p.getManifest(p.repo, "v3").isWhole(m)
	p.getManifest(p.repo, string(m.digest)).isWhole(m)
}

func raceDeleteTagPush(p *probe) {
	versions := p.versions(p.repo, 2)
	var steps []func()
	tags := []string{"both-0", "both-1", "both-2", "both-3", "both-4", "both-5", "gone-0", "gone-1"}
	for i, tag := range tags {
		p.hasManifest(p.repo, tag, versions[0])
		steps = append(steps, func() { p.mayDelete(p.repo.manifest(tag)) })
		if i < 6 {
			steps = append(steps, func() { p.putManifest(p.repo, tag, versions[1]).is(http.StatusCreated) })
		}
	}
	p.together(steps...)
	listed := p.listedTags(p.repo)
	for i, tag := range tags {
		a := p.getManifest(p.repo, tag)
		if i >= 6 {
			a.is(http.StatusNotFound)
		}
		there := a.isMissingOr(versions[1].content)
		a.want(there == slices.Contains(listed, tag), "expected the same from the tag list and from a pull, the list has %v", listed)
	}
	p.getManifest(p.repo, string(versions[0].digest)).isWhole(versions[0])
	p.getManifest(p.repo, string(versions[1].digest)).isWhole(versions[1])
}

func raceDeleteBlobPush(p *probe) {
	p.each(6, func(i int) {
		b := p.newBlob(3000)
		p.hasBlob(p.repo, b)
		p.together(
			func() { p.mayDelete(p.repo.blob(b.digest)) },
			func() { p.upload(p.repo, b).is(http.StatusCreated) },
		)
		// A read may set things right that would go wrong else.
		if i%2 == 0 {
			p.get(p.repo.blob(b.digest)).isMissingOr(b.content)
		}
		p.upload(p.repo, b).is(http.StatusCreated)
		p.servesBlob(p.repo, b)
	})
}

func raceDeleteBlobMount(p *probe) {
	mounted := make([]bool, 8)
	blobs := make([]blob, len(mounted))
	for i := range blobs {
		blobs[i] = p.newBlob(3000)
		p.hasBlob(p.repo, blobs[i])
	}
	p.each(len(blobs), func(i int) {
		b := blobs[i]
		p.together(
			func() { p.mayDelete(p.repo.blob(b.digest)) },
			func() {
				a := p.post(p.other.uploads(mountFrom(b.digest, p.repo))).is(http.StatusCreated, http.StatusAccepted)
				mounted[i] = a.status == http.StatusCreated
			},
		)
	})
	for i, b := range blobs {
		if mounted[i] {
			p.servesBlob(p.other, b)
		}
	}
}

func raceDeleteBlobElsewhere(p *probe) {
	p.each(8, func(int) {
		b := p.newBlob(3000)
		p.hasBlob(p.repo, b)
		p.together(
			func() { p.mayDelete(p.repo.blob(b.digest)) },
			func() { p.upload(p.other, b).is(http.StatusCreated) },
		)
		p.servesBlob(p.other, b)
	})
}
