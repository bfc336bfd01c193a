package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

const everyClient = "every client"

func pullCases() []Case {
	return []Case{
		{
			"ping", Pull, Must, "Determining Support",
			"GET /v2/ answers 200.",
			"docker, podman and crane ask it first and give up otherwise", ping,
		},
		{
			"manifest-get-by-tag", Pull, Must, "Pulling manifests",
			"GET of a manifest by tag answers 200 with the bytes that were pushed.",
			everyClient + " pulls by tag", manifestGetByTag,
		},
		{
			"manifest-get-by-digest", Pull, Must, "Pulling manifests",
			"GET of a manifest by digest answers 200 with the bytes that were pushed.",
			"docker and containerd pull what a tag resolved to; pinned deployments", manifestGetByDigest,
		},
		{
			"manifest-get-digest-header", Pull, Must, "Pulling manifests",
			"GET of a manifest carries its digest in Docker-Content-Digest.",
			"docker, containerd, crane and regctl ask twice; oras resolve fails", manifestGetDigestHeader,
		},
		{
			"manifest-get-content-type", Pull, Should, "Pulling manifests",
			"GET of a manifest has the Content-Type that it was pushed with, for each type and without parameters.",
			everyClient + " chooses by it how to read the manifest", manifestGetContentType,
		},
		{
			"manifest-get-missing", Pull, Must, "Pulling manifests",
			"GET of a manifest that is not there answers 404, by tag and by digest.",
			"clients take anything else for an outage", manifestGetMissing,
		},
		{
			"manifest-get-missing-repository", Pull, Must, "Pushing Manifests",
			"GET of a manifest from a repository that does not exist answers 404.",
			"the first push to a repository: oras and crane look before they push", manifestGetMissingRepository,
		},
		{
			"manifest-head", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a manifest answers 200 by tag and by digest, without a body.",
			"docker and containerd resolve tags with it", manifestHead,
		},
		{
			"manifest-head-digest-header", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a manifest carries its digest in Docker-Content-Digest.",
			"oras resolve fails; others fall back to GET", manifestHeadDigestHeader,
		},
		{
			"manifest-head-length", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a manifest carries its size in Content-Length.",
			"with 0 containerd refuses to pull, without it docker does", manifestHeadLength,
		},
		{
			"manifest-head-missing", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a manifest that is not there answers 404.",
			"clients that look before they push", manifestHeadMissing,
		},
		{
			"manifest-repositories-apart", Pull, Must, "Pulling manifests",
			"A manifest is found in the repository that it was pushed to and in no other.",
			"access rules that are made per repository", manifestRepositoriesApart,
		},
		{
			"blob-get", Pull, Must, "Pulling blobs",
			"GET of a blob answers 200 with its bytes, after any redirect.",
			everyClient, blobGet,
		},
		{
			"blob-get-digest-header", Pull, Must, "Pulling blobs",
			"GET of a blob carries its digest in Docker-Content-Digest; where the bytes are elsewhere, the redirect does.",
			"clients that verify what another algorithm named", blobGetDigestHeader,
		},
		{
			"blob-get-missing", Pull, Must, "Pulling blobs",
			"GET of a blob that is not there answers 404.",
			"clients take anything else for an outage", blobGetMissing,
		},
		{
			"blob-get-length", Pull, Should, "RFC 9110 8.6",
			"GET of a blob has a Content-Length.",
			"progress bars, and downloads that cannot tell that they broke off", blobGetLength,
		},
		{
			"blob-head", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a blob answers 200 without a body.",
			everyClient + " skips the upload of what is there", blobHead,
		},
		{
			"blob-head-digest-header", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a blob carries its digest in Docker-Content-Digest.",
			"docker uploads again", blobHeadDigestHeader,
		},
		{
			"blob-head-length", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a blob carries its true size in Content-Length.",
			"with 0, docker and podman publish manifests with sizes of 0; without it docker, oras and podman fail", blobHeadLength,
		},
		{
			"blob-head-missing", Pull, Must, "Checking if content exists in the registry",
			"HEAD of a blob that is not there answers 404.",
			"a client that is told otherwise does not upload the blob", blobHeadMissing,
		},
		{
			"blob-repositories-apart", Pull, Must, "Pulling blobs",
			"A blob is found in the repository that it was pushed to and in no other.",
			"whoever knows a digest reads other people's content", blobRepositoriesApart,
		},
		{
			"blob-empty", Pull, Must, "Pulling blobs",
			"A blob of 0 bytes is pushed, found with Content-Length 0 and pulled.",
			"artifacts with an empty file: helm and oras", blobEmpty,
		},
		{
			"blob-sha512", Pull, Should, "oras, helm",
			"A blob with a sha512 digest is found and pulled by it, and the answers name it by that digest.",
			"images that are built with sha512: oras refuses an answer that names another digest", blobSHA512,
		},
		{
			"manifest-sha512", Pull, May, "Pushing Manifests",
			"A manifest with a sha512 digest is pushed by it, which the answer repeats in Docker-Content-Digest, and is found and pulled by it.",
			"images that are built with sha512", manifestSHA512,
		},
	}
}

func ping(p *probe) { p.get("/v2/").is(http.StatusOK) }

