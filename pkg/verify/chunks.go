package verify

import (
	"net/http"
	"regexp"
	"slices"
)

const inChunks = "Pushing a blob in chunks"

func chunkCases() []Case {
	return slices.Concat(chunkBasicCases(), chunkStreamCases(), chunkOrderCases(), chunkFaultCases())
}

func chunkBasicCases() []Case {
	return []Case{
		{
			"chunk-patch", Push, Must, inChunks,
			"PATCH with a chunk answers 202.",
			"regctl; docker and podman push every layer with PATCH", chunkPatch,
		},
		{
			"chunk-patch-location", Push, Must, inChunks,
			"The 202 of a chunk carries the Location for the next one.",
			"clients that follow it: docker, podman, crane and regctl", chunkPatchLocation,
		},
		{
			"chunk-patch-range", Push, Must, inChunks,
			"The 202 of each chunk carries Range with the position of the last byte so far.",
			"docker fails without it; regctl goes on from there", chunkPatchRange,
		},
		{
			"chunk-complete", Push, Must, inChunks,
			"A blob that came in chunks is closed by an empty PUT with 201, and comes back the same.",
			"regctl; docker and podman close every layer so", chunkComplete,
		},
		{
			"chunk-complete-location", Push, Must, inChunks,
			"The 201 that closes an upload carries a Location from which the blob can be pulled.",
			"clients that go on with it", chunkCompleteLocation,
		},
		{
			"chunk-complete-digest-header", Push, Should, "containerd",
			"The 201 that closes an upload carries the blob's digest in Docker-Content-Digest.",
			"clients that check what was stored", chunkCompleteDigestHeader,
		},
		{
			"chunk-final-put", Push, Must, inChunks,
			"The last chunk may come with the closing PUT and its Content-Range.",
			"clients that save a request", chunkFinalPut,
		},
		{
			"chunk-final-put-plain", Push, Should, inChunks,
			"The last chunk may come with the closing PUT without Content-Range.",
			"clients that save a request", chunkFinalPutPlain,
		},
		{
			"chunk-final-one-byte", Push, Must, inChunks,
			"The last chunk may have one byte.",
			"blobs of an unlucky length", chunkFinalOneByte,
		},
		{
			"chunk-status", Push, Must, inChunks,
			"GET of an upload answers 204, before the first chunk and after it.",
			"clients that resume: regctl", chunkStatus,
		},
		{
			"chunk-status-location", Push, Must, inChunks,
			"The 204 of an upload carries the Location for the next chunk.",
			"clients that resume: regctl", chunkStatusLocation,
		},
		{
			"chunk-status-range", Push, Must, inChunks,
			"GET of an upload tells after each chunk in Range the position of the last byte.",
			"clients that resume: regctl", chunkStatusRange,
		},
		{
			"chunk-status-old-location", Push, Must, inChunks,
			"GET of any earlier Location of an upload tells where the upload stands.",
			"clients that lost the last answer and resume", chunkStatusOldLocation,
		},
		{
			"chunk-min-length", Push, Should, inChunks,
			"OCI-Chunk-Min-Length, where it is sent, is a number of bytes.",
			"regctl sends chunks that are refused", chunkMinLength,
		},
		{
			"chunk-min-length-kept", Push, Must, inChunks,
			"Chunks of exactly OCI-Chunk-Min-Length are taken, and a smaller one as the last.",
			"regctl keeps to what the header says", chunkMinLengthKept,
		},
		{
			"chunk-edges-below", Push, Must, inChunks,
			"A blob of 5 MiB less one byte comes back the same from chunks and from one PATCH.",
			"content at the edges of what object stores take as one part", edgeOf(5*mib - 1),
		},
		{
			"chunk-edges-at", Push, Must, inChunks,
			"A blob of 5 MiB comes back the same from chunks and from one PATCH.",
			"content at the edges of what object stores take as one part", edgeOf(5 * mib),
		},
		{
			"chunk-edges-above", Push, Must, inChunks,
			"A blob of 5 MiB and one byte comes back the same from chunks and from one PATCH.",
			"content at the edges of what object stores take as one part", edgeOf(5*mib + 1),
		},
		{
			"chunk-one-byte-blob", Push, Must, inChunks,
			"A blob of one byte is pushed as one chunk of one byte.",
			"tiny configs and artifacts", chunkOneByteBlob,
		},
		{
			"chunk-large", Push, Must, inChunks,
			"A blob of 12 MiB comes back the same from three chunks.",
			"every layer of some size", chunkLarge,
		},
	}
}

// parts cuts a new blob for an upload: n chunks of the least length, and a last one
// that is smaller.
func (u *upload) parts(n int) (b blob, chunks [][]byte) {
	b = u.p.newBlob(n*u.min + 500)
	return b, slices.Collect(slices.Chunk(b.content, u.min))
}

// sendAll sends a blob in chunks of at most size bytes; each must be taken.
func (u *upload) sendAll(content []byte, size int) {
	for at := 0; at < len(content); at += size {
		end := min(at+size, len(content))
		u.chunk(at, content[at:end]).is(http.StatusAccepted)
	}
}

// isCompleted closes an upload that has the whole blob, and pulls it.
func (u *upload) isCompleted(repo repository, b blob) {
	u.put(b.digest, nil).is(http.StatusCreated)
	u.p.isPulled(repo, b)
}

func chunkPatch(p *probe) {
	u := p.startUpload(p.repo, "")
	b, _ := u.parts(2)
	u.sendAll(b.content, u.min)
}

