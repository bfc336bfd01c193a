package verify

import (
	"net/http"
	"regexp"
	"slices"
)

const inChunks = "Pushing a blob in chunks"

// parts cuts a new blob for an upload: n chunks of the least length, and a last one
// that is smaller.
func (u *upload) parts(n int) (b blob, chunks [][]byte) {
	b = u.t.newBlob(n*u.min + 500)
	return b, slices.Collect(slices.Chunk(b.content, u.min))
}

// sendAll sends a blob in chunks of at most size bytes; each must be taken.
func (u *upload) sendAll(content []byte, size int) {
	for at := 0; at < len(content); at += size {
		end := min(at+size, len(content))
		u.chunk(at, content[at:end]).wantStatus(http.StatusAccepted)
	}
}

// complete closes an upload that has the whole blob, and pulls it.
func (u *upload) complete(repo repository, b blob) {
	u.put(b.digest, nil).wantStatus(http.StatusCreated)
	u.t.wantBlob(repo, b)
}

func chunkPatch(t *T) {
	u := t.startUpload(t.repo, "")
	b, _ := u.parts(2)
	u.sendAll(b.content, u.min)
}

func chunkPatchLocation(t *T) {
	u := t.startUpload(t.repo, "")
	b, chunks := u.parts(2)
	var a *answer
	t.setup(func() { a = u.chunk(0, chunks[0]).wantStatus(http.StatusAccepted) })
	for i, c := range chunks[1:] {
		u.location = a.location()
		a = u.chunk((i+1)*u.min, c).wantStatus(http.StatusAccepted)
	}
	u.location = a.location()
	u.complete(t.repo, b)
}

func chunkPatchRange(t *T) {
	u := t.startUpload(t.repo, "")
	_, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		var a *answer
		t.setup(func() { a = u.chunk(at, c).wantStatus(http.StatusAccepted) })
		at += len(c)
		a.wantRange(at)
	}
}

func chunkComplete(t *T) {
	u := t.startUpload(t.repo, "")
	b, _ := u.parts(2)
	t.setup(func() { u.sendAll(b.content, u.min) })
	u.complete(t.repo, b)
}

// closed is a blob that came in one chunk, and the 201 that closed its upload.
func (t *T) closed() (b blob, a *answer) {
	u := t.startUpload(t.repo, "")
	b = t.newBlob(3000)
	u.seedChunk(0, b.content)
	t.setup(func() { a = u.put(b.digest, nil).wantStatus(http.StatusCreated) })
	return b, a
}

func chunkCompleteLocation(t *T) {
	b, a := t.closed()
	a.wantPullable(b)
}

func chunkCompleteDigestHeader(t *T) {
	b, a := t.closed()
	a.wantDigest(b.digest)
}

func chunkFinalPut(t *T) {
	u := t.startUpload(t.repo, "")
	b, chunks := u.parts(1)
	u.seedChunk(0, chunks[0])
	u.put(b.digest, chunks[1], contentRange(u.min, len(chunks[1]))).wantStatus(http.StatusCreated)
	t.wantBlob(t.repo, b)
}

func chunkFinalPutPlain(t *T) {
	u := t.startUpload(t.repo, "")
	b, chunks := u.parts(1)
	u.seedChunk(0, chunks[0])
	u.put(b.digest, chunks[1]).wantStatus(http.StatusCreated)
	t.wantBlob(t.repo, b)
}

func chunkFinalOneByte(t *T) {
	for _, inPut := range []bool{false, true} {
		u := t.startUpload(t.repo, "")
		b := t.newBlob(u.min + 1)
		u.seedChunk(0, b.content[:u.min])
		if inPut {
			u.put(b.digest, b.content[u.min:], contentRange(u.min, 1)).wantStatus(http.StatusCreated)
			t.wantBlob(t.repo, b)
			continue
		}
		u.chunk(u.min, b.content[u.min:]).wantStatus(http.StatusAccepted).wantRange(u.min + 1)
		u.complete(t.repo, b)
	}
}

func chunkStatus(t *T) {
	u := t.startUpload(t.repo, "")
	u.get().wantStatus(http.StatusNoContent)
	u.seedChunk(0, t.rand.bytes(u.min))
	u.get().wantStatus(http.StatusNoContent)
}

func chunkStatusLocation(t *T) {
	u := t.startUpload(t.repo, "")
	b, chunks := u.parts(1)
	at := 0
	for _, c := range chunks {
		var a *answer
		t.setup(func() { a = u.get().wantStatus(http.StatusNoContent) })
		u.location = a.location()
		u.chunk(at, c).wantStatus(http.StatusAccepted)
		at += len(c)
	}
	u.complete(t.repo, b)
}

func chunkStatusRange(t *T) {
	u := t.startUpload(t.repo, "")
	_, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		u.seedChunk(at, c)
		at += len(c)
		var a *answer
		t.setup(func() { a = u.get().wantStatus(http.StatusNoContent) })
		a.wantRange(at)
	}
}

func chunkStatusOldLocation(t *T) {
	u := t.startUpload(t.repo, "")
	_, chunks := u.parts(2)
	old := []string{u.location}
	at := 0
	for _, c := range chunks {
		u.seedChunk(at, c)
		at += len(c)
		old = append(old, u.location)
	}
	for _, location := range old {
		t.get(location).wantStatus(http.StatusNoContent).wantRange(at)
	}
}

func chunkMinLength(t *T) {
	var a *answer
	t.setup(func() { a = t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted) })
	least := a.Header.Get("OCI-Chunk-Min-Length")
	if least == "" {
		t.notOffered(a, "no least length of chunks is announced")
	}
	a.want(regexp.MustCompile(`^[0-9]+$`).MatchString(least), "expected a number in the header OCI-Chunk-Min-Length")
}

func chunkMinLengthKept(t *T) {
	u := t.startUpload(t.repo, "")
	b, chunks := u.parts(2)
	at := 0
	for _, c := range chunks {
		u.chunk(at, c).wantStatus(http.StatusAccepted)
		at += len(c)
	}
	u.complete(t.repo, b)
}

// edgeOf pushes a blob of n bytes in chunks of a size that registries ask for, and
// in one PATCH.
func edgeOf(n int) func(*T) {
	return func(t *T) {
		b := t.newBlob(n)
		u := t.startUpload(t.repo, "")
		u.sendAll(b.content, max(u.min, 4*mib))
		u.complete(t.repo, b)
		u = t.startUpload(t.other, "")
		u.chunk(0, b.content).wantStatus(http.StatusAccepted).wantRange(n)
		u.complete(t.other, b)
	}
}

func chunkOneByteBlob(t *T) {
	b := t.newBlob(1)
	u := t.startUpload(t.repo, "")
	u.chunk(0, b.content).wantStatus(http.StatusAccepted).wantHeader("Range", "0-0")
	u.complete(t.repo, b)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(1)
}

func chunkLarge(t *T) {
	u := t.startUpload(t.repo, "")
	size := max(4*mib, u.min)
	b := t.newBlob(3 * size)
	u.sendAll(b.content, size)
	u.complete(t.repo, b)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(3 * size)
}
