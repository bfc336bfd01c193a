package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

// singlePost sends a blob in one POST.
func (t *T) singlePost(d oci.Digest, content []byte) *answer {
	return t.post(AddQuery(t.repo.uploads(""), "digest", string(d)), withBody(content), withHeader("Content-Type", octetStream))
}

// offersPost ends the case if the registry does not support a single POST.
func (a *answer) offersPost() *answer {
	return a.notOfferedIf("a single POST opens an upload", http.StatusAccepted)
}

func blobPostOrSession(t *T) {
	b := t.newBlob(3000)
	a := t.singlePost(b.digest, b.content).wantStatus(http.StatusCreated, http.StatusAccepted)
	if a.Status == http.StatusAccepted {
		t.finish(a.location(), b.digest, b.content).wantStatus(http.StatusCreated)
	}
	t.wantBlob(t.repo, b)
}

func blobPost(t *T) {
	b := t.newBlob(3000)
	t.singlePost(b.digest, b.content).offersPost().wantStored(t.repo, b)
}

func blobPostMismatch(t *T) {
	claimed, own := t.newBlob(3000), t.newBlob(3000)
	a := t.singlePost(claimed.digest, own.content).offersPost()
	a.want(a.Status >= 400, "expected an error")
	t.wantNoBlob(t.repo, claimed.digest)
}

func blobPostDigestStatus(t *T) {
	b := t.newBlob(300)
	hex := b.digest.Encoded()
	for _, d := range []string{string(t.newBlob(300).digest), "latest", "sha256:" + hex[1:], "none:" + hex} {
		t.singlePost(oci.Digest(d), b.content).offersPost().wantStatus(http.StatusBadRequest)
	}
}

func blobPostCut(t *T) {
	first, b := t.newBlob(100), t.newBlob(3000)
	t.setup(func() { t.singlePost(first.digest, first.content).offersPost().wantStatus(http.StatusCreated) })
	t.try(http.MethodPost, AddQuery(t.repo.uploads(""), "digest", string(b.digest)),
		octets(b.content), cutAfter(2000))
	t.wantNoBlob(t.repo, b.digest)
	t.singlePost(b.digest, b.content).wantStored(t.repo, b)
}
