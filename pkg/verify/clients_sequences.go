package verify

import (
	"net/http"
	"strconv"
)

func clientSequenceCases() []Case {
	return []Case{
		{
			"client-docker-push", Clients, Must, "docker",
			"An image is pushed as docker with its own image store does it: five layers at once, each as a stream without a length, closed by an empty PUT and looked up after it.",
			"docker push", clientDockerPush,
		},
		{
			"client-docker-pull", Clients, Must, "docker",
			"An image is pulled as docker does it: HEAD of the tag, GET of the digest, GET of each blob.",
			"docker pull", clientDockerPull,
		},
		{
			"client-docker-mount", Clients, Must, "docker",
			"POST ?from=&mount= takes the blob over, or opens an upload that can be cancelled and tried again.",
			"docker push of an image whose layers it knows from elsewhere", clientDockerMount,
		},
		{
			"client-podman-push", Clients, Must, "podman, buildah, skopeo",
			"An image is pushed as podman and skopeo do it: HEAD, a PATCH with or without a length, an empty PUT.",
			"podman push, buildah push, skopeo copy", clientPodmanPush,
		},
		{
			"client-podman-pull", Clients, Must, "podman, buildah, skopeo",
			"An image is pulled as podman does it: GET of the tag with one Accept line per type, GET of each blob.",
			"podman pull, skopeo copy", clientPodmanPull,
		},
		{
			"client-crane-push", Clients, Must, "crane, ko, kaniko",
			"An image is pushed as crane does it: a POST that says application/json without a body, one PATCH, an empty PUT.",
			"crane push, ko, kaniko", clientCranePush,
		},
		{
			"client-crane-pull", Clients, Must, "crane, ko, kaniko",
			"An image is pulled as crane does it: GET of the tag with all types in one Accept line, GET of each blob.",
			"crane pull", clientCranePull,
		},
		{
			"client-containerd-push", Clients, Must, "containerd, docker, buildx",
			"An image is pushed as containerd does it: HEAD, POST and one PUT with the whole blob, HEAD of the tag before the manifest.",
			"docker with the containerd store, buildx, nerdctl, ctr", clientContainerdPush,
		},
		{
			"client-containerd-pull", Clients, Must, "containerd, docker, buildx",
			"An image is pulled as containerd does it: HEAD of the tag that tells length, type and digest, GET of the digest, GET of each blob with its type in Accept.",
			"docker with the containerd store, Kubernetes, nerdctl", clientContainerdPull,
		},
		{
			"client-oras-push", Clients, Must, "oras, helm",
			"An artifact is pushed as helm does it: HEAD, POST and PUT of each blob, the manifest by digest, read back, and then by tag.",
			"oras push, helm push", clientOrasPush,
		},
		{
			"client-oras-pull", Clients, Must, "oras, helm",
			"An artifact is pulled as oras does it: HEAD of the tag that tells length, type and digest, GET of the digest, GET of each blob.",
			"oras pull, oras resolve, helm pull", clientOrasPull,
		},
		{
			"client-regctl-push", Clients, Must, "regctl",
			"An image is pushed as regctl does it: a mount without a source for each blob, then a PUT with the digest appended to the location as it stands.",
			"regctl image copy", clientRegctlPush,
		},
		{
			"client-regctl-chunks", Clients, Must, "regctl",
			"A blob is pushed as regctl does where a whole PUT fails: chunks with Content-Range, and a digest in the query of the first.",
			"regctl, and all that chunk large layers", clientRegctlChunks,
		},
		{
			"client-push-again", Clients, Must, everyClient,
			"An image that is there already is found blob by blob, and its manifest is taken once more.",
			"every second push of a build", clientPushAgain,
		},
	}
}

// dockerBlob pushes a blob as docker's own image store does.
func (p *probe) dockerBlob(b blob) {
	opened := p.post(p.repo.uploads("")).is(http.StatusAccepted)
	sent := p.patch(opened.location(), streamed(b.content)).is(http.StatusAccepted).has("Range", lastByte(b))
	p.put(sent.merged(b.digest), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
}

// lastByte is Range after the whole of a blob has been sent.
func lastByte(b blob) string { return "0-" + strconv.Itoa(len(b.content)-1) }

func clientDockerPush(p *probe) {
	img := p.newLocalImage(5).asDocker()
	p.get("/v2/").is(http.StatusOK)
	p.each(len(img.layers), func(i int) { p.dockerBlob(img.layers[i]) })
	p.dockerBlob(img.config)
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated).hasDigest(img.manifest.digest)
	p.arrived(img)
}

