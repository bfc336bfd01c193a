package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func manifestGetContentType(t *T) {
	image := t.newImage(t.repo)
	docker := image.doc
	docker.MediaType = oci.MediaTypeDockerManifest
	for _, doc := range []document{image.doc, docker, t.indexOf(image)} {
		m := t.seedManifest(t.repo, "", doc.encode())
		t.getManifest(t.repo, string(m.digest)).wantStatus(http.StatusOK).wantHeader("Content-Type", m.mediaType)
		t.head(t.repo.manifest(string(m.digest)), withHeader("Accept", acceptedByMost)).wantStatus(http.StatusOK).wantHeader("Content-Type", m.mediaType)
	}
}

func manifestGetMissingRepository(t *T) {
	t.getManifest(t.repo, "v1").wantStatus(http.StatusNotFound)
	t.getManifest(t.repo, string(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
}

func manifestRepositoriesApart(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedImage(t.other, "v2")
	t.getManifest(t.other, "v1").wantStatus(http.StatusNotFound)
	t.getManifest(t.other, string(m.digest)).wantStatus(http.StatusNotFound)
}

func blobHeadLength(t *T) {
	b := t.seedNewBlob(t.repo)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
	// A mounted blob has the same length.
	t.setup(func() {
		if t.post(t.other.uploads(mountFrom(b.digest, t.repo))).Status != http.StatusCreated {
			t.pushBlob(t.other, b).wantStatus(http.StatusCreated)
		}
	})
	t.head(t.other.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

func blobRepositoriesApart(t *T) {
	b := t.seedNewBlob(t.repo)
	t.seedBlob(t.other, t.newBlob(10))
	t.head(t.other.blob(b.digest)).wantStatus(http.StatusNotFound)
	t.get(t.other.blob(b.digest)).wantStatus(http.StatusNotFound)
}

func blobEmpty(t *T) {
	b := blobOf(nil)
	t.pushBlob(t.repo, b).wantStatus(http.StatusCreated)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(0)
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(nil)
}

// offersSHA512 ends the case if a push by a sha512 digest is refused: registries may support
// sha256 only (image-spec, "Registered algorithms").
func (t *T) offersSHA512(pushed *answer) *answer {
	pushed.notOfferedIf("sha512 is not supported", http.StatusBadRequest)
	return pushed.wantStatus(http.StatusCreated)
}

func blobSHA512(t *T) {
	b := sha512Of(t.rand.bytes(3000))
	t.offersSHA512(t.pushBlob(t.repo, b))
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content).wantDigest(b.digest)
}

func manifestSHA512(t *T) {
	m := t.newImage(t.repo)
	m.blob = sha512Of(m.content)
	t.offersSHA512(t.putManifest(t.repo, string(m.digest), m)).wantDigest(m.digest)
	t.headManifest(t.repo, string(m.digest)).wantStatus(http.StatusOK).wantLength(len(m.content))
	t.wantManifest(t.repo, string(m.digest), m)
}