func manifestGetByTag(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.getManifest(p.repo, "v1").is(http.StatusOK).hasBody(m.content)
}

func manifestGetByDigest(p *probe) {
	m := p.hasImage(p.repo, "")
	p.getManifest(p.repo, string(m.digest)).is(http.StatusOK).hasBody(m.content)
}

func manifestGetDigestHeader(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		p.getManifest(p.repo, ref).is(http.StatusOK).hasDigest(m.digest)
	}
}

func manifestGetContentType(p *probe) {
	image := p.newImage(p.repo)
	docker := image.doc
	docker.MediaType = oci.MediaTypeDockerManifest
	for _, doc := range []document{image.doc, docker, p.indexOf(image)} {
		m := p.hasManifest(p.repo, "", doc.encode())
		p.getManifest(p.repo, string(m.digest)).is(http.StatusOK).has("Content-Type", m.mediaType)
		p.head(p.repo.manifest(string(m.digest)), withHeader("Accept", acceptedByMost)).is(http.StatusOK).has("Content-Type", m.mediaType)
	}
}

func manifestGetMissing(p *probe) {
	p.hasImage(p.repo, "v1")
	p.getManifest(p.repo, "v2").is(http.StatusNotFound)
	p.getManifest(p.repo, string(p.newBlob(10).digest)).is(http.StatusNotFound)
}

func manifestGetMissingRepository(p *probe) {
	p.getManifest(p.repo, "v1").is(http.StatusNotFound)
	p.getManifest(p.repo, string(p.newBlob(10).digest)).is(http.StatusNotFound)
}

func manifestHead(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		p.headManifest(p.repo, ref).is(http.StatusOK).hasBody(nil)
	}
}

func manifestHeadDigestHeader(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		p.headManifest(p.repo, ref).is(http.StatusOK).hasDigest(m.digest)
	}
}

func manifestHeadLength(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		p.headManifest(p.repo, ref).is(http.StatusOK).hasLength(len(m.content))
	}
}

func manifestHeadMissing(p *probe) {
	p.hasImage(p.repo, "v1")
	p.headManifest(p.repo, "v2").is(http.StatusNotFound)
	p.headManifest(p.repo, string(p.newBlob(10).digest)).is(http.StatusNotFound)
}

func manifestRepositoriesApart(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasImage(p.other, "v2")
	p.getManifest(p.other, "v1").is(http.StatusNotFound)
	p.getManifest(p.other, string(m.digest)).is(http.StatusNotFound)
}

func blobGet(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content)
}

func blobGetDigestHeader(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasDigest(b.digest)
}

func blobGetMissing(p *probe) {
	p.hasBlob(p.repo, p.newBlob(10))
	p.get(p.repo.blob(p.newBlob(10).digest)).is(http.StatusNotFound)
	p.get(p.other.blob(p.newBlob(10).digest)).is(http.StatusNotFound)
}

func blobGetLength(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
}

func blobHead(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(nil)
}

func blobHeadDigestHeader(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasDigest(b.digest)
}

func blobHeadLength(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
	// A mounted blob has the length of its content, whatever the registry keeps.
	p.given(func() {
		if p.post(p.other.uploads(mountFrom(b.digest, p.repo))).status != http.StatusCreated {
			p.pushBlob(p.other, b).is(http.StatusCreated)
		}
	})
	p.head(p.other.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
}

func blobHeadMissing(p *probe) {
	p.hasBlob(p.repo, p.newBlob(10))
	p.head(p.repo.blob(p.newBlob(10).digest)).is(http.StatusNotFound)
	p.head(p.other.blob(p.newBlob(10).digest)).is(http.StatusNotFound)
}

func blobRepositoriesApart(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.hasBlob(p.other, p.newBlob(10))
	p.head(p.other.blob(b.digest)).is(http.StatusNotFound)
	p.get(p.other.blob(b.digest)).is(http.StatusNotFound)
}

func blobEmpty(p *probe) {
	b := blobOf(nil)
	p.pushBlob(p.repo, b).is(http.StatusCreated)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(0)
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(nil)
}

// sha512Of is content under its sha512 digest.
func sha512Of(content []byte) blob { return blob{content, oci.SHA512.FromBytes(content)} }

// takesSHA512 ends the case where a push by a sha512 digest is refused: registries
// may know sha256 alone (image-spec, "Registered algorithms").
func (p *probe) takesSHA512(pushed *answer) *answer {
	if pushed.status == http.StatusBadRequest {
		p.notOffered(pushed, "sha512 is not supported")
	}
	return pushed.is(http.StatusCreated)
}

func blobSHA512(p *probe) {
	b := sha512Of(p.rand.bytes(3000))
	p.takesSHA512(p.pushBlob(p.repo, b))
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content).hasDigest(b.digest)
}

func manifestSHA512(p *probe) {
	m := p.newImage(p.repo)
	m.blob = sha512Of(m.content)
	p.takesSHA512(p.putManifest(p.repo, string(m.digest), m)).hasDigest(m.digest)
	p.headManifest(p.repo, string(m.digest)).is(http.StatusOK).hasLength(len(m.content))
	p.pulls(p.repo, string(m.digest), m)
}
