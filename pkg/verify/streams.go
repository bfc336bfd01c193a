package verify

import "net/http"

func chunkStream(t *T) {
	b := t.newBlob(300_000)
	u := t.startUpload(t.repo, "")
	a := u.patch(b.content, asStream()).wantStatus(http.StatusAccepted).wantRange(len(b.content))
	u.location = a.location()
	u.complete(t.repo, b)
}

func chunkStreamSeveral(t *T) {
	u, b, chunks := t.startParts(2)
	eachChunk(chunks, func(at int, c []byte) { u.patch(c, asStream()).wantStatus(http.StatusAccepted).wantRange(at + len(c)) })
	u.complete(t.repo, b)
}

func chunkNoRange(t *T) {
	b := t.newBlob(300_000)
	u := t.startUpload(t.repo, "")
	a := u.patch(b.content).wantStatus(http.StatusAccepted).wantRange(len(b.content))
	u.location = a.location()
	u.complete(t.repo, b)
}

func chunkNoRangeSeveral(t *T) {
	u, b, chunks := t.startParts(2)
	eachChunk(chunks, func(at int, c []byte) { u.patch(c).wantStatus(http.StatusAccepted).wantRange(at + len(c)) })
	u.complete(t.repo, b)
}

func chunkStrayDigest(t *T) {
	b := t.newBlob(3000)
	u := t.startUpload(t.repo, "")
	u.location = AddQuery(u.location, "digest", string(b.digest))
	u.chunk(0, b.content).wantStatus(http.StatusAccepted)
	u.complete(t.repo, b)
}

func chunkEmpty(t *T) {
	u, b, chunks := t.startParts(1)
	for _, opts := range [][]option{nil, {asStream()}} {
		u.patch(nil, opts...).wantRefusedOr(http.StatusAccepted)
	}
	u.chunk(0, chunks[0]).wantStatus(http.StatusAccepted)
	u.patch(nil).wantRefusedOr(http.StatusAccepted)
	u.chunk(u.min, chunks[1]).wantStatus(http.StatusAccepted)
	u.complete(t.repo, b)
}

func chunkInterleaved(t *T) {
	one, two := t.startUpload(t.repo, ""), t.startUpload(t.repo, "")
	b, chunks := one.parts(2)
	c, others := two.parts(2)
	for i := range chunks {
		one.chunk(i*one.min, chunks[i]).wantStatus(http.StatusAccepted)
		two.chunk(i*two.min, others[i]).wantStatus(http.StatusAccepted)
	}
	two.complete(t.repo, c)
	one.complete(t.repo, b)
}

// startSHA512 opens an upload that announces sha512.
func (t *T) startSHA512() *upload {
	t.post(t.repo.uploads("?digest-algorithm=sha512")).notOfferedIf("sha512 is not supported", http.StatusBadRequest)
	return t.startUpload(t.repo, "?digest-algorithm=sha512")
}

func uploadSHA512Chunks(t *T) {
	u := t.startSHA512()
	b, chunks := u.parts(1)
	b = sha512Of(b.content)
	u.seedChunk(0, chunks[0])
	u.seedChunk(u.min, chunks[1])
	u.complete(t.repo, b)
}

func uploadSHA512Unannounced(t *T) {
	u, b, chunks := t.startParts(1)
	b = sha512Of(b.content)
	u.seedChunk(0, chunks[0])
	u.seedChunk(u.min, chunks[1])
	u.put(b.digest, nil).notOfferedIf("sha512 must be announced", http.StatusBadRequest).wantStored(t.repo, b)
}

func uploadSHA512Mismatch(t *T) {
	u := t.startSHA512()
	u.seedChunk(0, t.rand.bytes(3000))
	other := sha512Of(t.rand.bytes(3000))
	a := u.put(other.digest, nil)
	a.want(a.Status >= 400, "expected an error")
	t.wantNoBlob(t.repo, other.digest)
}
