package verify

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func hostilePathCases() []Case {
	return []Case{
		{
			"hostile-path-dots", Hostile, Must, "Pulling manifests",
			"A path with .. or an encoded slash, backslash or dot in it finds nothing: 4xx.",
			elsewhere, hostilePathDots,
		},
		{
			"hostile-path-escape", Hostile, Must, "API",
			"A path that climbs out of /v2/ never ends at a file of the machine, and is no fault.",
			"whoever sends it reads the registry's configuration and secrets", hostilePathEscape,
		},
		{
			"hostile-path-bytes", Hostile, Should, "API",
			"A path with control bytes, NUL or a broken percent escape is refused with 4xx.",
			outage, hostilePathBytes,
		},
		{
			"hostile-path-long", Hostile, Should, "API",
			"A name, tag, digest or query of 300 bytes to 20 KB is no fault.",
			outage, hostilePathLong,
		},
		{
			"hostile-name-illegal", Hostile, Must, "Pulling manifests",
			"A push to a name that the spec's grammar does not allow is refused with 4xx.",
			"repositories that no client can pull from", hostileNameIllegal,
		},
		{
			"hostile-name-reserved", Hostile, Must, "Pulling manifests",
			"Repositories whose names are made of blobs, uploads, manifests, tags, list and referrers are pushed to and pulled from.",
			"such names are legal: their images get lost, or into another repository", hostileNameReserved,
		},
		{
			"hostile-name-separators", Hostile, Must, "Pulling manifests",
			"Names with each separator that the grammar allows are pushed to and pulled from, and are kept apart.",
			"images with dots, dashes and underscores in their names", hostileNameSeparators,
		},
		{
			"hostile-tag-illegal", Hostile, Must, "Pulling manifests",
			"A push to a tag that the spec's grammar does not allow is refused with 4xx, and makes no tag.",
			"tags that no client can pull", hostileTagIllegal,
		},
		{
			"hostile-digest-illegal", Hostile, Must, "Pulling manifests",
			"A digest that is none (too short, too long, not hexadecimal, an unknown algorithm, a path) is refused with 4xx wherever it stands.",
			elsewhere, hostileDigestIllegal,
		},
		{
			"hostile-digest-case", Hostile, Must, "Pulling manifests",
			"A digest in upper case finds nothing: 4xx.",
			"caches and access rules that compare digests byte by byte", hostileDigestCase,
		},
		{
			"hostile-route-unknown", Hostile, Should, "Endpoints",
			"A path below /v2/ that is no endpoint answers 4xx.",
			"clients that ask for extensions take an answer for support", hostileRouteUnknown,
		},
		{
			"hostile-method-unknown", Hostile, Should, "Endpoints",
			"A method that an endpoint does not have is refused with 4xx and does nothing.",
			"a request that is let through does something that nobody meant", hostileMethodUnknown,
		},
		{
			"hostile-method-allow", Hostile, Should, "RFC 9110 15.5.6",
			"A method that an endpoint does not have answers 405 with Allow, or 404.",
			"tools that look for what is offered", hostileMethodAllow,
		},
		{
			"hostile-method-override", Hostile, Must, "RFC 9110 9.2.1",
			"A GET stays a GET, whatever X-HTTP-Method-Override and _method say.",
			"whoever may read deletes", hostileMethodOverride,
		},
	}
}

func hostilePathDots(p *probe) {
	m := p.hasImage(p.repo, "v1")
	base := "/v2/" + string(p.repo)
	// Where a proxy takes the dots out first, no endpoint remains either.
	for _, path := range []string{
		"/manifests/..", "/manifests/.", "/manifests/%2e%2e", "/manifests/%2e", "/manifests/..%2f..%2f..%2fv1", "/manifests/..%5c..%5cv1",
		"/blobs/../manifests", "/blobs/..%2f..%2fmanifests%2fv1", "/blobs/%2e%2e/%2e%2e/none", "/blobs/sha256:..%2f..%2f" + strings.Repeat("0", 58),
		"/manifests/%252e%252e%252fv1", "/blobs/uploads/..%2f..%2f..", "/tags/../list", "/referrers/..%2f..",
		"/..%2fother/manifests/v1", "/%2e%2e%2f/tags/list",
	} {
		p.get(base+path, asIs()).findsNothing()
		p.put(base+path, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)).findsNothing()
	}
	p.goesOn(m)
	p.hasTags("v1")
}

