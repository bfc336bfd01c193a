package verify

import (
	"net/http"
	"strconv"
)

func clientDockerPush(t *T) {
	img := t.newLocalImage(5).asDocker()
	t.get("/v2/").wantStatus(http.StatusOK)
	t.parallel(len(img.layers), func(i int) { t.dockerBlob(img.layers[i]) })
	t.dockerBlob(img.config)
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated).wantDigest(img.manifest.digest)
	t.wantImage(img)
}

func clientDockerPull(t *T) {
	img := t.pushed(t.newLocalImage(3).asDocker())
	m := img.manifest
	t.get("/v2/").wantStatus(http.StatusOK)
	t.head(t.repo.manifest("v1"), acceptLines()).wantStatus(http.StatusOK).wantLength(len(m.content)).wantDigest(m.digest).wantHeader("Content-Type", m.mediaType)
	t.get(t.repo.manifest(string(m.digest)), acceptLines()).wantStatus(http.StatusOK).wantBody(m.content).wantHeader("Content-Type", m.mediaType)
	t.parallel(len(img.blobs()), func(i int) { t.wantBlob(t.repo, img.blobs()[i]) })
}

func clientDockerMount(t *T) {
	b := t.seedNewBlob(t.other)
	a := t.post(t.repo.uploads("?from="+string(t.other)+"&mount="+string(b.digest))).wantStatus(http.StatusCreated, http.StatusAccepted)
	if a.Status == http.StatusAccepted {
		// docker cancels the upload and tries the next repository, even if the
		// cancellation fails.
		t.delete(a.location())
		t.dockerBlob(b)
		return
	}
	a.wantDigest(b.digest).location()
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

func clientPodmanPush(t *T) {
	img := t.newLocalImage(2)
	t.get("/v2/").wantStatus(http.StatusOK)
	for i, b := range img.blobs() {
		t.head(t.repo.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound) // the uncompressed layer
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound)
		opened := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
		opts := []option{streamed(b.content), withHeader("Content-Type", octetStream)}
		if i == 0 { // like skopeo
			opts[0] = withBody(b.content)
		}
		sent := t.patch(opened.location(), opts...).wantStatus(http.StatusAccepted)
		t.put(sent.merged(b.digest), withHeader("Content-Type", octetStream)).wantStatus(http.StatusCreated)
	}
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated)
	t.wantImage(img)
}

func clientPodmanPull(t *T) {
	img := t.pushed(t.newLocalImage(2))
	t.get("/v2/").wantStatus(http.StatusOK)
	t.get(t.repo.manifest("v1"), acceptLines()).wantStatus(http.StatusOK).wantBody(img.manifest.content).wantHeader("Content-Type", mediaManifest)
	t.wantBlobs(img.blobs())
}

func clientCranePush(t *T) {
	img := t.newLocalImage(2)
	t.get("/v2/").wantStatus(http.StatusOK)
	t.headManifest(t.repo, "v1").wantStatus(http.StatusNotFound)
	for _, b := range img.blobs() {
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound)
		opened := t.post(t.repo.uploads(""), withHeader("Content-Type", "application/json")).wantStatus(http.StatusAccepted)
		sent := t.patch(opened.location(), withBody(b.content)).wantStatus(http.StatusAccepted)
		t.put(sent.merged(b.digest)).wantStatus(http.StatusCreated)
	}
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated)
	t.wantImage(img)
}

func clientCranePull(t *T) {
	img := t.pushed(t.newLocalImage(2))
	t.get("/v2/").wantStatus(http.StatusOK)
	t.getManifest(t.repo, "v1").wantStatus(http.StatusOK).wantBody(img.manifest.content).wantHeader("Content-Type", mediaManifest)
	t.wantBlobs(img.blobs())
}

func clientContainerdPush(t *T) {
	img := t.newLocalImage(2)
	for _, b := range img.blobs() {
		t.head(t.repo.blob(b.digest), withHeader("Accept", mediaLayer+", */*")).wantStatus(http.StatusNotFound)
		opened := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
		t.put(opened.merged(b.digest), octets(b.content)).wantStatus(http.StatusCreated).wantDigest(b.digest)
	}
	t.head(t.repo.manifest("v1"), withHeader("Accept", mediaManifest+", */*")).wantStatus(http.StatusNotFound)
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated).wantDigest(img.manifest.digest)
	t.wantImage(img)
}

func clientContainerdPull(t *T) {
	img := t.pushed(t.newLocalImage(2))
	m := img.manifest
	t.head(t.repo.manifest("v1"), acceptContainerd()).wantStatus(http.StatusOK).wantLength(len(m.content)).wantDigest(m.digest).wantHeader("Content-Type", m.mediaType)
	t.get(t.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType+", */*")).wantStatus(http.StatusOK).wantBody(m.content)
	for _, b := range img.blobs() {
		t.get(t.repo.blob(b.digest), withHeader("Accept", mediaLayer+", */*")).wantStatus(http.StatusOK).wantBody(b.content)
	}
}

func clientOrasPush(t *T) {
	img := t.newLocalImage(1)
	m := img.manifest
	t.headManifest(t.repo, string(m.digest)).wantStatus(http.StatusNotFound)
	for _, b := range img.blobs() {
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound)
		opened := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
		t.put(opened.merged(b.digest), octets(b.content)).wantStatus(http.StatusCreated)
	}
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
	t.get(t.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType)).wantStatus(http.StatusOK).wantBody(m.content).wantHeader("Content-Type", m.mediaType)
	t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated)
	t.wantImage(img)
}

func clientOrasPull(t *T) {
	img := t.pushed(t.newLocalImage(1))
	m := img.manifest
	t.headManifest(t.repo, "v1").wantStatus(http.StatusOK).wantLength(len(m.content)).wantDigest(m.digest).wantHeader("Content-Type", m.mediaType)
	t.get(t.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType)).wantStatus(http.StatusOK).wantBody(m.content).wantLength(len(m.content))
	for _, b := range img.blobs() {
		t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content).wantLength(len(b.content))
	}
}

func clientRegctlPush(t *T) {
	img := t.newLocalImage(2)
	t.head(t.repo.manifest("v1"), acceptLines()).wantStatus(http.StatusNotFound)
	for _, b := range img.blobs() {
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound)
		opened := t.post(t.repo.uploads("?mount=" + string(b.digest))).wantStatus(http.StatusAccepted)
		t.put(opened.appended(b.digest), octets(b.content)).wantStatus(http.StatusCreated)
	}
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated)
	t.wantImage(img)
}

func clientRegctlChunks(t *T) {
	opened := t.setupWith(func() *answer { return t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted) })
	size := 1 << 20
	if n, err := strconv.Atoi(opened.Header.Get("OCI-Chunk-Min-Length")); err == nil && n > size {
		size = n
	}
	b := t.newBlob(size + 1000)
	first := t.patch(opened.appended(b.digest), octets(b.content[:size]), contentRange(0, size)).
		wantStatus(http.StatusAccepted).wantRange(size)
	last := t.patch(first.location(), octets(b.content[size:]), contentRange(size, len(b.content)-size)).
		wantStatus(http.StatusAccepted).wantRange(len(b.content))
	t.put(last.appended(b.digest)).wantStatus(http.StatusCreated)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

func clientPushAgain(t *T) {
	img := t.pushed(t.newLocalImage(2))
	for _, b := range img.blobs() {
		t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
	}
	t.putManifest(t.repo, "v1", img.manifest).wantStatus(http.StatusCreated)
	t.pushBlob(t.repo, img.layers[0]).wantStatus(http.StatusCreated) // podman may send it again
	t.wantImage(img)
}
