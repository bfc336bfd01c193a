package verify

import (
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func chunkGap(t *T) {
	u, _, chunks := t.startParts(2)
	u.chunk(u.min, chunks[1]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.seedChunk(0, chunks[0])
	u.chunk(u.min+1, chunks[1]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.chunk(2*u.min, chunks[2]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
}

func chunkRepeat(t *T) {
	u, _, chunks := t.begun()
	u.chunk(0, chunks[0]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.seedChunk(u.min, chunks[1])
	u.chunk(u.min, chunks[1]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
}

func chunkOverlap(t *T) {
	u, _, chunks := t.begun()
	u.chunk(u.min-1, chunks[1]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.chunk(1, chunks[1]).wantStatus(http.StatusRequestedRangeNotSatisfiable)
}

// outOfOrder returns offsets at which the next chunk must not begin.
func (u *upload) outOfOrder() []int { return []int{0, u.min - 1, u.min + 1, 2 * u.min} }

func chunkOutOfOrderStatus(t *T) {
	u, _, chunks := t.begun()
	for _, at := range u.outOfOrder() {
		t.setup(func() { u.chunk(at, chunks[1]).wantRefused() })
		u.get().wantStatus(http.StatusNoContent).wantRange(u.min)
	}
}

func chunkOutOfOrderUnharmed(t *T) {
	u, b, chunks := t.begun()
	for _, at := range u.outOfOrder() {
		t.setup(func() { u.chunk(at, chunks[2]).wantRefused() })
	}
	u.chunk(u.min, chunks[1]).wantStatus(http.StatusAccepted)
	u.chunk(2*u.min, chunks[2]).wantStatus(http.StatusAccepted)
	u.complete(t.repo, b)
}

func chunkResume(t *T) {
	u, b, chunks := t.begun()
	t.setup(func() { u.chunk(2*u.min, chunks[2]).wantStatus(http.StatusRequestedRangeNotSatisfiable) })
	a := u.get().wantStatus(http.StatusNoContent)
	u.location = a.location()
	at := a.offset()
	a.want(at >= 0 && at <= len(b.content), "expected a Range header with a position in the blob")
	u.send(b, at, u.min)
	u.complete(t.repo, b)
}

func chunkRepeatOtherBytes(t *T) {
	u, b, chunks := t.begun()
	u.chunk(0, t.rand.bytes(u.min)).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.seedChunk(u.min, chunks[1])
	u.chunk(u.min, t.rand.bytes(u.min)).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	u.seedChunk(2*u.min, chunks[2])
	u.complete(t.repo, b)
}

func chunkPutOutOfOrder(t *T) {
	u, b, chunks := t.begun()
	u.seedChunk(u.min, chunks[1])
	for _, at := range []int{u.min, 2*u.min + 1} {
		u.put(b.digest, chunks[2], contentRange(at, len(chunks[2]))).wantStatus(http.StatusRequestedRangeNotSatisfiable)
		t.wantNoBlob(t.repo, b.digest)
	}
}

func chunkPutOutOfOrderUnharmed(t *T) {
	u, b, chunks := t.begun()
	u.seedChunk(u.min, chunks[1])
	t.setup(func() { u.put(b.digest, chunks[2], contentRange(2*u.min+1, len(chunks[2]))).wantRefused() })
	u.put(b.digest, chunks[2], contentRange(2*u.min, len(chunks[2]))).wantStored(t.repo, b)
}

// mislabelled returns Content-Range headers of more and of fewer bytes than are sent.
func mislabelled(from, n int) []option {
	return []option{contentRange(from, n+1), contentRange(from, n-1), contentRange(from, 2*n)}
}

func chunkLengthMismatch(t *T) {
	u, _, chunks := t.begun()
	for _, opt := range mislabelled(u.min, len(chunks[1])) {
		u.patch(chunks[1], opt).wantRefused()
	}
}

func chunkLengthMismatchUnharmed(t *T) {
	u, b, chunks := t.begun()
	for _, opt := range mislabelled(u.min, len(chunks[1])) {
		t.setup(func() { u.patch(chunks[1], opt).wantRefused() })
		u.get().wantStatus(http.StatusNoContent).wantRange(u.min)
	}
	u.send(b, u.min, u.min)
	u.complete(t.repo, b)
}

func chunkRangeMalformed(t *T) {
	u := t.startUpload(t.repo, "")
	for _, r := range []string{"a-b", "-", "0", "99-0", "-1-98", "0-" + strings.Repeat("9", 30)} {
		u.patch(t.rand.bytes(100), withHeader("Content-Range", r)).wantRefused()
	}
}

// closedWrong closes a chunked upload with the digest of other content.
func (t *T) closedWrong() (claimed oci.Digest, a *answer) {
	u, _, chunks := t.startParts(1)
	u.seedChunk(0, chunks[0])
	u.seedChunk(u.min, chunks[1])
	claimed = t.newBlob(10).digest
	return claimed, u.put(claimed, nil)
}

func chunkDigestMismatch(t *T) {
	claimed, a := t.closedWrong()
	a.want(a.Status >= 400, "expected an error")
	t.wantNoBlob(t.repo, claimed)
}

// cutOff sends a first chunk, truncates the second, and requests the state of the upload.
func (t *T) cutOff() (u *upload, b blob, a *answer) {
	u, b, chunks := t.begun()
	broken := append(chunks[1][:len(chunks[1]):len(chunks[1])], chunks[2]...)
	t.try(http.MethodPatch, u.location, withBody(broken), withHeader("Content-Type", octetStream),
		contentRange(u.min, len(broken)), cutAfter(u.min))
	return u, b, u.get()
}

func chunkCut(t *T) {
	u, b, a := t.cutOff()
	a.wantStatus(http.StatusNoContent)
	at := a.offset()
	a.want(at >= u.min && at <= 2*u.min, "expected the header Range: 0-%d, or up to 0-%d", u.min-1, 2*u.min-1)
	u.resume(a, b)
}

func chunkCutDurable(t *T) {
	u, b, a := t.cutOff()
	a.notOfferedIf("an upload ends if a chunk is truncated", http.StatusNotFound)
	t.setup(func() { a.wantStatus(http.StatusNoContent) })
	u.resume(a, b)
}