func hostilePathEscape(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, path := range []string{
		"/v2/../../../../../etc/passwd", "/v2/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/v2/..%2f..%2f..%2f..%2fetc%2fpasswd",
		"/v2/" + string(p.repo) + "/blobs/../../../../../../../../etc/passwd", "/v2/....//....//....//etc/passwd",
		"/v2/..%5c..%5c..%5cwindows%5cwin.ini", "/v2/..%c0%af..%c0%afetc/passwd", "/v2/file:///etc/passwd",
	} {
		a := p.get(path, asIs()).noFault()
		a.want(!bytes.Contains(a.body, []byte("root:")) && !bytes.Contains(a.body, []byte("[fonts]")), "expected no file of the machine")
	}
	p.goesOn(m)
}

func hostilePathBytes(p *probe) {
	m := p.hasImage(p.repo, "v1")
	base := "/v2/" + string(p.repo)
	for _, tag := range []string{"v1%00", "v1%00.json", "%00", "v1%0a", "v1%0d%0aX-Evil:%201", "%7f", "%1b%5b2J", "v1%ff%fe", "v1%20", "%09v1", "v1%", "v1%2", "%zz"} {
		p.get(base+"/manifests/"+tag, asIs()).refused()
		p.put(base+"/manifests/"+tag, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)).refused()
	}
	for _, path := range []string{"%00/manifests/v1", "%0d%0a/tags/list", "%zz/blobs/uploads/"} {
		p.get(base+path, asIs()).refused()
	}
	p.goesOn(m)
	p.hasTags("v1")
}

func hostilePathLong(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, n := range []int{300, 9000, 20_000} {
		long := strings.Repeat("a", n)
		p.getManifest(p.repo, long).refused()
		p.getManifest(p.repo+repository(strings.Repeat("/a", n/2)), "v1").refused()
		p.get(p.repo.blob(oci.Digest("sha256:" + long))).refused()
		p.get(p.repo.tags("?last=" + long)).noFault()
		p.get("/v2/?x=" + long).noFault()
	}
	p.goesOn(m)
}

func hostileNameIllegal(p *probe) {
	b := p.newBlob(10)
	m := p.imageOf(b).encode()
	for _, end := range []string{"/Upper", "/-a", "/a-", "/.a", "/a.", "/_a", "/a_", "/a..b", "/a___b", "/a._b", "/a%20b", "/a%40b", "/a:b", "/%C3%A9", "/%EF%BC%8E", "/a+b", "/a~", "/$a", "/*"} {
		name := p.repo + repository(end)
		p.post(name.uploads("")).refused()
		p.putManifest(name, "v1", m).refused()
		p.get(name.tags("")).refused()
	}
}

