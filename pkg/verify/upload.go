package verify

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// upload is an upload session as a client follows it: each response may change its location.
type upload struct {
	t        *T
	location string
	min      int // the minimum length of a chunk that is not the last, in bytes
}

// smallChunk is the length of chunks if the registry announces no minimum, in bytes.
const smallChunk = 1000

// startUpload opens an upload for chunks; the query may be empty.
func (t *T) startUpload(repo repository, query string) *upload {
	u := &upload{t: t, min: smallChunk}
	t.setup(func() {
		a := t.post(repo.uploads(query)).wantStatus(http.StatusAccepted)
		u.location = a.location()
		if n, err := strconv.Atoi(a.Header.Get("OCI-Chunk-Min-Length")); err == nil && n > 0 {
			u.min = n
		}
	})
	return u
}

// contentRange is the Content-Range of n bytes from an offset on.
func contentRange(from, n int) option {
	return withHeader("Content-Range", fmt.Sprintf("%d-%d", from, from+n-1))
}

// patch sends bytes to the upload, without Content-Range.
func (u *upload) patch(b []byte, opts ...option) *answer {
	return u.follow(u.t.patch(u.location, append(opts, octets(b))...))
}

// chunk sends bytes with a Content-Range that begins at an offset.
func (u *upload) chunk(from int, b []byte) *answer { return u.patch(b, contentRange(from, len(b))) }

// seedChunk sends a chunk that must be accepted before the case can continue.
func (u *upload) seedChunk(from int, b []byte) {
	u.t.setup(func() { u.chunk(from, b).wantStatus(http.StatusAccepted) })
}

// put closes the upload, with the last bytes or none.
func (u *upload) put(d oci.Digest, b []byte, opts ...option) *answer {
	if len(b) > 0 {
		opts = append(opts, octets(b))
	}
	return u.t.put(AddQuery(u.location, "digest", string(d)), opts...)
}

// get requests the state of the upload.
func (u *upload) get() *answer { return u.follow(u.t.get(u.location)) }

// follow adopts the location of a response.
func (u *upload) follow(a *answer) *answer {
	if (a.Status == http.StatusAccepted || a.Status == http.StatusNoContent) && a.Header.Get("Location") != "" {
		u.location = a.location()
	}
	return a
}

// wantRange expects the position of the last of n bytes in Range.
func (a *answer) wantRange(n int) *answer { return a.wantHeader("Range", fmt.Sprintf("0-%d", n-1)) }

// offset returns the number of bytes in the upload, or -1 if the header is malformed. Many
// registries report 0-0 for an empty upload, as for one byte: no case requests the state of
// an upload of one byte.
func (a *answer) offset() int {
	last, found := strings.CutPrefix(a.Header.Get("Range"), "0-")
	n, err := strconv.Atoi(last)
	switch {
	case !found || err != nil:
		return -1
	case n <= 0:
		return 0
	}
	return n + 1
}

// parts splits a new blob into n chunks of the minimum length and a smaller last one.
func (u *upload) parts(n int) (b blob, chunks [][]byte) {
	b = u.t.newBlob(n*u.min + 500)
	return b, slices.Collect(slices.Chunk(b.content, u.min))
}

// send sends a blob from an offset on in chunks of at most size bytes, and expects that
// each is accepted.
func (u *upload) send(b blob, from, size int) {
	for at := from; at < len(b.content); at += size {
		u.chunk(at, b.content[at:min(at+size, len(b.content))]).wantStatus(http.StatusAccepted)
	}
}

// eachChunk calls f with the offset of each chunk.
func eachChunk(chunks [][]byte, f func(at int, c []byte)) {
	at := 0
	for _, c := range chunks {
		f(at, c)
		at += len(c)
	}
}

// startParts opens an upload and makes a blob for it, as in parts.
func (t *T) startParts(n int) (u *upload, b blob, chunks [][]byte) {
	u = t.startUpload(t.repo, "")
	b, chunks = u.parts(n)
	return u, b, chunks
}

// complete closes an upload that has the whole blob, and expects that it can be pulled.
func (u *upload) complete(repo repository, b blob) {
	u.put(b.digest, nil).wantStatus(http.StatusCreated)
	u.t.wantBlob(repo, b)
}

// begun opens an upload and sends the first of three chunks.
func (t *T) begun() (u *upload, b blob, chunks [][]byte) {
	u, b, chunks = t.startParts(2)
	u.seedChunk(0, chunks[0])
	return u, b, chunks
}

// resume completes an upload from the offset in a response. The registry may still be
// processing the truncated chunk, so a 416 leads to another request for the offset.
func (u *upload) resume(a *answer, b blob) {
	for range 5 {
		at := a.offset()
		a.want(at >= 0 && at < len(b.content), "expected a Range header with a position in the blob")
		sent := u.chunk(at, b.content[at:])
		if sent.Status == http.StatusAccepted {
			u.complete(u.t.repo, b)
			return
		}
		sent.wantStatus(http.StatusRequestedRangeNotSatisfiable)
		a = u.get().wantStatus(http.StatusNoContent)
	}
	u.t.fail(a, "the upload cannot be resumed at the offset that it reports")
}

// newUpload opens an upload and returns its location.
func (t *T) newUpload(repo repository, query string) (location string) {
	t.setup(func() { location = t.post(repo.uploads(query)).wantStatus(http.StatusAccepted).location() })
	return location
}

// finish sends the PUT that closes an upload, with the last bytes or none.
func (t *T) finish(location string, d oci.Digest, content []byte) *answer {
	return t.put(AddQuery(location, "digest", string(d)), octets(content))
}
