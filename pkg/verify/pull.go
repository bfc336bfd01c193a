package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func ping(t *T) { t.get("/v2/").wantStatus(http.StatusOK) }

func manifestGetByTag(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.getManifest(t.repo, "v1").wantStatus(http.StatusOK).wantBody(m.content)
}

func manifestGetByDigest(t *T) {
	m := t.seedImage(t.repo, "")
	t.getManifest(t.repo, string(m.digest)).wantStatus(http.StatusOK).wantBody(m.content)
}

func manifestGetDigestHeader(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		t.getManifest(t.repo, ref).wantStatus(http.StatusOK).wantDigest(m.digest)
	}
}

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

func manifestGetMissing(t *T) {
	t.seedImage(t.repo, "v1")
	t.getManifest(t.repo, "v2").wantStatus(http.StatusNotFound)
	t.getManifest(t.repo, string(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
}

func manifestGetMissingRepository(t *T) {
	t.getManifest(t.repo, "v1").wantStatus(http.StatusNotFound)
	t.getManifest(t.repo, string(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
}

func manifestHead(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		t.headManifest(t.repo, ref).wantStatus(http.StatusOK).wantBody(nil)
	}
}

func manifestHeadDigestHeader(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		t.headManifest(t.repo, ref).wantStatus(http.StatusOK).wantDigest(m.digest)
	}
}

func manifestHeadLength(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		t.headManifest(t.repo, ref).wantStatus(http.StatusOK).wantLength(len(m.content))
	}
}

func manifestHeadMissing(t *T) {
	t.seedImage(t.repo, "v1")
	t.headManifest(t.repo, "v2").wantStatus(http.StatusNotFound)
	t.headManifest(t.repo, string(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
}

func manifestRepositoriesApart(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedImage(t.other, "v2")
	t.getManifest(t.other, "v1").wantStatus(http.StatusNotFound)
	t.getManifest(t.other, string(m.digest)).wantStatus(http.StatusNotFound)
}

func blobGet(t *T) {
	b := t.seedNewBlob(t.repo)
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content)
}

func blobGetDigestHeader(t *T) {
	b := t.seedNewBlob(t.repo)
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantDigest(b.digest)
}

func blobGetMissing(t *T) {
	t.seedBlob(t.repo, t.newBlob(10))
	t.get(t.repo.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
	t.get(t.other.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
}

func blobGetLength(t *T) {
	b := t.seedNewBlob(t.repo)
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

func blobHead(t *T) {
	b := t.seedNewBlob(t.repo)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(nil)
}

func blobHeadDigestHeader(t *T) {
	b := t.seedNewBlob(t.repo)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantDigest(b.digest)
}

func blobHeadLength(t *T) {
	b := t.seedNewBlob(t.repo)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
	// A mounted blob has the length of its content, whatever the registry keeps.
	t.setup(func() {
		if t.post(t.other.uploads(mountFrom(b.digest, t.repo))).Status != http.StatusCreated {
			t.pushBlob(t.other, b).wantStatus(http.StatusCreated)
		}
	})
	t.head(t.other.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

func blobHeadMissing(t *T) {
	t.seedBlob(t.repo, t.newBlob(10))
	t.head(t.repo.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
	t.head(t.other.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
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

// offersSHA512 ends the case where a push by a sha512 digest is refused: registries
// may know sha256 alone (image-spec, "Registered algorithms").
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
