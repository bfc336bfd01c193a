package verify

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// manyRanges requests hundreds of ranges of a blob of 4,000 bytes.
func (t *T) manyRanges(spec func(i int) string) *answer {
	b := t.seedNewBlob(t.repo)
	specs := make([]string, 400)
	for i := range specs {
		specs[i] = spec(i)
	}
	return t.get(t.repo.blob(b.digest), withHeader("Range", "bytes="+strings.Join(specs, ",")))
}

func hostileRangesMany(t *T) {
	t.manyRanges(func(i int) string { return strconv.Itoa(i*10) + "-" + strconv.Itoa(i*10+1) }).wantNo5xx()
	t.manyRanges(func(int) string { return "0-" }).wantNo5xx()
	t.manyRanges(func(i int) string { return "-" + strconv.Itoa(i) }).wantNo5xx()
}

func hostileRangesAmplified(t *T) {
	a := t.manyRanges(func(int) string { return "0-" }).wantNo5xx()
	a.want(len(a.Body) <= 40_000, "expected at most ten times the blob of 4,000 bytes, got %d bytes", len(a.Body))
}

func hostileHeaderInjection(t *T) {
	const evil = "a%0d%0aX-Evil:%201%0d%0a"
	m := t.newImage(t.repo)
	doc := m.doc
	doc.ArtifactType = "application/x\r\nX-Evil: 1"
	t.seedManifest(t.repo, "v1", m)
	upload := t.newUpload(t.repo, "")
	odd := t.putManifest(t.repo, "v2", doc.encode())
	base := "/v2/" + string(t.repo)
	answers := []*answer{
		odd, t.headManifest(t.repo, "v2"),
		t.get(t.repo.referrers(m.digest, "?artifactType="+evil)), t.get(t.repo.tags("?n=1&last=" + evil)), t.get(t.repo.tags("?n=" + evil)),
		t.get(base+"/manifests/"+evil, asIs()), t.put(base+"/manifests/"+evil, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)),
		t.put(t.repo.manifest(string(m.digest)+"?tag="+evil), withBody(m.content), withHeader("Content-Type", m.mediaType)),
		t.post(t.repo.uploads("?x=" + evil)), t.post(t.repo.uploads("?mount=" + evil + "&from=" + evil)), t.get(upload + "?x=" + evil),
		t.get(base+evil+"/tags/list", asIs()), t.get("/v2/?x=" + evil),
	}
	for _, a := range answers {
		a.want(len(a.Header.Values("X-Evil")) == 0, "expected no header X-Evil: it is from the request")
		a.wantNo5xx()
	}
}

func hostileForwardedHost(t *T) {
	const evil = "evil.example"
	spoofed := []option{
		withHeader("X-Forwarded-Host", evil), withHeader("X-Forwarded-Server", evil), withHeader("X-Original-Host", evil), withHeader("X-Host", evil),
		withHeader("Forwarded", "for=192.0.2.1;host="+evil+";proto=http"),
	}
	for _, o := range spoofed {
		a := t.post(t.repo.uploads(""), o).wantStatus(http.StatusAccepted)
		u, err := url.Parse(a.location())
		a.want(err == nil && u.Hostname() != evil, "expected a location that is not on %s", evil)
	}
}

func hostileAuthorization(t *T) {
	for _, credentials := range []string{"", "Basic", "Basic !!!", "Basic Og==", "Basic //79", "Bearer", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "Unheard of", "AWS4-HMAC-SHA256 x", "Basic " + strings.Repeat("A", 6000)} {
		t.get("/v2/", anonymous(), withHeader("Authorization", credentials)).wantNo5xx()
		t.post(t.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).wantNo5xx()
	}
	t.get("/v2/").wantStatus(http.StatusOK)
}

func hostilePageSize(t *T) {
	t.seedImage(t.repo, "v1")
	for _, query := range []string{"?n=-1", "?n=abc", "?n=", "?n=99999999999999999999999", "?n=2147483648", "?n=9223372036854775807", "?n=1.5", "?n=1e9", "?n=0x10", "?n=1&n=2", "?last=%00", "?last=%ff", "?last=..%2f..", "?last=" + strings.Repeat("a", 4000), "?last=" + url.QueryEscape("'; --")} {
		t.get(t.repo.tags(query)).wantRefusedOr(http.StatusOK)
	}
	t.get(t.repo.tags("")).wantStatus(http.StatusOK)
}

func hostileFilter(t *T) {
	t.offersReferrers(t.other)
	m := t.seedImage(t.repo, "v1")
	for _, filter := range []string{"", "%00", "%ff", "*", strings.Repeat("a", 4000), "..%2f..", url.QueryEscape("' OR '1'='1"), "a&artifactType=b"} {
		t.get(t.repo.referrers(m.digest, "?artifactType="+filter)).wantRefusedOr(http.StatusOK)
	}
	t.wantUnharmed(m)
}
