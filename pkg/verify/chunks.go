package verify

import (
	"net/http"
	"regexp"
)

func chunkPatch(t *T) {
	u, b, _ := t.startParts(2)
	u.send(b, 0, u.min)
}

func chunkPatchLocation(t *T) {
	u, b, chunks := t.startParts(2)
	a := t.setupWith(func() *answer { return u.chunk(0, chunks[0]).wantStatus(http.StatusAccepted) })
	for i, c := range chunks[1:] {
		u.location = a.location()
		a = u.chunk((i+1)*u.min, c).wantStatus(http.StatusAccepted)
	}
	u.location = a.location()
	u.complete(t.repo, b)
}

func chunkPatchRange(t *T) {
	u, _, chunks := t.startParts(2)
	eachChunk(chunks, func(at int, c []byte) {
		t.setupWith(func() *answer { return u.chunk(at, c).wantStatus(http.StatusAccepted) }).wantRange(at + len(c))
	})
}

func chunkComplete(t *T) {
	u, b, _ := t.startParts(2)
	t.setup(func() { u.send(b, 0, u.min) })
	u.complete(t.repo, b)
}

func chunkFinalOneByte(t *T) {
	for _, inPut := range []bool{false, true} {
		u := t.startUpload(t.repo, "")
		b := t.newBlob(u.min + 1)
		u.seedChunk(0, b.content[:u.min])
		if inPut {
			u.put(b.digest, b.content[u.min:], contentRange(u.min, 1)).wantStored(t.repo, b)
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
	u, b, chunks := t.startParts(1)
	eachChunk(chunks, func(at int, c []byte) {
		u.location = t.setupWith(func() *answer { return u.get().wantStatus(http.StatusNoContent) }).location()
		u.chunk(at, c).wantStatus(http.StatusAccepted)
	})
	u.complete(t.repo, b)
}

func chunkStatusRange(t *T) {
	u, _, chunks := t.startParts(2)
	eachChunk(chunks, func(at int, c []byte) {
		u.seedChunk(at, c)
		t.setupWith(func() *answer { return u.get().wantStatus(http.StatusNoContent) }).wantRange(at + len(c))
	})
}

func chunkStatusOldLocation(t *T) {
	u, b, chunks := t.startParts(2)
	old := []string{u.location}
	eachChunk(chunks, func(at int, c []byte) {
		u.seedChunk(at, c)
		old = append(old, u.location)
	})
	for _, location := range old {
		t.get(location).wantStatus(http.StatusNoContent).wantRange(len(b.content))
	}
}

func chunkMinLength(t *T) {
	a := t.setupWith(func() *answer { return t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted) })
	length := a.Header.Get("OCI-Chunk-Min-Length")
	if length == "" {
		t.notOffered(a, "no OCI-Chunk-Min-Length")
	}
	a.want(regexp.MustCompile(`^[0-9]+$`).MatchString(length), "expected a number in the header OCI-Chunk-Min-Length")
}

func chunkMinLengthKept(t *T) {
	u, b, _ := t.startParts(2)
	u.send(b, 0, u.min)
	u.complete(t.repo, b)
}

// edgeOf pushes a blob of n bytes in chunks of a usual minimum size, and in one PATCH.
func edgeOf(n int) func(*T) {
	return func(t *T) {
		b := t.newBlob(n)
		u := t.startUpload(t.repo, "")
		u.send(b, 0, max(u.min, 4*mib))
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
	u.send(b, 0, size)
	u.complete(t.repo, b)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(3 * size)
}