func chunkPatchLocation(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(2)
	var a *answer
	p.given(func() { a = u.chunk(0, chunks[0]).is(http.StatusAccepted) })
	for i, c := range chunks[1:] {
		u.location = a.location()
		a = u.chunk((i+1)*u.min, c).is(http.StatusAccepted)
	}
	u.location = a.location()
	u.isCompleted(p.repo, b)
}

func chunkPatchRange(p *probe) {
	u := p.startUpload(p.repo, "")
	_, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		var a *answer
		p.given(func() { a = u.chunk(at, c).is(http.StatusAccepted) })
		at += len(c)
		a.hasRange(at)
	}
}

func chunkComplete(p *probe) {
	u := p.startUpload(p.repo, "")
	b, _ := u.parts(2)
	p.given(func() { u.sendAll(b.content, u.min) })
	u.isCompleted(p.repo, b)
}

// closed is a blob that came in one chunk, and the 201 that closed its upload.
func (p *probe) closed() (b blob, a *answer) {
	u := p.startUpload(p.repo, "")
	b = p.newBlob(3000)
	u.hasChunk(0, b.content)
	p.given(func() { a = u.put(b.digest, nil).is(http.StatusCreated) })
	return b, a
}

func chunkCompleteLocation(p *probe) {
	b, a := p.closed()
	a.isPullable(b)
}

func chunkCompleteDigestHeader(p *probe) {
	b, a := p.closed()
	a.hasDigest(b.digest)
}

func chunkFinalPut(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(1)
	u.hasChunk(0, chunks[0])
	u.put(b.digest, chunks[1], contentRange(u.min, len(chunks[1]))).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func chunkFinalPutPlain(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(1)
	u.hasChunk(0, chunks[0])
	u.put(b.digest, chunks[1]).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func chunkFinalOneByte(p *probe) {
	for _, inPut := range []bool{false, true} {
		u := p.startUpload(p.repo, "")
		b := p.newBlob(u.min + 1)
		u.hasChunk(0, b.content[:u.min])
		if inPut {
			u.put(b.digest, b.content[u.min:], contentRange(u.min, 1)).is(http.StatusCreated)
			p.isPulled(p.repo, b)
			continue
		}
		u.chunk(u.min, b.content[u.min:]).is(http.StatusAccepted).hasRange(u.min + 1)
		u.isCompleted(p.repo, b)
	}
}

func chunkStatus(p *probe) {
	u := p.startUpload(p.repo, "")
	u.get().is(http.StatusNoContent)
	u.hasChunk(0, p.rand.bytes(u.min))
	u.get().is(http.StatusNoContent)
}

func chunkStatusLocation(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(1)
	at := 0
	for _, c := range chunks {
		var a *answer
		p.given(func() { a = u.get().is(http.StatusNoContent) })
		u.location = a.location()
		u.chunk(at, c).is(http.StatusAccepted)
		at += len(c)
	}
	u.isCompleted(p.repo, b)
}

func chunkStatusRange(p *probe) {
	u := p.startUpload(p.repo, "")
	_, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		u.hasChunk(at, c)
		at += len(c)
		var a *answer
		p.given(func() { a = u.get().is(http.StatusNoContent) })
		a.hasRange(at)
	}
}

func chunkStatusOldLocation(p *probe) {
	u := p.startUpload(p.repo, "")
	_, chunks := u.parts(2)
	old := []string{u.location}
	at := 0
	for _, c := range chunks {
		u.hasChunk(at, c)
		at += len(c)
		old = append(old, u.location)
	}
	for _, location := range old {
		p.get(location).is(http.StatusNoContent).hasRange(at)
	}
}

func chunkMinLength(p *probe) {
	var a *answer
	p.given(func() { a = p.post(p.repo.uploads("")).is(http.StatusAccepted) })
	least := a.header.Get("OCI-Chunk-Min-Length")
	if least == "" {
		p.notOffered(a, "no least length of chunks is announced")
	}
	a.want(regexp.MustCompile(`^[0-9]+$`).MatchString(least), "expected a number in the header OCI-Chunk-Min-Length")
}

func chunkMinLengthKept(p *probe) {
	u := p.startUpload(p.repo, "")
	b, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		u.chunk(at, c).is(http.StatusAccepted)
		at += len(c)
	}
	u.isCompleted(p.repo, b)
}

// edgeOf pushes a blob of n bytes in chunks of a size that registries ask for, and
// in one PATCH.
func edgeOf(n int) func(*probe) {
	return func(p *probe) {
		b := p.newBlob(n)
		u := p.startUpload(p.repo, "")
		u.sendAll(b.content, max(u.min, 4*mib))
		u.isCompleted(p.repo, b)
		u = p.startUpload(p.other, "")
		u.chunk(0, b.content).is(http.StatusAccepted).hasRange(n)
		u.isCompleted(p.other, b)
	}
}

func chunkOneByteBlob(p *probe) {
	b := p.newBlob(1)
	u := p.startUpload(p.repo, "")
	u.chunk(0, b.content).is(http.StatusAccepted).has("Range", "0-0")
	u.isCompleted(p.repo, b)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(1)
}

func chunkLarge(p *probe) {
	u := p.startUpload(p.repo, "")
	size := max(4*mib, u.min)
	b := p.newBlob(3 * size)
	u.sendAll(b.content, size)
	u.isCompleted(p.repo, b)
	p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(3 * size)
}
