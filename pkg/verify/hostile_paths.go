package verify

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func hostilePathDots(t *T) {
	m := t.seedImage(t.repo, "v1")
	base := "/v2/" + string(t.repo)
	// The paths are not endpoints either if a proxy removes the dots.
	for _, path := range []string{
		"/manifests/..", "/manifests/.", "/manifests/%2e%2e", "/manifests/%2e", "/manifests/..%2f..%2f..%2fv1", "/manifests/..%5c..%5cv1",
		"/blobs/../manifests", "/blobs/..%2f..%2fmanifests%2fv1", "/blobs/%2e%2e/%2e%2e/none", "/blobs/sha256:..%2f..%2f" + strings.Repeat("0", 58),
		"/manifests/%252e%252e%252fv1", "/blobs/uploads/..%2f..%2f..", "/tags/../list", "/referrers/..%2f..",
		"/..%2fother/manifests/v1", "/%2e%2e%2f/tags/list",
	} {
		t.get(base+path, asIs()).wantNothingFound()
		t.put(base+path, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)).wantNothingFound()
	}
	t.wantUnharmed(m)
	t.wantTags("v1")
}

func hostilePathEscape(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, path := range []string{
		"/v2/../../../../../etc/passwd", "/v2/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/v2/..%2f..%2f..%2f..%2fetc%2fpasswd",
		"/v2/" + string(t.repo) + "/blobs/../../../../../../../../etc/passwd", "/v2/....//....//....//etc/passwd",
		"/v2/..%5c..%5c..%5cwindows%5cwin.ini", "/v2/..%c0%af..%c0%afetc/passwd", "/v2/file:///etc/passwd",
	} {
		a := t.get(path, asIs()).wantNo5xx()
		a.want(!bytes.Contains(a.Body, []byte("root:")) && !bytes.Contains(a.Body, []byte("[fonts]")), "expected no file of the host")
	}
	t.wantUnharmed(m)
}

func hostilePathBytes(t *T) {
	m := t.seedImage(t.repo, "v1")
	base := "/v2/" + string(t.repo)
	for _, tag := range []string{"v1%00", "v1%00.json", "%00", "v1%0a", "v1%0d%0aX-Evil:%201", "%7f", "%1b%5b2J", "v1%ff%fe", "v1%20", "%09v1", "v1%", "v1%2", "%zz"} {
		t.get(base+"/manifests/"+tag, asIs()).wantRefused()
		t.put(base+"/manifests/"+tag, asIs(), withBody(m.content), withHeader("Content-Type", m.mediaType)).wantRefused()
	}
	for _, path := range []string{"%00/manifests/v1", "%0d%0a/tags/list", "%zz/blobs/uploads/"} {
		t.get(base+path, asIs()).wantRefused()
	}
	t.wantUnharmed(m)
	t.wantTags("v1")
}

func hostilePathLong(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, n := range []int{300, 9000, 20_000} {
		long := strings.Repeat("a", n)
		t.getManifest(t.repo, long).wantRefused()
		t.getManifest(t.repo+repository(strings.Repeat("/a", n/2)), "v1").wantRefused()
		t.get(t.repo.blob(oci.Digest("sha256:" + long))).wantRefused()
		t.get(t.repo.tags("?last=" + long)).wantNo5xx()
		t.get("/v2/?x=" + long).wantNo5xx()
	}
	t.wantUnharmed(m)
}

func hostileNameIllegal(t *T) {
	b := t.newBlob(10)
	m := t.imageOf(b).encode()
	for _, end := range []string{"/Upper", "/-a", "/a-", "/.a", "/a.", "/_a", "/a_", "/a..b", "/a___b", "/a._b", "/a%20b", "/a%40b", "/a:b", "/%C3%A9", "/%EF%BC%8E", "/a+b", "/a~", "/$a", "/*"} {
		name := t.repo + repository(end)
		t.post(name.uploads("")).wantRefused()
		t.putManifest(name, "v1", m).wantRefused()
		t.get(name.tags("")).wantRefused()
	}
}

// wantRoundTrip expects that an image can be pushed to a repository and pulled from it.
func (t *T) wantRoundTrip(repo repository) manifest {
	b := t.newBlob(100)
	opened := t.post(repo.uploads("")).wantStatus(http.StatusAccepted)
	t.put(opened.merged(b.digest), octets(b.content)).wantStored(repo, b)
	m := t.imageOf(b).encode()
	t.putManifest(repo, "list", m).wantStatus(http.StatusCreated)
	t.getManifest(repo, "list").wantStatus(http.StatusOK).wantBody(m.content)
	a := t.get(repo.tags("")).wantStatus(http.StatusOK)
	a.want(bytes.Contains(a.Body, []byte(`"list"`)), "expected the tag list")
	return m
}