// roundTrips expects that an image is pushed to a repository and pulled from it.
func (p *probe) roundTrips(repo repository) manifest {
	b := p.newBlob(100)
	opened := p.post(repo.uploads("")).is(http.StatusAccepted)
	p.put(opened.merged(b.digest), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	p.isPulled(repo, b)
	m := p.imageOf(b).encode()
	p.putManifest(repo, "list", m).is(http.StatusCreated)
	p.getManifest(repo, "list").is(http.StatusOK).hasBody(m.content)
	a := p.get(repo.tags("")).is(http.StatusOK)
	a.want(bytes.Contains(a.body, []byte(`"list"`)), "expected the tag list")
	return m
}

func hostileNameReserved(p *probe) {
	for _, end := range []repository{"/blobs/uploads/manifests/tags", "/blobs/uploads", "/manifests", "/tags/list", "/referrers", "/v2"} {
		p.roundTrips(p.repo + end)
	}
}

func hostileNameSeparators(p *probe) {
	pushed := map[repository]manifest{}
	for _, end := range []repository{"/a.b", "/a_b", "/a__b", "/a-b", "/a--b", "/a/b", "/ab"} {
		pushed[p.repo+end] = p.roundTrips(p.repo + end)
	}
	for repo, m := range pushed {
		p.getManifest(repo, "list").is(http.StatusOK).hasBody(m.content)
	}
}

func hostileTagIllegal(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, tag := range []string{"-a", ".a", "a%20b", "a%40b", "a+b", "%C3%A9", "a%2Fb", "~a", "a,b", "a%00b", "%24a", strings.Repeat("a", 129)} {
		p.putManifest(p.repo, tag, m).refused()
	}
	p.hasTags("v1")
}

func illegalDigests() []string {
	return []string{
		"sha256:", "sha256:abc", "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("0", 65), "sha256:" + strings.Repeat("g", 64),
		"md5:d41d8cd98f00b204e9800998ecf8427e", "unheard:" + strings.Repeat("0", 64), ":" + strings.Repeat("0", 64), "sha512:" + strings.Repeat("0", 64),
		"sha256:" + strings.Repeat("0", 32) + ":" + strings.Repeat("0", 31), "sha256:%2e%2e%2f%2e%2e%2f" + strings.Repeat("0", 58),
	}
}

func hostileDigestIllegal(p *probe) {
	m := p.hasImage(p.repo, "v1")
	upload := p.newUpload(p.repo, "")
	for _, d := range illegalDigests() {
		p.get(p.repo.blob(oci.Digest(d))).findsNothing()
		p.getManifest(p.repo, d).findsNothing()
		p.putManifest(p.repo, d, m).findsNothing()
		p.get(p.repo.referrers(oci.Digest(d), "")).findsNothing()
		p.put(withQuery(upload, "digest", d), withBody([]byte("content"))).refused()
		p.post(p.repo.uploads("?mount=" + d + "&from=" + string(p.other))).refusedOr(http.StatusAccepted)
	}
	p.put(upload, withBody([]byte("content"))).refused() // no digest at all
	p.goesOn(m)
}

func hostileDigestCase(p *probe) {
	m := p.hasImage(p.repo, "v1")
	config := m.doc.Config.Digest
	p.get(p.repo.blob(oci.Digest("sha256:" + strings.ToUpper(config.Encoded())))).refused()
	p.getManifest(p.repo, "sha256:"+strings.ToUpper(m.digest.Encoded())).refused()
	p.get(p.repo.blob(oci.Digest("SHA256:" + config.Encoded()))).refused()
}

func hostileRouteUnknown(p *probe) {
	p.hasImage(p.repo, "v1")
	base := "/v2/" + string(p.repo)
	for _, path := range []string{base + "/manifests", base + "/manifests/", base + "/blobs", base + "/blobs/", base + "/tags", base + "/tags/all", base + "/unheard/v1", base, base + "/manifests/v1/more", base + "/referrers/"} {
		p.get(path, withHeader("Accept", acceptedByMost)).refused()
	}
}

// wrongMethods are requests with a method that the endpoint does not have.
func (p *probe) wrongMethods(m manifest) []*answer {
	body := withBody([]byte("{}"))
	return []*answer{
		p.post(p.repo.manifest("v1"), body), p.patch(p.repo.manifest("v1"), body),
		p.post(p.repo.blob(m.doc.Config.Digest), body), p.put(p.repo.blob(m.doc.Config.Digest), body), p.patch(p.repo.blob(m.doc.Config.Digest), body),
		p.put(p.repo.tags(""), body), p.post(p.repo.tags(""), body), p.delete(p.repo.tags("")),
		p.delete(p.repo.referrers(m.digest, "")), p.put(p.repo.referrers(m.digest, ""), body),
	}
}

func hostileMethodUnknown(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, a := range p.wrongMethods(m) {
		a.refusedOr(http.StatusNotImplemented)
	}
	p.do("BREW", p.repo.manifest("v1")).refusedOr(http.StatusNotImplemented)
	p.goesOn(m)
}

func hostileMethodAllow(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, a := range p.wrongMethods(m) {
		a.is(http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusNotImplemented)
		a.want(a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "", "expected an Allow header with 405")
	}
}

func hostileMethodOverride(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		p.get(p.repo.manifest("v1"), withHeader(header, http.MethodDelete), withHeader("Accept", acceptedByMost)).noFault()
		p.post(p.repo.manifest("v1")+"?_method=DELETE", withHeader(header, http.MethodDelete)).noFault()
	}
	p.get(p.repo.manifest("v1")+"?_method=DELETE", withHeader("Accept", acceptedByMost)).noFault()
	p.goesOn(m)
}
