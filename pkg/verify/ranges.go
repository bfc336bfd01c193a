package verify

import (
	"fmt"
	"net/http"
)

const resumes = "podman, containerd and docker resume a download that broke off"

func rangeCases() []Case {
	return []Case{
		{
			"range-middle", Pull, Should, "Pulling blobs",
			"Range: bytes=a-b of a blob answers 206 with exactly these bytes, both ends included.",
			"lazy pulls: stargz, SOCI, and zstd:chunked of podman", rangeMiddle,
		},
		{
			"range-open", Pull, Should, "Pulling blobs",
			"Range: bytes=a- of a blob answers 206 with all bytes from a on.",
			resumes, rangeOpen,
		},
		{
			"range-suffix", Pull, Should, "Pulling blobs",
			"Range: bytes=-n of a blob answers 206 with its last n bytes.",
			"lazy pulls read the index at a layer's end", rangeSuffix,
		},
		{
			"range-single-byte", Pull, Should, "Pulling blobs",
			"A range of one byte is that byte: the first, the last.",
			"lazy pulls", rangeSingleByte,
		},
		{
			"range-beyond-end", Pull, Should, "RFC 9110 14.1.2",
			"A range that ends behind the blob is cut at its end.",
			"clients that read in blocks", rangeBeyondEnd,
		},
		{
			"range-unsatisfiable", Pull, Should, "RFC 9110 15.5.17",
			"A range that begins behind the blob answers 416.",
			resumes + ": complete ones ask for the byte after the last", rangeUnsatisfiable,
		},
		{
			"range-malformed", Pull, Should, "RFC 9110 14.2",
			"A range header that cannot be read is ignored, or refused with 416: never a fault, never other bytes.",
			"content that is not what its digest says", rangeMalformed,
		},
		{
			"range-content-range", Pull, Should, "RFC 9110 14.4",
			"An answer with 206 says in Content-Range which bytes it has, and in Content-Length how many.",
			resumes, rangeContentRange,
		},
	}
}

// hasRanges pushes a blob and asks for a range of it.
func (p *probe) hasRanges() (b blob, ask func(spec string) *answer) {
	b = p.newBlob(2048)
	p.hasBlob(p.repo, b)
	return b, func(spec string) *answer { return p.get(p.repo.blob(b.digest), withHeader("Range", spec)) }
}

func rangeMiddle(p *probe) {
	b, ask := p.hasRanges()
	ask("bytes=500-1499").is(http.StatusPartialContent).hasBody(b.content[500:1500])
	ask("bytes=0-2047").is(http.StatusPartialContent).hasBody(b.content)
}

func rangeOpen(p *probe) {
	b, ask := p.hasRanges()
	ask("bytes=500-").is(http.StatusPartialContent).hasBody(b.content[500:])
	ask("bytes=0-").is(http.StatusPartialContent).hasBody(b.content)
}

func rangeSuffix(p *probe) {
	b, ask := p.hasRanges()
	ask("bytes=-500").is(http.StatusPartialContent).hasBody(b.content[1548:])
	ask("bytes=-5000").is(http.StatusPartialContent).hasBody(b.content)
}

func rangeSingleByte(p *probe) {
	b, ask := p.hasRanges()
	ask("bytes=0-0").is(http.StatusPartialContent).hasBody(b.content[:1])
	ask("bytes=2047-2047").is(http.StatusPartialContent).hasBody(b.content[2047:])
}

func rangeBeyondEnd(p *probe) {
	b, ask := p.hasRanges()
	ask("bytes=2000-5000").is(http.StatusPartialContent).hasBody(b.content[2000:])
}

func rangeUnsatisfiable(p *probe) {
	_, ask := p.hasRanges()
	for _, spec := range []string{"bytes=2048-", "bytes=2048-2048", "bytes=5000-10000"} {
		ask(spec).is(http.StatusRequestedRangeNotSatisfiable)
	}
}

func rangeMalformed(p *probe) {
	b, ask := p.hasRanges()
	for _, spec := range []string{"bytes=500-0", "bytes=-", "bytes=a-b", "bytes=9999999999999999999999-", "bytes"} {
		a := ask(spec).is(http.StatusOK, http.StatusRequestedRangeNotSatisfiable)
		if a.status == http.StatusOK {
			a.hasBody(b.content)
		}
	}
}

func rangeContentRange(p *probe) {
	_, ask := p.hasRanges()
	for i, r := range []struct {
		spec        string
		first, last int
	}{{"bytes=500-1499", 500, 1499}, {"bytes=500-", 500, 2047}, {"bytes=-500", 1548, 2047}, {"bytes=2000-5000", 2000, 2047}} {
		a := ask(r.spec)
		if i > 0 && a.status != http.StatusPartialContent {
			continue // the case of this form shows it
		}
		a.is(http.StatusPartialContent).hasLength(r.last - r.first + 1)
		got, known := a.header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/", r.first, r.last)
		a.want(got == known+"2048" || got == known+"*", "expected the header Content-Range: %s2048", known)
	}
}
