package verify

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

func hostileHeaderCases() []Case {
	return []Case{
		{
			"hostile-ranges-many", Hostile, Should, "RFC 9110 14.2",
			"A Range header with hundreds of ranges is no fault.",
			outage, hostileRangesMany,
		},
		{
			"hostile-ranges-amplified", Hostile, Should, "RFC 9110 14.2",
			"A Range header with hundreds of ranges that overlap does not bring many times the blob.",
			"a small request that makes a large answer is a way to take the registry down", hostileRangesAmplified,
		},
		{
			"hostile-header-injection", Hostile, Must, "RFC 9110 5.5",
			"Line ends in a tag, a query or a manifest never make a header of the answer.",
			"whoever sends a link poisons caches", hostileHeaderInjection,
		},
		{
			"hostile-forwarded-host", Hostile, May, "RFC 7239 8.1",
			"The location of an upload is not on a host that the client named in X-Forwarded-Host or Forwarded.",
			"whoever can set the header for others, through a cache or proxy, gets their layers", hostileForwardedHost,
		},
		{
			"hostile-authorization", Hostile, Should, "RFC 9110 11.6.2",
			"An Authorization header that cannot be read is no fault.",
			outage, hostileAuthorization,
		},
		{
			"hostile-page-size", Hostile, Should, "Listing Tags",
			"A page size or a last tag that is none is no fault: 4xx, or a list.",
			outage, hostilePageSize,
		},
		{
			"hostile-filter", Hostile, Should, "Listing Referrers",
			"A filter of referrers that is no media type is no fault, and finds nothing.",
			outage, hostileFilter,
		},
	}
}

// manyRanges asks for a blob of 4,000 bytes in hundreds of ranges.
func (p *probe) manyRanges(spec func(i int) string) *answer {
	b := p.newBlob(4000)
	p.hasBlob(p.repo, b)
	specs := make([]string, 400)
	for i := range specs {
		specs[i] = spec(i)
	}
	return p.get(p.repo.blob(b.digest), withHeader("Range", "bytes="+strings.Join(specs, ",")))
}

func hostileRangesMany(p *probe) {
	p.manyRanges(func(i int) string { return strconv.Itoa(i*10) + "-" + strconv.Itoa(i*10+1) }).noFault()
	p.manyRanges(func(int) string { return "0-" }).noFault()
	p.manyRanges(func(i int) string { return "-" + strconv.Itoa(i) }).noFault()
}

func hostileRangesAmplified(p *probe) {
	a := p.manyRanges(func(int) string { return "0-" }).noFault()
	a.want(len(a.body) <= 40_000, "expected at most ten times the blob of 4,000 bytes, got %d bytes", len(a.body))
}

func hostileHeaderInjection(p *probe) {
	const evil = "a%0d%0aX-Evil:%201%0d%0a"
	m := p.newImage(p.repo)
	doc := m.doc
	doc.ArtifactType = "application/x\r\nX-Evil: 1"
	p.hasManifest(p.repo, "v1", m)
	upload := p.newUpload(p.repo, "")
	odd := p.putManifest(p.repo, "v2", doc.encode())
	base := "/v2/" + string(p.repo)
	answers := []*answer{
		odd, p.headManifest(p.repo, "v2"),
		p.get(p.repo.referrers(m.digest, "?artifactType="+evil)), p.get(p.repo.tags("?n=1&last=" + evil)), p.get(p.repo.tags("?n=" + evil)),
		p.get(base+"/manifests/"+evil, asIs()), p.put(base+"/manifests/"+evil, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)),
		p.put(p.repo.manifest(string(m.digest)+"?tag="+evil), withBody(m.content), withHeader("Content-Type", m.mediaType)),
		p.post(p.repo.uploads("?x=" + evil)), p.post(p.repo.uploads("?mount=" + evil + "&from=" + evil)), p.get(upload + "?x=" + evil),
		p.get(base+evil+"/tags/list", asIs()), p.get("/v2/?x=" + evil),
	}
	for _, a := range answers {
		a.want(len(a.header.Values("X-Evil")) == 0, "expected no header X-Evil: it comes from the request")
		a.noFault()
	}
}

func hostileForwardedHost(p *probe) {
	const evil = "evil.example"
	spoofed := []option{
		withHeader("X-Forwarded-Host", evil), withHeader("X-Forwarded-Server", evil), withHeader("X-Original-Host", evil), withHeader("X-Host", evil),
		withHeader("Forwarded", "for=192.0.2.1;host="+evil+";proto=http"),
	}
	for _, o := range spoofed {
		a := p.post(p.repo.uploads(""), o).is(http.StatusAccepted)
		u, err := url.Parse(a.location())
		a.want(err == nil && u.Hostname() != evil, "expected a location that is not on %s", evil)
	}
}

func hostileAuthorization(p *probe) {
	for _, credentials := range []string{"", "Basic", "Basic !!!", "Basic Og==", "Basic //79", "Bearer", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "Unheard of", "AWS4-HMAC-SHA256 x", "Basic " + strings.Repeat("A", 6000)} {
		p.get("/v2/", anonymous(), withHeader("Authorization", credentials)).noFault()
		p.post(p.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).noFault()
	}
	p.get("/v2/").is(http.StatusOK)
}

func hostilePageSize(p *probe) {
	p.hasImage(p.repo, "v1")
	for _, query := range []string{"?n=-1", "?n=abc", "?n=", "?n=99999999999999999999999", "?n=2147483648", "?n=9223372036854775807", "?n=1.5", "?n=1e9", "?n=0x10", "?n=1&n=2", "?last=%00", "?last=%ff", "?last=..%2f..", "?last=" + strings.Repeat("a", 4000), "?last=" + url.QueryEscape("'; --")} {
		p.get(p.repo.tags(query)).refusedOr(http.StatusOK)
	}
	p.get(p.repo.tags("")).is(http.StatusOK)
}

func hostileFilter(p *probe) {
	p.offersReferrers(p.other)
	m := p.hasImage(p.repo, "v1")
	for _, filter := range []string{"", "%00", "%ff", "*", strings.Repeat("a", 4000), "..%2f..", url.QueryEscape("' OR '1'='1"), "a&artifactType=b"} {
		p.get(p.repo.referrers(m.digest, "?artifactType="+filter)).refusedOr(http.StatusOK)
	}
	p.goesOn(m)
}