// pushed is an image that is in the registry, to be pulled.
func (p *probe) pushed(img localImage) localImage {
	for _, b := range img.blobs() {
		p.hasBlob(p.repo, b)
	}
	p.hasManifest(p.repo, "v1", img.manifest)
	return img
}

func clientDockerPull(p *probe) {
	img := p.pushed(p.newLocalImage(3).asDocker())
	m := img.manifest
	p.get("/v2/").is(http.StatusOK)
	p.head(p.repo.manifest("v1"), acceptLines()).is(http.StatusOK).hasLength(len(m.content)).hasDigest(m.digest).has("Content-Type", m.mediaType)
	p.get(p.repo.manifest(string(m.digest)), acceptLines()).is(http.StatusOK).hasBody(m.content).has("Content-Type", m.mediaType)
	p.each(len(img.blobs()), func(i int) {
		b := img.blobs()[i]
		p.isPulled(p.repo, b)
	})
}

func clientDockerMount(p *probe) {
	b := p.newBlob(5000)
	p.hasBlob(p.other, b)
	a := p.post(p.repo.uploads("?from="+string(p.other)+"&mount="+string(b.digest))).is(http.StatusCreated, http.StatusAccepted)
	if a.status == http.StatusAccepted {
		// docker takes the upload away and goes on with the next repository. Where
		// that cannot be done it goes on all the same.
		p.delete(a.location())
		p.dockerBlob(b)
		return
	}
	a.hasDigest(b.digest).location()
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
}

func clientPodmanPush(p *probe) {
	img := p.newLocalImage(2)
	p.get("/v2/").is(http.StatusOK)
	for i, b := range img.blobs() {
		p.head(p.repo.blob(p.newBlob(10).digest)).is(http.StatusNotFound) // of the layer before it was compressed
		p.head(p.repo.blob(b.digest)).is(http.StatusNotFound)
		opened := p.post(p.repo.uploads("")).is(http.StatusAccepted)
		opts := []option{streamed(b.content), withHeader("Content-Type", octetStream)}
		if i == 0 { // as skopeo does it
			opts[0] = withBody(b.content)
		}
		sent := p.patch(opened.location(), opts...).is(http.StatusAccepted)
		p.put(sent.merged(b.digest), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	}
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated)
	p.arrived(img)
}

func clientPodmanPull(p *probe) {
	img := p.pushed(p.newLocalImage(2))
	p.get("/v2/").is(http.StatusOK)
	p.get(p.repo.manifest("v1"), acceptLines()).is(http.StatusOK).hasBody(img.manifest.content).has("Content-Type", mediaManifest)
	for _, b := range img.blobs() {
		p.isPulled(p.repo, b)
	}
}

func clientCranePush(p *probe) {
	img := p.newLocalImage(2)
	p.get("/v2/").is(http.StatusOK)
	p.headManifest(p.repo, "v1").is(http.StatusNotFound)
	for _, b := range img.blobs() {
		p.head(p.repo.blob(b.digest)).is(http.StatusNotFound)
		opened := p.post(p.repo.uploads(""), withHeader("Content-Type", "application/json")).is(http.StatusAccepted)
		sent := p.patch(opened.location(), withBody(b.content)).is(http.StatusAccepted)
		p.put(sent.merged(b.digest)).is(http.StatusCreated)
	}
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated)
	p.arrived(img)
}

func clientCranePull(p *probe) {
	img := p.pushed(p.newLocalImage(2))
	p.get("/v2/").is(http.StatusOK)
	p.getManifest(p.repo, "v1").is(http.StatusOK).hasBody(img.manifest.content).has("Content-Type", mediaManifest)
	for _, b := range img.blobs() {
		p.isPulled(p.repo, b)
	}
}