func hostileNameReserved(t *T) {
	for _, end := range []repository{"/blobs/uploads/manifests/tags", "/blobs/uploads", "/manifests", "/tags/list", "/referrers", "/v2"} {
		t.wantRoundTrip(t.repo + end)
	}
}

func hostileNameSeparators(t *T) {
	pushed := map[repository]manifest{}
	for _, end := range []repository{"/a.b", "/a_b", "/a__b", "/a-b", "/a--b", "/a/b", "/ab"} {
		pushed[t.repo+end] = t.wantRoundTrip(t.repo + end)
	}
	for repo, m := range pushed {
		t.getManifest(repo, "list").wantStatus(http.StatusOK).wantBody(m.content)
	}
}

func hostileTagIllegal(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, tag := range []string{"-a", ".a", "a%20b", "a%40b", "a+b", "%C3%A9", "a%2Fb", "~a", "a,b", "a%00b", "%24a", strings.Repeat("a", 129)} {
		t.putManifest(t.repo, tag, m).wantRefused()
	}
	t.wantTags("v1")
}

func hostileDigestIllegal(t *T) {
	m := t.seedImage(t.repo, "v1")
	upload := t.newUpload(t.repo, "")
	for _, d := range illegalDigests() {
		t.get(t.repo.blob(oci.Digest(d))).wantNothingFound()
		t.getManifest(t.repo, d).wantNothingFound()
		t.putManifest(t.repo, d, m).wantNothingFound()
		t.get(t.repo.referrers(oci.Digest(d), "")).wantNothingFound()
		t.put(AddQuery(upload, "digest", d), withBody([]byte("content"))).wantRefused()
		t.post(t.repo.uploads("?mount=" + d + "&from=" + string(t.other))).wantRefusedOr(http.StatusAccepted)
	}
	t.put(upload, withBody([]byte("content"))).wantRefused() // without a digest
	t.wantUnharmed(m)
}

func hostileDigestCase(t *T) {
	m := t.seedImage(t.repo, "v1")
	config := m.doc.Config.Digest
	t.get(t.repo.blob(oci.Digest("sha256:" + strings.ToUpper(config.Encoded())))).wantRefused()
	t.getManifest(t.repo, "sha256:"+strings.ToUpper(m.digest.Encoded())).wantRefused()
	t.get(t.repo.blob(oci.Digest("SHA256:" + config.Encoded()))).wantRefused()
}

func hostileRouteUnknown(t *T) {
	t.seedImage(t.repo, "v1")
	base := "/v2/" + string(t.repo)
	for _, path := range []string{base + "/manifests", base + "/manifests/", base + "/blobs", base + "/blobs/", base + "/tags", base + "/tags/all", base + "/unheard/v1", base, base + "/manifests/v1/more", base + "/referrers/"} {
		t.get(path, withHeader("Accept", acceptedByMost)).wantRefused()
	}
}

// wrongMethods sends requests with methods that the endpoints do not support.
func (t *T) wrongMethods(m manifest) []*answer {
	body := withBody([]byte("{}"))
	return []*answer{
		t.post(t.repo.manifest("v1"), body), t.patch(t.repo.manifest("v1"), body),
		t.post(t.repo.blob(m.doc.Config.Digest), body), t.put(t.repo.blob(m.doc.Config.Digest), body), t.patch(t.repo.blob(m.doc.Config.Digest), body),
		t.put(t.repo.tags(""), body), t.post(t.repo.tags(""), body), t.delete(t.repo.tags("")),
		t.delete(t.repo.referrers(m.digest, "")), t.put(t.repo.referrers(m.digest, ""), body),
	}
}

func hostileMethodUnknown(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, a := range t.wrongMethods(m) {
		a.wantRefusedOr(http.StatusNotImplemented)
	}
	t.do("BREW", t.repo.manifest("v1")).wantRefusedOr(http.StatusNotImplemented)
	t.wantUnharmed(m)
}

func hostileMethodAllow(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, a := range t.wrongMethods(m) {
		a.wantStatus(http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusNotImplemented)
		a.want(a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "", "expected an Allow header with 405")
	}
}

func hostileMethodOverride(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		t.get(t.repo.manifest("v1"), withHeader(header, http.MethodDelete), withHeader("Accept", acceptedByMost)).wantNo5xx()
		t.post(t.repo.manifest("v1")+"?_method=DELETE", withHeader(header, http.MethodDelete)).wantNo5xx()
	}
	t.get(t.repo.manifest("v1")+"?_method=DELETE", withHeader("Accept", acceptedByMost)).wantNo5xx()
	t.wantUnharmed(m)
}
