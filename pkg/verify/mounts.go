package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

// mounted mounts a new blob into the second repository.
func (t *T) mounted() blob {
	b := t.seedNewBlob(t.repo)
	t.seedMount(t.other, t.repo, b.digest)
	return b
}

func mount(t *T) {
	b := t.seedNewBlob(t.repo)
	t.mount(t.other, b.digest, t.repo).offersMount().wantStatus(http.StatusCreated)
}

func mountPull(t *T) {
	b := t.mounted()
	for _, repo := range []repository{t.other, t.repo} {
		t.head(repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
		t.wantBlob(repo, b)
	}
}

func mountChain(t *T) {
	b := t.mounted()
	third := t.other + "-third"
	a := t.mount(third, b.digest, t.other).wantStatus(http.StatusCreated, http.StatusAccepted)
	if a.Status == http.StatusAccepted {
		t.finish(a.location(), b.digest, b.content).wantStatus(http.StatusCreated)
	}
	t.wantBlob(third, b)
}

func mountAgain(t *T) {
	b := t.mounted()
	for _, from := range []repository{t.repo, t.other} {
		t.mount(t.other, b.digest, from).wantStatus(http.StatusCreated, http.StatusAccepted)
		t.wantBlob(t.other, b)
	}
}

func mountMissing(t *T) {
	t.seedBlob(t.repo, t.newBlob(10))
	t.mount(t.other, t.newBlob(3000).digest, t.repo).wantStatus(http.StatusAccepted)
}

func mountMissingSession(t *T) {
	b := t.newBlob(3000)
	t.seedBlob(t.repo, t.newBlob(10))
	a := t.mount(t.other, b.digest, t.repo)
	t.setup(func() { a.wantStatus(http.StatusAccepted) })
	t.finish(a.location(), b.digest, b.content).wantStored(t.other, b)
}

func mountMissingInvisible(t *T) {
	d := t.newBlob(3000).digest
	t.seedBlob(t.repo, t.newBlob(10))
	a := t.mount(t.other, d, t.repo)
	a.want(a.Status != http.StatusCreated, "expected no success: the blob does not exist")
	t.wantNoBlob(t.other, d)
	t.wantNoBlob(t.repo, d)
}

func mountUnknownRepository(t *T) {
	b := t.newBlob(3000)
	a := t.mount(t.other, b.digest, t.repo+"-unknown").wantStatus(http.StatusAccepted)
	t.finish(a.location(), b.digest, b.content).wantStored(t.other, b)
}

func mountWithoutFrom(t *T) {
	b := t.seedNewBlob(t.repo)
	t.mount(t.other, b.digest, "").offersMount().wantStored(t.other, b)
}

func mountWithoutFromSession(t *T) {
	b := t.newBlob(3000)
	t.finish(t.mount(t.repo, b.digest, "").wantStatus(http.StatusAccepted).location(), b.digest, b.content).wantStored(t.repo, b)
}

func mountDigestInvalid(t *T) {
	t.seedBlob(t.repo, t.newBlob(10))
	for _, d := range []oci.Digest{"latest", "sha256:abc", "none:0123456789abcdef"} {
		t.mount(t.other, d, t.repo).wantStatus(http.StatusBadRequest, http.StatusAccepted)
	}
}