func clientContainerdPush(p *probe) {
	img := p.newLocalImage(2)
	for _, b := range img.blobs() {
		p.head(p.repo.blob(b.digest), withHeader("Accept", mediaLayer+", */*")).is(http.StatusNotFound)
		opened := p.post(p.repo.uploads("")).is(http.StatusAccepted)
		p.put(opened.merged(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated).hasDigest(b.digest)
	}
	p.head(p.repo.manifest("v1"), withHeader("Accept", mediaManifest+", */*")).is(http.StatusNotFound)
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated).hasDigest(img.manifest.digest)
	p.arrived(img)
}

func clientContainerdPull(p *probe) {
	img := p.pushed(p.newLocalImage(2))
	m := img.manifest
	p.head(p.repo.manifest("v1"), acceptContainerd()).is(http.StatusOK).hasLength(len(m.content)).hasDigest(m.digest).has("Content-Type", m.mediaType)
	p.get(p.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType+", */*")).is(http.StatusOK).hasBody(m.content)
	for _, b := range img.blobs() {
		p.get(p.repo.blob(b.digest), withHeader("Accept", mediaLayer+", */*")).is(http.StatusOK).hasBody(b.content)
	}
}

func clientOrasPush(p *probe) {
	img := p.newLocalImage(1)
	m := img.manifest
	p.headManifest(p.repo, string(m.digest)).is(http.StatusNotFound)
	for _, b := range img.blobs() {
		p.head(p.repo.blob(b.digest)).is(http.StatusNotFound)
		opened := p.post(p.repo.uploads("")).is(http.StatusAccepted)
		p.put(opened.merged(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	}
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.get(p.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType)).is(http.StatusOK).hasBody(m.content).has("Content-Type", m.mediaType)
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
	p.arrived(img)
}

func clientOrasPull(p *probe) {
	img := p.pushed(p.newLocalImage(1))
	m := img.manifest
	p.headManifest(p.repo, "v1").is(http.StatusOK).hasLength(len(m.content)).hasDigest(m.digest).has("Content-Type", m.mediaType)
	p.get(p.repo.manifest(string(m.digest)), withHeader("Accept", m.mediaType)).is(http.StatusOK).hasBody(m.content).hasLength(len(m.content))
	for _, b := range img.blobs() {
		p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content).hasLength(len(b.content))
	}
}

func clientRegctlPush(p *probe) {
	img := p.newLocalImage(2)
	p.head(p.repo.manifest("v1"), acceptLines()).is(http.StatusNotFound)
	for _, b := range img.blobs() {
		p.head(p.repo.blob(b.digest)).is(http.StatusNotFound)
		opened := p.post(p.repo.uploads("?mount=" + string(b.digest))).is(http.StatusAccepted)
		p.put(opened.appended(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	}
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated)
	p.arrived(img)
}

func clientRegctlChunks(p *probe) {
	var opened *answer
	p.given(func() { opened = p.post(p.repo.uploads("")).is(http.StatusAccepted) })
	size := 1 << 20
	if n, err := strconv.Atoi(opened.header.Get("OCI-Chunk-Min-Length")); err == nil && n > size {
		size = n
	}
	b := p.newBlob(size + 1000)
	first := p.patch(opened.appended(b.digest), withBody(b.content[:size]), withHeader("Content-Type", octetStream), withHeader("Content-Range", "0-"+strconv.Itoa(size-1))).
		is(http.StatusAccepted).has("Range", "0-"+strconv.Itoa(size-1))
	last := p.patch(first.location(), withBody(b.content[size:]), withHeader("Content-Type", octetStream), withHeader("Content-Range", strconv.Itoa(size)+"-"+strconv.Itoa(len(b.content)-1))).
		is(http.StatusAccepted).has("Range", lastByte(b))
	p.put(last.appended(b.digest)).is(http.StatusCreated)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
}

func clientPushAgain(p *probe) {
	img := p.pushed(p.newLocalImage(2))
	for _, b := range img.blobs() {
		p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
	}
	p.putManifest(p.repo, "v1", img.manifest).is(http.StatusCreated)
	p.pushBlob(p.repo, img.layers[0]).is(http.StatusCreated) // podman may send it once more
	p.arrived(img)
}
