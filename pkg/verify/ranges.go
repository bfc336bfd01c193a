package verify

import (
	"fmt"
	"net/http"
)

// seedRanges pushes a blob of 2048 bytes and returns a function that requests a range of it.
func (t *T) seedRanges() (b blob, request func(spec string) *answer) {
	b = t.newBlob(2048)
	t.seedBlob(t.repo, b)
	return b, func(spec string) *answer { return t.get(t.repo.blob(b.digest), withHeader("Range", spec)) }
}

func rangeUnsatisfiable(t *T) {
	_, request := t.seedRanges()
	for _, spec := range []string{"bytes=2048-", "bytes=2048-2048", "bytes=5000-10000"} {
		request(spec).wantStatus(http.StatusRequestedRangeNotSatisfiable)
	}
}

func rangeMalformed(t *T) {
	b, request := t.seedRanges()
	for _, spec := range []string{"bytes=500-0", "bytes=-", "bytes=a-b", "bytes=9999999999999999999999-", "bytes"} {
		a := request(spec).wantStatus(http.StatusOK, http.StatusRequestedRangeNotSatisfiable)
		if a.Status == http.StatusOK {
			a.wantBody(b.content)
		}
	}
}

func rangeContentRange(t *T) {
	_, request := t.seedRanges()
	for i, r := range []struct {
		spec        string
		first, last int
	}{{"bytes=500-1499", 500, 1499}, {"bytes=500-", 500, 2047}, {"bytes=-500", 1548, 2047}, {"bytes=2000-5000", 2000, 2047}} {
		a := request(r.spec)
		if i > 0 && a.Status != http.StatusPartialContent {
			continue // another case reports it
		}
		a.wantStatus(http.StatusPartialContent).wantLength(r.last - r.first + 1)
		got, known := a.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/", r.first, r.last)
		a.want(got == known+"2048" || got == known+"*", "expected the header Content-Range: %s2048", known)
	}
}
