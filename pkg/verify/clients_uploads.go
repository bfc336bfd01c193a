package verify

import (
	"net/http"
	"net/url"
	"strings"
)

func clientUploadCases() []Case {
	return []Case{
		{
			"client-stream-range", Clients, Must, "docker",
			"A PATCH without Content-Length and Content-Range answers 202 with Range 0-<last byte>.",
			"docker push ends with EOF", clientStreamRange,
		},
		{
			"client-empty-patch", Clients, Should, "docker, podman",
			"A PATCH without a byte answers 202 with Range 0-0, and the upload goes on.",
			"docker and podman stream before they know whether a byte comes", clientEmptyPatch,
		},
		{
			"client-content-range-unit", Clients, May, "RFC 9110 14.4",
			"A chunk's Content-Range may begin with the unit, as in bytes 0-1023/*.",
			"home-made upload scripts and HTTP libraries, which know no other form", clientContentRangeUnit,
		},
		{
			"client-patch-digest-ignored", Clients, Must, "regctl",
			"A digest in the query of a PATCH is ignored: the upload is not over.",
			"regctl's first chunk after a PUT that failed", clientPatchDigestIgnored,
		},
		{
			"client-blob-put-headers", Clients, Must, "containerd",
			"The PUT that ends an upload answers exactly 201, with Docker-Content-Digest.",
			"podman, crane, oras and helm take no other status; containerd 1.6 wants the digest", clientBlobPutHeaders,
		},
		{
			"client-manifest-put-status", Clients, Must, "podman, oras, helm",
			"The PUT of a manifest answers exactly 201, by tag and by digest, new or not.",
			"podman, oras and helm take no other status", clientManifestPutStatus,
		},
		{
			"client-mount-without-from", Clients, Must, "regctl",
			"POST ?mount= without from answers 201, or 202 with an upload that can be used.",
			"regctl asks so before each blob", clientMountWithoutFrom,
		},
		{
			"client-post-json", Clients, Must, "crane",
			"A POST that opens an upload may say Content-Type: application/json and have no body.",
			"crane push, ko, kaniko", clientPostJSON,
		},
		{
			"client-location-own-host", Clients, Must, "oras, helm",
			"The location of an upload is on the registry's own scheme, host and port, or relative.",
			"oras and helm refuse another place; podman sends its token there", clientLocationOwnHost,
		},
		{
			"client-upload-no-redirect", Clients, Must, "docker, podman, oras",
			"POST, PATCH and PUT of uploads and PUT of manifests are answered without a redirect.",
			"docker and podman take it for success and lose the body; oras and helm fail", clientUploadNoRedirect,
		},
		{
			"client-chunk-resume", Clients, Should, "regctl",
			"The refusal of a chunk that does not fit carries Location and Range, so that the client can go on.",
			"regctl asks once more or starts again", clientChunkResume,
		},
		{
			"client-parallel-layers", Clients, Must, "docker, podman",
			"Ten blobs of one size are uploaded to one repository at once, each as a stream.",
			"docker sends five layers at once, podman six", clientParallelLayers,
		},
		{
			"client-two-uploads", Clients, Must, "Pushing blobs",
			"Each POST opens an upload of its own.",
			"layers that are pushed at once get into one another", clientTwoUploads,
		},
		{
			"client-mixed-uploads", Clients, Must, "Pushing blobs",
			"Two uploads whose chunks arrive by turns end with the bytes of each.",
			"layers that are pushed at once", clientMixedUploads,
		},
		{
			"client-unknown-query", Clients, Should, "Endpoints",
			"Query parameters that are not known are ignored, ns among them.",
			"containerd adds ns to its requests where a mirror is set up", clientUnknownQuery,
		},
		{
			"client-ns", Clients, Must, "containerd",
			"A pull with ns=<the registry's own host> is a pull like any other.",
			"containerd and docker with a mirror", clientNS,
		},
		{
			"client-expect-continue", Clients, Should, "RFC 9110 10.1.1",
			"A PUT with Expect: 100-continue is taken like one without.",
			"curl sends it with large bodies and waits", clientExpectContinue,
		},
		{
			"client-refused-body", Clients, Should, "containerd, docker",
			"A large body that is refused still gets its answer, and the next request is served.",
			"containerd 1.6 hangs for ever, others report a broken pipe instead of the error", clientRefusedBody,
		},
	}
}

