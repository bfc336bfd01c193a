package verify

import (
	"fmt"
	"net/http"
)

// hasRanges pushes a blob and asks for a range of it.
func (t *T) hasRanges() (b blob, ask func(spec string) *answer) {
	b = t.newBlob(2048)
	t.seedBlob(t.repo, b)
	return b, func(spec string) *answer { return t.get(t.repo.blob(b.digest), withHeader("Range", spec)) }
}

func rangeMiddle(t *T) {
	b, ask := t.hasRanges()
	ask("bytes=500-1499").wantStatus(http.StatusPartialContent).wantBody(b.content[500:1500])
	ask("bytes=0-2047").wantStatus(http.StatusPartialContent).wantBody(b.content)
}

func rangeOpen(t *T) {
	b, ask := t.hasRanges()
	ask("bytes=500-").wantStatus(http.StatusPartialContent).wantBody(b.content[500:])
	ask("bytes=0-").wantStatus(http.StatusPartialContent).wantBody(b.content)
}

func rangeSuffix(t *T) {
	b, ask := t.hasRanges()
	ask("bytes=-500").wantStatus(http.StatusPartialContent).wantBody(b.content[1548:])
	ask("bytes=-5000").wantStatus(http.StatusPartialContent).wantBody(b.content)
}

func rangeSingleByte(t *T) {
	b, ask := t.hasRanges()
	ask("bytes=0-0").wantStatus(http.StatusPartialContent).wantBody(b.content[:1])
	ask("bytes=2047-2047").wantStatus(http.StatusPartialContent).wantBody(b.content[2047:])
}

func rangeBeyondEnd(t *T) {
	b, ask := t.hasRanges()
	ask("bytes=2000-5000").wantStatus(http.StatusPartialContent).wantBody(b.content[2000:])
}

func rangeUnsatisfiable(t *T) {
	_, ask := t.hasRanges()
	for _, spec := range []string{"bytes=2048-", "bytes=2048-2048", "bytes=5000-10000"} {
		ask(spec).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	}
}

func rangeMalformed(t *T) {
	b, ask := t.hasRanges()
	for _, spec := range []string{"bytes=500-0", "bytes=-", "bytes=a-b", "bytes=9999999999999999999999-", "bytes"} {
		a := ask(spec).wantStatus(http.StatusOK, http.StatusRequestedRangeNotSatisfiable)
		if a.Status == http.StatusOK {
			a.wantBody(b.content)
		}
	}
}

func rangeContentRange(t *T) {
	_, ask := t.hasRanges()
	for i, r := range []struct {
		spec        string
		first, last int
	}{{"bytes=500-1499", 500, 1499}, {"bytes=500-", 500, 2047}, {"bytes=-500", 1548, 2047}, {"bytes=2000-5000", 2000, 2047}} {
		a := ask(r.spec)
		if i > 0 && a.Status != http.StatusPartialContent {
			continue // the case of this form shows it
		}
		a.wantStatus(http.StatusPartialContent).wantLength(r.last - r.first + 1)
		got, known := a.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/", r.first, r.last)
		a.want(got == known+"2048" || got == known+"*", "expected the header Content-Range: %s2048", known)
	}
}
