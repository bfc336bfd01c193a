package verify

import (
	"net/http"
)

// pushedBlob pushes a new blob and pulls it, so that caches have it.
func (t *T) pushedBlob(repo repository) blob {
	b := t.seedNewBlob(repo)
	t.setup(func() { t.wantBlobFound(repo, b) })
	return b
}

func deleteBlob(t *T) {
	b := t.pushedBlob(t.repo)
	t.wantDeleted(t.repo.blob(b.digest))
	t.wantNoBlob(t.repo, b.digest)
}

func deleteBlobMissing(t *T) {
	b := t.pushedBlob(t.repo)
	t.seedDelete(t.repo.blob(b.digest))
	t.delete(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound)
	t.delete(t.repo.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
	t.delete(t.other.blob(b.digest)).wantStatus(http.StatusNotFound)
}

func deleteBlobThenPush(t *T) {
	b := t.pushedBlob(t.repo)
	for range 2 {
		t.seedDelete(t.repo.blob(b.digest))
		t.pushBlob(t.repo, b).wantStatus(http.StatusCreated)
		t.wantBlobFound(t.repo, b)
	}
}

func deleteSourceKeepsMount(t *T) {
	m := t.seedImage(t.repo, "v1")
	blobs := append(m.doc.Layers, *m.doc.Config)
	for _, d := range blobs {
		t.seedMount(t.other, t.repo, d.Digest)
	}
	copied := t.seedManifest(t.other, "v1", t.variant(m))
	t.seedDelete(t.repo.manifest(string(m.digest)))
	for _, d := range blobs {
		t.delete(t.repo.blob(d.Digest)) // some registries refuse it, or have deleted it already
	}
	t.wantImageIn(t.other, "v1", copied)
}

func deleteBlobInUse(t *T) {
	m := t.seedImage(t.repo, "v1")
	target := t.repo.blob(m.doc.Layers[0].Digest)
	a := t.delete(target)
	if a.Status == http.StatusAccepted {
		t.head(target).wantStatus(http.StatusNotFound)
	} else {
		a.wantRefused()
		t.head(target).wantStatus(http.StatusOK)
	}
	t.wantManifest(t.repo, "v1", m)
}
