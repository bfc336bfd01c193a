package verify

import "net/http"

func chunkStreamCases() []Case {
	return []Case{
		{
			"chunk-stream", Push, Must, "docker, podman",
			"PATCH without Content-Length and Content-Range is taken, with 202, Location and Range, and the blob comes back the same.",
			"docker and podman push every layer so", chunkStream,
		},
		{
			"chunk-stream-several", Push, May, inChunks,
			"Several PATCH without Content-Length and Content-Range go one behind the other.",
			"clients that stream and go on after a pause", chunkStreamSeveral,
		},
		{
			"chunk-no-range", Push, Must, "crane, skopeo",
			"PATCH with Content-Length and without Content-Range is taken, and the blob comes back the same.",
			"crane and skopeo push every layer so", chunkNoRange,
		},
		{
			"chunk-no-range-several", Push, May, inChunks,
			"Several PATCH without Content-Range go one behind the other.",
			"clients that leave the counting to the registry", chunkNoRangeSeveral,
		},
		{
			"chunk-stray-digest", Push, Must, "regctl",
			"A digest among the parameters of a PATCH is ignored.",
			"regctl sends it when it falls back from PUT to chunks", chunkStrayDigest,
		},
		{
			"chunk-empty", Push, Should, inChunks,
			"A PATCH of no bytes is taken or refused, and changes nothing.",
			"docker streams an empty layer; the upload is lost", chunkEmpty,
		},
		{
			"chunk-interleaved", Push, Must, inChunks,
			"Two uploads in one repository at the same time do not mix.",
			everyClient + " pushes several layers at once", chunkInterleaved,
		},
		{
			"upload-sha512-chunks", Push, Should, inChunks,
			"An upload that was started with digest-algorithm=sha512 takes chunks and is closed with a sha512 digest.",
			"images that are built with sha512", uploadSHA512Chunks,
		},
		{
			"upload-sha512-unannounced", Push, May, inChunks,
			"An upload in chunks that was started without digest-algorithm is closed with a sha512 digest.",
			"clients that do not know the parameter yet", uploadSHA512Unannounced,
		},
		{
			"upload-sha512-mismatch", Push, Must, inChunks,
			"An upload with digest-algorithm=sha512 that is closed with the digest of other content is refused, and leaves no blob.",
			"content that is not what its digest says", uploadSHA512Mismatch,
		},
	}
}

func chunkStream(p *probe) {
	b := p.newBlob(300_000)
	u := p.startUpload(p.repo, "")
	a := u.patch(b.content, asStream()).is(http.StatusAccepted).hasRange(len(b.content))
	u.location = a.location()
	u.isCompleted(p.repo, b)
}

func chunkStreamSeveral(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		at += len(c)
		u.patch(c, asStream()).is(http.StatusAccepted).hasRange(at)
	}
	u.isCompleted(p.repo, b)
}

func chunkNoRange(p *probe) {
	b := p.newBlob(300_000)
	u := p.startUpload(p.repo, "")
	a := u.patch(b.content).is(http.StatusAccepted).hasRange(len(b.content))
	u.location = a.location()
	u.isCompleted(p.repo, b)
}

func chunkNoRangeSeveral(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		at += len(c)
		u.patch(c).is(http.StatusAccepted).hasRange(at)
	}
	u.isCompleted(p.repo, b)
}

func chunkStrayDigest(p *probe) {
	b := p.newBlob(3000)
	u := p.startUpload(p.repo, "")
	u.location = withQuery(u.location, "digest", string(b.digest))
	u.chunk(0, b.content).is(http.StatusAccepted)
	u.isCompleted(p.repo, b)
}

func chunkEmpty(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(1)
	for _, opts := range [][]option{nil, {asStream()}} {
		a := u.patch(nil, opts...)
		a.want(a.status == http.StatusAccepted || a.status >= 400 && a.status < 500, "expected 202 or a 4xx status")
	}
	u.chunk(0, chunks[0]).is(http.StatusAccepted)
	a := u.patch(nil)
	a.want(a.status == http.StatusAccepted || a.status >= 400 && a.status < 500, "expected 202 or a 4xx status")
	u.chunk(u.min, chunks[1]).is(http.StatusAccepted)
	u.isCompleted(p.repo, b)
}

func chunkInterleaved(p *probe) {
	one, two := p.startUpload(p.repo, ""), p.startUpload(p.repo, "")
	b, chunks := one.parts(2)
	c, others := two.parts(2)
	at := 0
	for i := range chunks {
		one.chunk(at, chunks[i]).is(http.StatusAccepted)
		two.chunk(at, others[i]).is(http.StatusAccepted)
		at += len(chunks[i])
	}
	two.isCompleted(p.repo, c)
	one.isCompleted(p.repo, b)
}

// startSHA512 opens an upload that announces sha512.
func (p *probe) startSHA512() *upload {
	p.given(func() {
		a := p.post(p.repo.uploads("?digest-algorithm=sha512"))
		if a.status == http.StatusBadRequest {
			p.notOffered(a, "sha512 is not supported")
		}
	})
	return p.startUpload(p.repo, "?digest-algorithm=sha512")
}

func uploadSHA512Chunks(p *probe) {
	u := p.startSHA512()
	b, chunks := u.parts(1)
	b = sha512Of(b.content)
	u.hasChunk(0, chunks[0])
	u.hasChunk(u.min, chunks[1])
	u.isCompleted(p.repo, b)
}

func uploadSHA512Unannounced(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(1)
	b = sha512Of(b.content)
	u.hasChunk(0, chunks[0])
	u.hasChunk(u.min, chunks[1])
	a := u.put(b.digest, nil)
	if a.status == http.StatusBadRequest {
		p.notOffered(a, "sha512 must be announced")
	}
	a.is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func uploadSHA512Mismatch(p *probe) {
	u := p.startSHA512()
	u.hasChunk(0, p.rand.bytes(3000))
	other := sha512Of(p.rand.bytes(3000))
	a := u.put(other.digest, nil)
	a.want(a.status >= 400, "expected an error")
	p.isMissing(p.repo, other.digest)
}