func clientStreamRange(p *probe) {
	b := p.newBlob(300_000)
	sent := p.patch(p.newUpload(p.repo, ""), streamed(b.content)).is(http.StatusAccepted).has("Range", lastByte(b))
	p.put(sent.merged(b.digest)).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func clientEmptyPatch(p *probe) {
	b := p.newBlob(100)
	a := p.patch(p.newUpload(p.repo, ""), streamed(nil)).is(http.StatusAccepted).has("Range", "0-0")
	p.put(a.merged(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func clientContentRangeUnit(p *probe) {
	for _, spec := range []string{"bytes 0-1023", "bytes 0-1023/*", "bytes 0-1023/1024"} {
		b := p.newBlob(1024)
		sent := p.patch(p.newUpload(p.repo, ""), withBody(b.content), withHeader("Content-Range", spec))
		if sent.status >= 400 && sent.status < 500 {
			p.notOffered(sent, "Content-Range must have the form of the spec, which has no unit")
		}
		sent.is(http.StatusAccepted).has("Range", "0-1023")
		p.put(sent.merged(b.digest)).is(http.StatusCreated)
	}
}

func clientPatchDigestIgnored(p *probe) {
	b := p.newBlob(2000)
	var opened *answer
	p.given(func() { opened = p.post(p.repo.uploads("")).is(http.StatusAccepted) })
	sent := p.patch(opened.appended(b.digest), withBody(b.content)).is(http.StatusAccepted)
	p.put(sent.merged(b.digest)).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func clientBlobPutHeaders(p *probe) {
	b := p.newBlob(500)
	whole := p.put(withQuery(p.newUpload(p.repo, ""), "digest", string(b.digest)), withBody(b.content), withHeader("Content-Type", octetStream))
	whole.is(http.StatusCreated).hasDigest(b.digest)
	c := p.newBlob(500)
	var sent *answer
	p.given(func() {
		sent = p.patch(p.newUpload(p.repo, ""), streamed(c.content)).is(http.StatusAccepted)
	})
	p.put(sent.merged(c.digest)).is(http.StatusCreated).hasDigest(c.digest)
}

func clientManifestPutStatus(p *probe) {
	m := p.newImage(p.repo)
	for _, ref := range []string{"v1", "v1", string(m.digest)} {
		p.putManifest(p.repo, ref, m).is(http.StatusCreated)
	}
}

func clientMountWithoutFrom(p *probe) {
	known, b := p.newBlob(300), p.newBlob(400)
	p.hasBlob(p.other, known)
	if p.post(p.repo.uploads(mountFrom(known.digest, ""))).is(http.StatusCreated, http.StatusAccepted).status == http.StatusCreated {
		p.isPulled(p.repo, known)
	}
	opened := p.post(p.repo.uploads(mountFrom(b.digest, ""))).is(http.StatusAccepted)
	p.put(opened.merged(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
}

func clientPostJSON(p *probe) {
	b := p.newBlob(400)
	opened := p.post(p.repo.uploads(""), withHeader("Content-Type", "application/json")).is(http.StatusAccepted)
	p.put(opened.merged(b.digest), withBody(b.content)).is(http.StatusCreated)
}

// onOwnHost expects the location of an upload where the request went to.
func (a *answer) onOwnHost() *answer {
	u, err := url.Parse(a.location())
	own := err == nil && u.Host == a.p.conn.base.Host && u.Scheme == a.p.conn.base.Scheme
	return a.want(own, "expected a location at %s://%s, or a relative one", a.p.conn.base.Scheme, a.p.conn.base.Host)
}

func clientLocationOwnHost(p *probe) {
	b := p.newBlob(400)
	opened := p.post(p.repo.uploads("")).is(http.StatusAccepted).onOwnHost()
	p.patch(opened.location(), withBody(b.content)).is(http.StatusAccepted).onOwnHost()
	p.post(p.repo.uploads(mountFrom(b.digest, p.other))).is(http.StatusAccepted).onOwnHost()
}

// direct expects an answer that did not come by way of another.
func (a *answer) direct() *answer {
	return a.want(len(a.hops) == 0 && a.status/100 != 3, "expected an answer without a redirect")
}

func clientUploadNoRedirect(p *probe) {
	b := p.newBlob(400)
	opened := p.post(p.repo.uploads("")).direct().is(http.StatusAccepted)
	sent := p.patch(opened.location(), withBody(b.content)).direct().is(http.StatusAccepted)
	p.put(sent.merged(b.digest)).direct().is(http.StatusCreated)
	again := p.post(p.repo.uploads("")).direct().is(http.StatusAccepted)
	p.put(again.merged(b.digest), withBody(b.content)).direct().is(http.StatusCreated)
	m := p.imageOf(b).encode()
	p.putManifest(p.repo, "v1", m).direct().is(http.StatusCreated)
}

func clientChunkResume(p *probe) {
	u, _, chunks := p.begun()
	var refused *answer
	p.given(func() { refused = u.chunk(2*u.min, chunks[2]).refused() })
	u.location = refused.hasRange(u.min).location()
	u.chunk(u.min, chunks[1]).is(http.StatusAccepted)
}

func clientParallelLayers(p *probe) {
	blobs := make([]blob, 10)
	for i := range blobs {
		blobs[i] = p.newBlob(50_000)
	}
	p.each(len(blobs), func(i int) { p.dockerBlob(blobs[i]) })
	for _, b := range blobs {
		p.isPulled(p.repo, b)
	}
}

func clientTwoUploads(p *probe) {
	first := p.post(p.repo.uploads("")).is(http.StatusAccepted)
	second := p.post(p.repo.uploads("")).is(http.StatusAccepted)
	second.want(first.location() != second.location(), "expected a location of its own, this one was given out before")
}

func clientMixedUploads(p *probe) {
	a, b := p.newBlob(2000), p.newBlob(2000)
	locA, locB := p.newUpload(p.repo, ""), p.newUpload(p.repo, "")
	sentA := p.patch(locA, streamed(a.content)).is(http.StatusAccepted)
	sentB := p.patch(locB, streamed(b.content)).is(http.StatusAccepted)
	p.put(sentA.merged(a.digest)).is(http.StatusCreated)
	p.put(sentB.merged(b.digest)).is(http.StatusCreated)
	p.isPulled(p.repo, a)
	p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content)
}

func clientUnknownQuery(p *probe) {
	const query = "ns=registry.example&account=somebody&x-client=1"
	b := p.newBlob(700)
	opened := p.post(p.repo.uploads("?" + query)).is(http.StatusAccepted)
	p.put(opened.merged(b.digest)+"&"+query, withBody(b.content)).is(http.StatusCreated)
	m := p.imageOf(b).encode()
	p.put(p.repo.manifest("v1")+"?"+query, withBody(m.content), withHeader("Content-Type", m.mediaType)).is(http.StatusCreated)
	p.get(p.repo.blob(b.digest) + "?account=somebody&x-client=1").is(http.StatusOK).hasBody(b.content)
	p.getManifest(p.repo, "v1?account=somebody&x-client=1").is(http.StatusOK).hasBody(m.content)
	p.get(p.repo.tags("?account=somebody&x-client=1")).is(http.StatusOK)
}

func clientNS(p *probe) {
	ns := "?ns=" + url.QueryEscape(p.conn.base.Host)
	img := p.pushed(p.newLocalImage(1))
	p.head(p.repo.manifest("v1")+ns, acceptContainerd()).is(http.StatusOK).hasDigest(img.manifest.digest)
	p.get(p.repo.manifest(string(img.manifest.digest))+ns, acceptContainerd()).is(http.StatusOK).hasBody(img.manifest.content)
	p.get(p.repo.blob(img.config.digest) + ns).is(http.StatusOK).hasBody(img.config.content)
	b := p.newBlob(100)
	p.put(withQuery(p.newUpload(p.repo, ""), "digest", string(b.digest))+"&"+strings.TrimPrefix(ns, "?"), withBody(b.content)).is(http.StatusCreated)
}

func clientExpectContinue(p *probe) {
	b := p.newBlob(100_000)
	p.put(withQuery(p.newUpload(p.repo, ""), "digest", string(b.digest)), withBody(b.content), withHeader("Expect", "100-continue"), withHeader("Content-Type", octetStream)).
		is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func clientRefusedBody(p *probe) {
	b := p.newBlob(2 << 20)
	p.put(withQuery(p.newUpload(p.repo, ""), "digest", string(p.newBlob(1).digest)), withBody(b.content), withHeader("Content-Type", octetStream)).refused()
	p.put(p.repo.manifest("sha256:none"), withBody(b.content), withHeader("Content-Type", mediaManifest)) // which some registries take
	p.get("/v2/").is(http.StatusOK)
}
