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
			"A tag that is pushed to another manifest while its old one is deleted is not lost.",
			cleaners + ": a release that was just pushed is gone", raceDeleteMovedTags,
		},
		{
			"race-delete-manifest-list", Concurrency, Should, "Listing Tags",
			"After a manifest is deleted while some of its tags are moved, the tag list has those tags that can be pulled.",
			"tools that copy or scan all tags stop at one that gives 404", raceDeleteManifestList,
		},
		{
			"race-delete-no-fault", Concurrency, Should, "Deleting Manifests",
			"Nobody gets a 5xx where deletes and pushes meet.",
			cleaners + ": a push that fails for no reason of its own", raceDeleteNoFault,
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

// tryDelete asks for a deletion, which a registry may leave out. What it answers is
// looked at later.
func (p *probe) tryDelete(target string) *answer {
	a := p.delete(target)
	if a.status == http.StatusBadRequest || a.status == http.StatusMethodNotAllowed {
		p.notOffered(a, "deletion is disabled")
	}
	return a
}

// together runs all of them at once.
func (p *probe) together(steps ...func()) {
	p.each(len(steps), func(i int) { steps[i]() })
}

// crowd runs all of them at once and returns their answers, whatever they are: what
// the rule is about is seen afterwards.
func (p *probe) crowd(steps ...func() *answer) []*answer {
	answers := make([]*answer, len(steps))
	p.each(len(steps), func(i int) { answers[i] = steps[i]() })
	return answers
}

// deletedWhileMoved deletes a manifest while some of its tags are pushed to
// another one.
func (p *probe) deletedWhileMoved() (deleted, kept manifest, moved, all []string, crowd []*answer) {
	versions := p.versions(p.repo, 2)
	deleted, kept = versions[0], p.hasManifest(p.repo, "", versions[1])
	all = []string{"move-0", "move-1", "move-2", "move-3", "move-4", "move-5", "stay-0", "stay-1"}
	moved = all[:6]
	for _, tag := range all {
		p.hasManifest(p.repo, tag, deleted)
	}
	steps := append(p.pushesOf(kept, moved), func() *answer { return p.tryDelete(p.repo.manifest(string(deleted.digest))) })
	crowd = p.crowd(steps...)
	return deleted, kept, moved, all, crowd
}

// pushesOf are pushes of a manifest to each of the tags.
func (p *probe) pushesOf(m manifest, tags []string) (steps []func() *answer) {
	for _, tag := range tags {
		steps = append(steps, func() *answer { return p.putManifest(p.repo, tag, m) })
	}
	return steps
}

func raceDeleteMovedTags(p *probe) {
	deleted, kept, moved, _, crowd := p.deletedWhileMoved()
	if crowd[len(moved)].status == http.StatusAccepted {
		p.getManifest(p.repo, string(deleted.digest)).is(http.StatusNotFound)
	}
	for i, tag := range moved {
		if crowd[i].status == http.StatusCreated {
			p.getManifest(p.repo, tag).isWhole(kept)
		}
	}
	p.getManifest(p.repo, string(kept.digest)).isWhole(kept)
}

func raceDeleteNoFault(p *probe) {
	_, _, _, _, crowd := p.deletedWhileMoved()
	for _, a := range crowd {
		a.noFault()
	}
}

func raceDeleteManifestList(p *probe) {
	var all, found []string
	p.given(func() { _, _, _, all, _ = p.deletedWhileMoved() })
	tags := p.listedTags(p.repo)
	for _, tag := range all {
		if p.getManifest(p.repo, tag).is(http.StatusOK, http.StatusNotFound).status == http.StatusOK {
			found = append(found, tag)
		}
	}
	p.want(slices.Equal(tags, found), "expected the tags %v in the list, got %v", found, tags)
}

func raceDeleteManifestAgain(p *probe) {
	m := p.hasImage(p.repo, "v0")
	steps := p.pushesOf(m, []string{string(m.digest), "v0", "v1", "v2"})
	p.crowd(append(steps, func() *answer { return p.tryDelete(p.repo.manifest(string(m.digest))) })...)
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
	tags := []string{"both-0", "both-1", "both-2", "both-3", "both-4", "both-5", "gone-0", "gone-1"}
	steps := p.pushesOf(versions[1], tags[:6])
	for _, tag := range tags {
		p.hasManifest(p.repo, tag, versions[0])
		steps = append(steps, func() *answer { return p.tryDelete(p.repo.manifest(tag)) })
	}
	crowd := p.crowd(steps...)
	listed := p.listedTags(p.repo)
	for i, tag := range tags {
		if crowd[6+i].status != http.StatusAccepted {
			continue // a delete that failed promises nothing
		}
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
			func() { p.deletes(p.repo.blob(b.digest)) },
			func() { p.upload(p.repo, b).is(http.StatusCreated) },
		)
		// A read may set things right that would go wrong else.
		if i%2 == 0 {
			p.get(p.repo.blob(b.digest)).isMissingOr(b.content)
		}
		p.upload(p.repo, b).is(http.StatusCreated)
		p.isPulled(p.repo, b)
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
			func() { p.deletes(p.repo.blob(b.digest)) },
			func() {
				a := p.post(p.other.uploads(mountFrom(b.digest, p.repo))).is(http.StatusCreated, http.StatusAccepted)
				mounted[i] = a.status == http.StatusCreated
			},
		)
	})
	for i, b := range blobs {
		if mounted[i] {
			p.isPulled(p.other, b)
		}
	}
}

func raceDeleteBlobElsewhere(p *probe) {
	p.each(8, func(int) {
		b := p.newBlob(3000)
		p.hasBlob(p.repo, b)
		p.together(
			func() { p.deletes(p.repo.blob(b.digest)) },
			func() { p.upload(p.other, b).is(http.StatusCreated) },
		)
		p.isPulled(p.other, b)
	})
}
