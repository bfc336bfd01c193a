package verify

import (
	"fmt"
	"net/http"
	"slices"
)

// concurrently runs the steps at once.
func (t *T) concurrently(steps ...func()) { t.parallel(len(steps), func(i int) { steps[i]() }) }

// race runs the steps at once and returns their responses. The case checks the state
// afterwards.
func (t *T) race(steps ...func() *answer) []*answer {
	answers := make([]*answer, len(steps))
	t.parallel(len(steps), func(i int) { answers[i] = steps[i]() })
	return answers
}

// deletedWhileMoved deletes a manifest while some of its tags are pushed to another one.
func (t *T) deletedWhileMoved() (deleted, kept manifest, moved, all []string, crowd []*answer) {
	versions := t.versions(t.repo, 2)
	deleted, kept = versions[0], t.seedManifest(t.repo, "", versions[1])
	all = []string{"move-0", "move-1", "move-2", "move-3", "move-4", "move-5", "stay-0", "stay-1"}
	moved = all[:6]
	for _, tag := range all {
		t.seedManifest(t.repo, tag, deleted)
	}
	steps := append(t.pushesOf(kept, moved), func() *answer { return t.tryDelete(t.repo.manifest(string(deleted.digest))) })
	crowd = t.race(steps...)
	return deleted, kept, moved, all, crowd
}

// pushesOf returns steps that push a manifest to each of the tags.
func (t *T) pushesOf(m manifest, tags []string) (steps []func() *answer) {
	for _, tag := range tags {
		steps = append(steps, func() *answer { return t.putManifest(t.repo, tag, m) })
	}
	return steps
}

func raceDeleteMovedTags(t *T) {
	deleted, kept, moved, _, crowd := t.deletedWhileMoved()
	if crowd[len(moved)].Status == http.StatusAccepted {
		t.getManifest(t.repo, string(deleted.digest)).wantStatus(http.StatusNotFound)
	}
	for i, tag := range moved {
		if crowd[i].Status == http.StatusCreated {
			t.getManifest(t.repo, tag).wantWhole(kept)
		}
	}
	t.getManifest(t.repo, string(kept.digest)).wantWhole(kept)
}

func raceDeleteNoFault(t *T) {
	_, _, _, _, crowd := t.deletedWhileMoved()
	for _, a := range crowd {
		a.wantNo5xx()
	}
}

func raceDeleteManifestList(t *T) {
	var all, found []string
	t.setup(func() { _, _, _, all, _ = t.deletedWhileMoved() })
	tags := t.listedTags(t.repo)
	for _, tag := range all {
		if t.getManifest(t.repo, tag).wantStatus(http.StatusOK, http.StatusNotFound).Status == http.StatusOK {
			found = append(found, tag)
		}
	}
	t.want(slices.Equal(tags, found), "expected the tags %v in the list, got %v", found, tags)
}

func raceDeleteManifestAgain(t *T) {
	m := t.seedImage(t.repo, "v0")
	steps := t.pushesOf(m, []string{string(m.digest), "v0", "v1", "v2"})
	t.race(append(steps, func() *answer { return t.tryDelete(t.repo.manifest(string(m.digest))) })...)
	there := t.getManifest(t.repo, string(m.digest)).wantMissingOr(m.content)
	for i := range 3 {
		a := t.getManifest(t.repo, fmt.Sprintf("v%d", i))
		tagged := a.wantMissingOr(m.content)
		a.want(there || !tagged, "expected 404: its manifest cannot be pulled by digest")
	}
	t.putManifest(t.repo, "v3", m).wantStatus(http.StatusCreated)
	t.getManifest(t.repo, "v3").wantWhole(m)
	t.getManifest(t.repo, string(m.digest)).wantWhole(m)
}

func raceDeleteTagPush(t *T) {
	versions := t.versions(t.repo, 2)
	tags := []string{"both-0", "both-1", "both-2", "both-3", "both-4", "both-5", "gone-0", "gone-1"}
	steps := t.pushesOf(versions[1], tags[:6])
	for _, tag := range tags {
		t.seedManifest(t.repo, tag, versions[0])
		steps = append(steps, func() *answer { return t.tryDelete(t.repo.manifest(tag)) })
	}
	crowd := t.race(steps...)
	listed := t.listedTags(t.repo)
	for i, tag := range tags {
		if crowd[6+i].Status != http.StatusAccepted {
			continue // a failed delete guarantees nothing
		}
		a := t.getManifest(t.repo, tag)
		if i >= 6 {
			a.wantStatus(http.StatusNotFound)
		}
		there := a.wantMissingOr(versions[1].content)
		a.want(there == slices.Contains(listed, tag), "the tag list and the pull disagree, the list has %v", listed)
	}
	t.getManifest(t.repo, string(versions[0].digest)).wantWhole(versions[0])
	t.getManifest(t.repo, string(versions[1].digest)).wantWhole(versions[1])
}

func raceDeleteBlobPush(t *T) {
	t.parallel(6, func(i int) {
		b := t.newBlob(3000)
		t.seedBlob(t.repo, b)
		t.concurrently(
			func() { t.wantDeleted(t.repo.blob(b.digest)) },
			func() { t.upload(t.repo, b).wantStatus(http.StatusCreated) },
		)
		// A read may repair a fault: half of the attempts do without.
		if i%2 == 0 {
			t.get(t.repo.blob(b.digest)).wantMissingOr(b.content)
		}
		t.upload(t.repo, b).wantStored(t.repo, b)
	})
}

func raceDeleteBlobMount(t *T) {
	mounted := make([]bool, 8)
	blobs := make([]blob, len(mounted))
	for i := range blobs {
		blobs[i] = t.newBlob(3000)
		t.seedBlob(t.repo, blobs[i])
	}
	t.parallel(len(blobs), func(i int) {
		b := blobs[i]
		t.concurrently(
			func() { t.wantDeleted(t.repo.blob(b.digest)) },
			func() {
				a := t.post(t.other.uploads(mountFrom(b.digest, t.repo))).wantStatus(http.StatusCreated, http.StatusAccepted)
				mounted[i] = a.Status == http.StatusCreated
			},
		)
	})
	for i, b := range blobs {
		if mounted[i] {
			t.wantBlob(t.other, b)
		}
	}
}

func raceDeleteBlobElsewhere(t *T) {
	t.parallel(8, func(int) {
		b := t.newBlob(3000)
		t.seedBlob(t.repo, b)
		t.concurrently(
			func() { t.wantDeleted(t.repo.blob(b.digest)) },
			func() { t.upload(t.other, b).wantStatus(http.StatusCreated) },
		)
		t.wantBlob(t.other, b)
	})
}
