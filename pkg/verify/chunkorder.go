package verify

import (
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func chunkOrderCases() []Case {
	return []Case{
		{
			"chunk-gap", Push, Must, inChunks,
			"A chunk that leaves a gap answers 416, as the first and later.",
			"clients that resume at the wrong place are not told", chunkGap,
		},
		{
			"chunk-repeat", Push, Must, inChunks,
			"A chunk that was sent before answers 416.",
			"clients that lost an answer are not told that the chunk is there", chunkRepeat,
		},
		{
			"chunk-overlap", Push, Must, inChunks,
			"A chunk that begins inside the last one answers 416.",
			"clients that resume at the wrong place are not told", chunkOverlap,
		},
		{
			"chunk-out-of-order-status", Push, Must, inChunks,
			"A chunk out of order does not move the upload: GET tells the same Range as before.",
			"clients that resume: regctl", chunkOutOfOrderStatus,
		},
		{
			"chunk-out-of-order-unharmed", Push, Must, inChunks,
			"After a 416 the chunk that is due is taken, and the blob comes back the same.",
			"clients that resume: regctl", chunkOutOfOrderUnharmed,
		},
		{
			"chunk-resume", Push, Must, inChunks,
			"After a 416, GET of the upload tells the place and Location with which it goes on.",
			"clients that resume: regctl", chunkResume,
		},
		{
			"chunk-repeat-other-bytes", Push, Must, inChunks,
			"Other bytes for a chunk that is there answer 416, and the first bytes stay.",
			"content that is not what its digest says", chunkRepeatOtherBytes,
		},
		{
			"chunk-put-out-of-order", Push, Must, inChunks,
			"A closing PUT whose chunk is out of order answers 416, and leaves no blob.",
			"clients that resume at the wrong place are not told", chunkPutOutOfOrder,
		},
		{
			"chunk-put-out-of-order-unharmed", Push, Should, inChunks,
			"After the 416 of a closing PUT the upload can be completed.",
			"clients that resume: regctl", chunkPutOutOfOrderUnharmed,
		},
	}
}

// begun is an upload that has the first of three chunks.
func (p *probe) begun() (u *upload, b blob, chunks [][]byte) {
	u = p.startUpload(p.repo, "")
	b, chunks = u.parts(2)
	u.hasChunk(0, chunks[0])
	return u, b, chunks
}

func chunkGap(p *probe) {
	u := p.startUpload(p.repo, "")
	_, chunks := u.parts(2)
	u.chunk(u.min, chunks[1]).is(http.StatusRequestedRangeNotSatisfiable)
	u.hasChunk(0, chunks[0])
	u.chunk(u.min+1, chunks[1]).is(http.StatusRequestedRangeNotSatisfiable)
	u.chunk(2*u.min, chunks[2]).is(http.StatusRequestedRangeNotSatisfiable)
}

func chunkRepeat(p *probe) {
	u, _, chunks := p.begun()
	u.chunk(0, chunks[0]).is(http.StatusRequestedRangeNotSatisfiable)
	u.hasChunk(u.min, chunks[1])
	u.chunk(u.min, chunks[1]).is(http.StatusRequestedRangeNotSatisfiable)
}

func chunkOverlap(p *probe) {
	u, _, chunks := p.begun()
	u.chunk(u.min-1, chunks[1]).is(http.StatusRequestedRangeNotSatisfiable)
	u.chunk(1, chunks[1]).is(http.StatusRequestedRangeNotSatisfiable)
}

// outOfOrder are the places that the next chunk must not begin at.
func (u *upload) outOfOrder() []int { return []int{0, u.min - 1, u.min + 1, 2 * u.min} }

func chunkOutOfOrderStatus(p *probe) {
	u, _, chunks := p.begun()
	for _, at := range u.outOfOrder() {
		p.given(func() { u.chunk(at, chunks[1]).refused() })
		u.get().is(http.StatusNoContent).hasRange(u.min)
	}
}

func chunkOutOfOrderUnharmed(p *probe) {
	u, b, chunks := p.begun()
	for _, at := range u.outOfOrder() {
		p.given(func() { u.chunk(at, chunks[2]).refused() })
	}
	u.chunk(u.min, chunks[1]).is(http.StatusAccepted)
	u.chunk(2*u.min, chunks[2]).is(http.StatusAccepted)
	u.isCompleted(p.repo, b)
}

func chunkResume(p *probe) {
	u, b, chunks := p.begun()
	p.given(func() { u.chunk(2*u.min, chunks[2]).is(http.StatusRequestedRangeNotSatisfiable) })
	a := u.get().is(http.StatusNoContent)
	u.location = a.location()
	at := a.offset()
	a.want(at >= 0 && at <= len(b.content), "expected a Range header with a position in the blob")
	u.sendFrom(at, b)
	u.isCompleted(p.repo, b)
}

// sendFrom sends what is missing of a blob, in chunks.
func (u *upload) sendFrom(at int, b blob) {
	for at < len(b.content) {
		end := min(at+u.min, len(b.content))
		u.chunk(at, b.content[at:end]).is(http.StatusAccepted)
		at = end
	}
}

func chunkRepeatOtherBytes(p *probe) {
	u, b, chunks := p.begun()
	u.chunk(0, p.rand.bytes(u.min)).is(http.StatusRequestedRangeNotSatisfiable)
	u.hasChunk(u.min, chunks[1])
	u.chunk(u.min, p.rand.bytes(u.min)).is(http.StatusRequestedRangeNotSatisfiable)
	u.hasChunk(2*u.min, chunks[2])
	u.isCompleted(p.repo, b)
}

func chunkPutOutOfOrder(p *probe) {
	u, b, chunks := p.begun()
	u.hasChunk(u.min, chunks[1])
	for _, at := range []int{u.min, 2*u.min + 1} {
		u.put(b.digest, chunks[2], contentRange(at, len(chunks[2]))).is(http.StatusRequestedRangeNotSatisfiable)
		p.isMissing(p.repo, b.digest)
	}
}

func chunkPutOutOfOrderUnharmed(p *probe) {
	u, b, chunks := p.begun()
	u.hasChunk(u.min, chunks[1])
	p.given(func() { u.put(b.digest, chunks[2], contentRange(2*u.min+1, len(chunks[2]))).refused() })
	u.put(b.digest, chunks[2], contentRange(2*u.min, len(chunks[2]))).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func chunkFaultCases() []Case {
	return []Case{
		{
			"chunk-length-mismatch", Push, Should, inChunks,
			"A chunk whose Content-Length is not that of its Content-Range is refused.",
			"bytes are lost or counted twice, and the whole upload was in vain", chunkLengthMismatch,
		},
		{
			"chunk-length-mismatch-unharmed", Push, Should, inChunks,
			"A chunk that was refused for its length does not move the upload, which can be completed.",
			"clients that send the chunk again", chunkLengthMismatchUnharmed,
		},
		{
			"chunk-range-malformed", Push, Should, inChunks,
			"A chunk whose Content-Range cannot be read is refused.",
			"bytes end up at a place that nobody meant", chunkRangeMalformed,
		},
		{
			"chunk-digest-mismatch", Push, Must, inChunks,
			"An upload in chunks that is closed with the digest of other content is refused, and leaves no blob.",
			"content that is not what its digest says", chunkDigestMismatch,
		},
		{
			"chunk-digest-mismatch-status", Push, Should, "Pushing blobs",
			"An upload in chunks that is closed with the digest of other content answers 400.",
			"clients take 5xx for an outage and try again for minutes", chunkDigestMismatchStatus,
		},
		{
			"chunk-cut", Push, Should, "Use Cases",
			"An upload survives a chunk that broke off, and GET tells from where it goes on.",
			"clients on bad lines begin anew with each break", chunkCut,
		},
		{
			"chunk-cut-durable", Push, Must, inChunks,
			"The place that GET tells after a chunk broke off is one from which the blob is completed right.",
			"clients resume behind bytes that the registry has lost", chunkCutDurable,
		},
	}
}

// mislabelled are Content-Range headers of more and of fewer bytes than there are.
func mislabelled(from, n int) []option {
	return []option{contentRange(from, n+1), contentRange(from, n-1), contentRange(from, 2*n)}
}

func chunkLengthMismatch(p *probe) {
	u, _, chunks := p.begun()
	for _, opt := range mislabelled(u.min, len(chunks[1])) {
		u.patch(chunks[1], opt).refused()
	}
}

func chunkLengthMismatchUnharmed(p *probe) {
	u, b, chunks := p.begun()
	for _, opt := range mislabelled(u.min, len(chunks[1])) {
		p.given(func() { u.patch(chunks[1], opt).refused() })
		u.get().is(http.StatusNoContent).hasRange(u.min)
	}
	u.sendFrom(u.min, b)
	u.isCompleted(p.repo, b)
}

func chunkRangeMalformed(p *probe) {
	u := p.startUpload(p.repo, "")
	for _, r := range []string{"a-b", "-", "0", "99-0", "-1-98", "0-" + strings.Repeat("9", 30)} {
		u.patch(p.rand.bytes(100), withHeader("Content-Range", r)).refused()
	}
}

// closedWrong closes an upload of chunks with the digest of other content.
func (p *probe) closedWrong() (claimed oci.Digest, a *answer) {
	u := p.startUpload(p.repo, "")
	_, chunks := u.parts(1)
	u.hasChunk(0, chunks[0])
	u.hasChunk(u.min, chunks[1])
	claimed = p.newBlob(10).digest
	return claimed, u.put(claimed, nil)
}

func chunkDigestMismatch(p *probe) {
	claimed, a := p.closedWrong()
	a.want(a.status >= 400, "expected an error")
	p.isMissing(p.repo, claimed)
}

func chunkDigestMismatchStatus(p *probe) {
	_, a := p.closedWrong()
	a.is(http.StatusBadRequest)
}

// cutOff sends a first chunk, breaks the second off, and asks where the upload
// stands.
func (p *probe) cutOff() (u *upload, b blob, a *answer) {
	u, b, chunks := p.begun()
	broken := append(chunks[1][:len(chunks[1]):len(chunks[1])], chunks[2]...)
	p.try(http.MethodPatch, u.location, withBody(broken), withHeader("Content-Type", octetStream),
		contentRange(u.min, len(broken)), cutAfter(u.min))
	return u, b, u.get()
}

func chunkCut(p *probe) {
	u, b, a := p.cutOff()
	a.is(http.StatusNoContent)
	at := a.offset()
	a.want(at >= u.min && at <= 2*u.min, "expected the header Range: 0-%d, or up to 0-%d", u.min-1, 2*u.min-1)
	u.resume(a, b)
}

func chunkCutDurable(p *probe) {
	u, b, a := p.cutOff()
	if a.status == http.StatusNotFound {
		p.notOffered(a, "an upload ends when a chunk breaks off")
	}
	p.given(func() { a.is(http.StatusNoContent) })
	u.resume(a, b)
}

// resume completes an upload from the place that an answer tells. The registry may
// still be busy with what broke off, so a 416 is asked about again.
func (u *upload) resume(a *answer, b blob) {
	for range 5 {
		at := a.offset()
		a.want(at >= 0 && at < len(b.content), "expected a Range header with a position in the blob")
		sent := u.chunk(at, b.content[at:])
		if sent.status == http.StatusAccepted {
			u.isCompleted(u.p.repo, b)
			return
		}
		sent.is(http.StatusRequestedRangeNotSatisfiable)
		a = u.get().is(http.StatusNoContent)
	}
	u.p.fail(a, "the upload cannot be resumed at the place that it tells")
}
