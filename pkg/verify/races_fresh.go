package verify

import "net/http"

// raceReaders is the number of simultaneous readers.
const raceReaders = 8

func raceFreshTag(t *T) {
	versions := t.versions(t.repo, 3)
	t.parallel(raceReaders, func(int) { t.getManifest(t.repo, "latest").wantStatus(http.StatusNotFound) })
	for _, m := range versions {
		t.putManifest(t.repo, "latest", m).wantStatus(http.StatusCreated)
		t.parallel(raceReaders, func(i int) {
			if i%2 == 0 {
				t.headManifest(t.repo, "latest").wantWhole(m)
			}
			t.getManifest(t.repo, "latest").wantWhole(m)
		})
	}
}

func raceFreshManifest(t *T) {
	m := t.newImage(t.repo)
	t.parallel(raceReaders, func(int) { t.headManifest(t.repo, string(m.digest)).wantStatus(http.StatusNotFound) })
	t.parallel(raceReaders, func(int) { t.getManifest(t.repo, string(m.digest)).wantStatus(http.StatusNotFound) })
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
	t.parallel(raceReaders, func(int) { t.headManifest(t.repo, string(m.digest)).wantWhole(m) })
	t.parallel(raceReaders, func(int) { t.getManifest(t.repo, string(m.digest)).wantWhole(m) })
}

func raceFreshBlob(t *T) {
	b := t.newBlob(3000)
	t.parallel(raceReaders, func(int) { t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound) })
	t.parallel(raceReaders, func(int) { t.get(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound) })
	t.setup(func() { t.upload(t.repo, b).wantStatus(http.StatusCreated) })
	t.parallel(raceReaders, func(int) { t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content)) })
	t.parallel(raceReaders, func(int) { t.wantBlob(t.repo, b) })
}

func raceFreshTagList(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.parallel(raceReaders, func(int) { t.listedTags(t.repo) })
	t.seedManifest(t.repo, "v2", m)
	t.parallel(raceReaders, func(int) { t.wantContains("the tag list", t.listedTags(t.repo), "v1", "v2") })
}

func raceFreshReferrers(t *T) {
	subject := t.seedImage(t.repo, "v1")
	t.needsReferrers(t.repo, subject.digest)
	m := t.referrersTo(subject, 1)[0]
	t.parallel(raceReaders, func(int) { t.listedReferrers(t.repo, subject.digest) })
	t.seedManifest(t.repo, "", m)
	t.parallel(raceReaders, func(int) {
		t.wantContains("the list of referrers", t.listedReferrers(t.repo, subject.digest), string(m.digest))
	})
}

func raceFreshDelete(t *T) {
	m := t.seedImage(t.repo, "v1")
	other := t.seedManifest(t.repo, "v2", t.variant(m))
	for _, ref := range []string{"v1", string(m.digest)} {
		t.setup(func() { t.parallel(raceReaders, func(int) { t.getManifest(t.repo, ref).wantWhole(m) }) })
	}
	gone := func(ref string) {
		t.parallel(raceReaders, func(int) { t.getManifest(t.repo, ref).wantStatus(http.StatusNotFound) })
		t.parallel(raceReaders, func(int) { t.headManifest(t.repo, ref).wantStatus(http.StatusNotFound) })
	}
	t.wantDeleted(t.repo.manifest(string(m.digest)))
	gone(string(m.digest))
	t.setup(func() { // otherwise another case reports that tags outlive their manifest
		t.wantDeleted(t.repo.manifest(string(other.digest)))
		t.getManifest(t.repo, "v2").wantStatus(http.StatusNotFound)
	})
	gone("v1")
}

func raceFreshDeleteTag(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedManifest(t.repo, "v2", m)
	t.setup(func() { t.parallel(raceReaders, func(int) { t.getManifest(t.repo, "v1").wantWhole(m) }) })
	t.wantDeleted(t.repo.manifest("v1"))
	t.parallel(raceReaders, func(int) { t.getManifest(t.repo, "v1").wantStatus(http.StatusNotFound) })
	t.getManifest(t.repo, "v2").wantWhole(m)
	t.getManifest(t.repo, string(m.digest)).wantWhole(m)
}

func raceFreshDeleteBlob(t *T) {
	b := t.seedNewBlob(t.repo)
	t.setup(func() {
		t.parallel(raceReaders, func(int) { t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK) })
		t.parallel(raceReaders, func(int) { t.wantBlob(t.repo, b) })
	})
	t.wantDeleted(t.repo.blob(b.digest))
	t.parallel(raceReaders, func(int) { t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound) })
	t.parallel(raceReaders, func(int) { t.get(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound) })
}
