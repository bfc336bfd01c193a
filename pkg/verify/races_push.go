package verify

import (
	"fmt"
	"net/http"
)

func raceOneTag(t *T) {
	versions := t.versions(t.repo, 12)
	t.parallel(len(versions), func(i int) {
		t.putManifest(t.repo, "latest", versions[i]).wantStatus(http.StatusCreated)
	})
	t.getManifest(t.repo, "latest").wantOneOf(versions)
	for _, m := range versions {
		t.getManifest(t.repo, string(m.digest)).wantWhole(m)
	}
}

func raceManyTags(t *T) {
	versions := t.versions(t.repo, 30)
	tag := func(i int) string { return fmt.Sprintf("v%02d", i) }
	t.parallel(len(versions), func(i int) {
		t.putManifest(t.repo, tag(i), versions[i]).wantStatus(http.StatusCreated)
	})
	tags := t.listedTags(t.repo)
	for i, m := range versions {
		t.wantContains("the tag list", tags, tag(i))
		t.getManifest(t.repo, tag(i)).wantWhole(m)
	}
}

func raceOneManifestManyTags(t *T) {
	m := t.newImage(t.repo)
	tag := func(i int) string { return fmt.Sprintf("v%02d", i) }
	t.parallel(20, func(i int) {
		t.putManifest(t.repo, tag(i), m).wantStatus(http.StatusCreated)
	})
	tags := t.listedTags(t.repo)
	for i := range 20 {
		t.wantContains("the tag list", tags, tag(i))
		t.getManifest(t.repo, tag(i)).wantWhole(m)
	}
	t.getManifest(t.repo, string(m.digest)).wantWhole(m)
}

func raceOneBlob(t *T) {
	b := t.newBlob(100_000)
	t.parallel(12, func(int) {
		t.upload(t.repo, b).wantStored(t.repo, b)
	})
}

func raceOneBlobManyRepositories(t *T) {
	b := t.newBlob(100_000)
	t.parallel(12, func(i int) {
		repo := t.numbered(i)
		t.upload(repo, b).wantStored(repo, b)
	})
	for i := range 12 {
		t.wantBlob(t.numbered(i), b)
	}
}

// numbered returns another repository of the case.
func (t *T) numbered(i int) repository { return repository(fmt.Sprintf("%s-%02d", t.repo, i)) }

func raceSharedBase(t *T) {
	base := t.newBlob(50_000)
	images := make([]manifest, 16)
	t.parallel(len(images), func(i int) {
		config := t.newBlob(200)
		if t.head(t.repo.blob(base.digest)).wantStatus(http.StatusOK, http.StatusNotFound).Status == http.StatusNotFound {
			t.upload(t.repo, base).wantStatus(http.StatusCreated)
		}
		t.upload(t.repo, config).wantStatus(http.StatusCreated)
		images[i] = t.imageOf(config, base).encode()
		t.putManifest(t.repo, fmt.Sprintf("build-%02d", i), images[i]).wantStatus(http.StatusCreated)
	})
	for i, m := range images {
		t.getManifest(t.repo, fmt.Sprintf("build-%02d", i)).wantWhole(m)
	}
	t.wantBlob(t.repo, base)
}

func raceMounts(t *T) {
	b := t.seedNewBlob(t.repo)
	if a := t.post(t.other.uploads(mountFrom(b.digest, t.repo))).wantStatus(http.StatusCreated, http.StatusAccepted); a.Status == http.StatusAccepted {
		t.notOffered(a, "mounts open an upload")
	}
	t.parallel(20, func(i int) {
		a := t.post(t.numbered(i).uploads(mountFrom(b.digest, t.repo))).wantStatus(http.StatusCreated, http.StatusAccepted)
		if a.Status == http.StatusCreated {
			t.wantBlob(t.numbered(i), b)
			return
		}
		t.finish(a.location(), b.digest, b.content).wantStatus(http.StatusCreated)
	})
	for i := range 20 {
		t.wantBlob(t.numbered(i), b)
	}
}

func raceReferrers(t *T) {
	subject := t.seedImage(t.repo, "v1")
	t.needsReferrers(t.repo, subject.digest)
	attached := t.referrersTo(subject, 30)
	t.parallel(len(attached), func(i int) {
		t.putManifest(t.repo, string(attached[i].digest), attached[i]).wantStatus(http.StatusCreated)
	})
	listed := t.listedReferrers(t.repo, subject.digest)
	for _, m := range attached {
		t.wantContains("the list of referrers", listed, string(m.digest))
	}
}
