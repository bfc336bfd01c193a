package verify

import (
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func blobPutVisible(t *T) {
	for range 5 {
		b := t.newBlob(3000)
		t.seedBlob(t.repo, b)
		for range 3 {
			t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
			t.wantBlob(t.repo, b)
		}
	}
}

func blobPutVisibleAfterMiss(t *T) {
	for range 3 {
		b := t.newBlob(3000)
		t.setup(func() { t.wantNoBlob(t.repo, b.digest) })
		t.seedBlob(t.repo, b)
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK)
		t.wantBlob(t.repo, b)
	}
}

func blobPutAgain(t *T) {
	b := t.seedNewBlob(t.repo)
	for range 2 {
		t.pushBlob(t.repo, b).wantStored(t.repo, b)
	}
}

func blobPutTwoRepositories(t *T) {
	b := t.seedNewBlob(t.repo)
	t.pushBlob(t.other, b).wantStored(t.other, b)
	t.wantBlob(t.repo, b)
}

func blobPutSizes(t *T) {
	for _, n := range []int{1, 5*mib - 1, 5 * mib, 5*mib + 1} {
		b := t.newBlob(n)
		t.pushBlob(t.repo, b).wantStatus(http.StatusCreated)
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(n)
		t.wantBlob(t.repo, b)
	}
}

func blobPutCut(t *T) {
	b := t.newBlob(3000)
	t.try(http.MethodPut, AddQuery(t.newUpload(t.repo, ""), "digest", string(b.digest)),
		octets(b.content), cutAfter(2000))
	t.wantNoBlob(t.repo, b.digest)
	t.pushBlob(t.repo, b).wantStored(t.repo, b)
}

func blobPutStream(t *T) {
	b := t.newBlob(3000)
	t.put(AddQuery(t.newUpload(t.repo, ""), "digest", string(b.digest)), withBody(b.content), asStream()).
		notOfferedIf("PUT needs a Content-Length", http.StatusLengthRequired).wantStored(t.repo, b)
}

func blobPutRange(t *T) {
	b := t.newBlob(3000)
	t.startUpload(t.repo, "").put(b.digest, b.content, contentRange(0, len(b.content))).wantStored(t.repo, b)
}

func blobPutSHA512Unannounced(t *T) {
	b := sha512Of(t.rand.bytes(3000))
	t.startUpload(t.repo, "").put(b.digest, b.content).wantStored(t.repo, b)
}

// mismatched puts content under the digest of other content.
func (t *T) mismatched() (claimed oci.Digest, own blob, a *answer) {
	claimed, own = t.newBlob(3000).digest, t.newBlob(3000)
	return claimed, own, t.startUpload(t.repo, "").put(claimed, own.content)
}

func blobDigestMismatch(t *T) {
	claimed, _, a := t.mismatched()
	a.want(a.Status >= 400, "expected an error")
	t.wantNoBlob(t.repo, claimed)
}

func blobDigestMismatchCode(t *T) {
	_, _, a := t.mismatched()
	t.setup(func() { a.wantRefused() })
	a.wantCode(oci.DigestInvalid)
}

func blobDigestMismatchOwn(t *T) {
	_, own, a := t.mismatched()
	t.setup(func() { a.want(a.Status >= 400, "expected an error") })
	t.wantNoBlob(t.repo, own.digest)
}

func blobDigestMalformed(t *T) {
	b := t.newBlob(300)
	hex := b.digest.Encoded()
	for _, d := range []string{"latest", "sha256", "sha256:", ":" + hex, hex, "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.Repeat("g", 64)} {
		t.startUpload(t.repo, "").put(oci.Digest(d), b.content).wantStatus(http.StatusBadRequest)
	}
	t.wantNoBlob(t.repo, b.digest)
}

// noAlgorithms returns valid names of algorithms that do not exist.
func noAlgorithms() []string { return []string{"none", "verify+none.1"} }

func blobDigestUnsupported(t *T) {
	b := t.newBlob(300)
	for _, name := range noAlgorithms() {
		t.startUpload(t.repo, "").put(oci.Digest(name+":"+b.digest.Encoded()), b.content).wantStatus(http.StatusBadRequest)
	}
}

func blobDigestMissing(t *T) {
	b := t.newBlob(300)
	t.put(t.newUpload(t.repo, ""), octets(b.content)).wantRefused()
	t.wantNoBlob(t.repo, b.digest)
}

func uploadAlgorithmUnsupported(t *T) {
	for _, name := range noAlgorithms() {
		a := t.post(AddQuery(t.repo.uploads(""), "digest-algorithm", name))
		if a.Status == http.StatusAccepted {
			t.notOffered(a, "digest-algorithm is ignored") // registries ignore unknown parameters
		}
		a.wantStatus(http.StatusBadRequest)
	}
}
