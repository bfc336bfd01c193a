package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
)

// newSiteOver starts a proxy in front of a handler.
func newSiteOver(t *testing.T, h http.HandlerFunc, change ...func(*proxy.Options)) (s *site, up *httptest.Server) {
	t.Helper()
	up = httptest.NewServer(h)
	t.Cleanup(up.Close)
	return newSite(t, up.URL, change...), up
}

// TestHosts: the proxy accepts only known host names, so that no web page can rebind its own.
func TestHosts(t *testing.T) {
	s, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, func(o *proxy.Options) {
		o.AllowHosts = []string{"host.docker.internal", "other.example:7"}
	})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for host, status := range map[string]int{
		"127.0.0.1:" + port: 200, "127.9.9.9:" + port: 200, "[::1]:" + port: 200, "localhost:" + port: 200, "LOCALHOST:" + port: 200,
		"a.localhost:" + port: 200, "host.docker.internal:" + port: 200, "other.example:7": 200,
		"127.0.0.1:1": 200, "localhost:80": 200, "10.0.0.1:" + port: 200, "example.com:" + port: 403, "example.com": 403, "other.example:" + port: 403,
		"127.0.0.1.example.com:" + port: 403, "localhost.example.com:" + port: 403, "proxy:" + port: 403, ":" + port: 403,
	} {
		if a := s.do("GET", "/v2/", nil, "Host", host); a.status != status || status == 403 && !strings.Contains(a.body, `"DENIED"`) {
			t.Errorf("Host %s: %d %s, want %d", host, a.status, a.body, status)
		}
	}
}

// TestBrowsers: requests of web pages are refused, however they are made.
func TestBrowsers(t *testing.T) {
	asked := 0
	s, _ := newSiteOver(t, func(http.ResponseWriter, *http.Request) { asked++ })
	for _, h := range [][]string{
		{"Origin", "https://example.com"},
		{"Origin", "null"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
	} {
		s.do("POST", "/v2/app/blobs/uploads/", bytes.NewReader(random(10)), h...).want(http.StatusForbidden, oci.Denied)
		s.do("GET", "/v2/", nil, h...).want(http.StatusForbidden, oci.Denied)
	}
	if asked > 0 {
		t.Errorf("the registry was asked %d times", asked)
	}
	s.do("GET", "/v2/", nil, "Sec-Fetch-Site", "none").want(http.StatusOK)
}

// TestRequestUnchanged: path, query and headers reach the registry as the client wrote them,
// with nothing added.
func TestRequestUnchanged(t *testing.T) {
	var got *http.Request
	s, up := newSiteOver(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
	host := strings.TrimPrefix(s.url, "http://")
	for _, target := range []string{
		"/v2/", "/v2", "/", "/token?service=x&scope=a%3Ab&scope=c", "/v2//app/tags/list", "/v2/app/../b/tags/list", "/v2/a%2Fb/tags/list",
		"/v2/app/blobs/sha256%3Aabc", "/v2/a|b/tags/list", "/v2/%7Eapp/tags/list/", "/v2/_catalog?n=1;x&last=%zz", "/v2/app/tags/list?", "/v2/a%20b/%61",
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: Basic abc\r\nAccept: a, b\r\nAccept: c\r\n\r\n", target, host)
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got.RequestURI != target || got.Host != strings.TrimPrefix(up.URL, "http://") {
			t.Errorf("%s came as %s to %s", target, got.RequestURI, got.Host)
		}
		var names []string
		for name := range got.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		if want := []string{"Accept", "Authorization"}; !slices.Equal(names, want) || len(got.Header["Accept"]) != 2 || got.Header.Get("Authorization") != "Basic abc" {
			t.Errorf("%s: the registry got the headers %v", target, got.Header)
		}
	}
}

// TestAnswerIsLocalized: URLs of the registry's own host lead to the proxy; everything else is
// unchanged.
func TestAnswerIsLocalized(t *testing.T) {
	var header http.Header
	status := 0
	s, up := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
	})
	at, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status             int
		name, value, wants string
	}{
		{307, "Location", "https://bucket.s3.amazonaws.com/x?X-Amz-Signature=%2B", "https://bucket.s3.amazonaws.com/x?X-Amz-Signature=%2B"},
		{307, "Location", "http://127.0.0.1:1/x", "http://127.0.0.1:1/x"},
		{307, "Location", up.URL + "/x?a=%2B#f", "/x?a=%2B#f"},
		{307, "Location", "https://" + at.Host + "/x", "/x"}, // the scheme of a gateway in front
		{307, "Location", "ftp://" + at.Host + "/x", "ftp://" + at.Host + "/x"},
		{307, "Location", "http://user@" + at.Host + "/x", "http://user@" + at.Host + "/x"},
		{307, "Location", "//other.example/x", "//other.example/x"},
		{307, "Location", up.URL + "?a=b", "/?a=b"},
		{307, "Location", "//" + at.Host + "/x", "/x"},
		{307, "Location", up.URL + "//evil.example/x", up.URL + "//evil.example/x"},
		{307, "Location", up.URL, "/"},
		{200, "Location", "/v2/x", "/v2/x"},
		{200, "Link", "<" + up.URL + `/v2/_catalog?n=1>; rel="next", <https://other/x>; rel="y"`, `</v2/_catalog?n=1>; rel="next", <https://other/x>; rel="y"`},
		{401, "Www-Authenticate", `Bearer realm="` + up.URL + `/token?a=b",service="` + at.Host + `",scope="x"`, `Bearer realm="` + s.url + `/token?a=b",service="` + at.Host + `",scope="x"`},
		{401, "Www-Authenticate", `bearer service="x", realm="` + up.URL + `/token"`, `bearer service="x", realm="` + s.url + `/token"`},
		{401, "Www-Authenticate", `Bearer realm="https://auth.docker.io/token"`, `Bearer realm="https://auth.docker.io/token"`},
		{401, "Www-Authenticate", `Bearer realm="` + up.URL + `.evil.example/token"`, `Bearer realm="` + up.URL + `.evil.example/token"`},
		{401, "Www-Authenticate", `Bearer realm="https://` + at.Host + `/token"`, `Bearer realm="https://` + at.Host + `/token"`}, // not over http
		{401, "Www-Authenticate", `Basic realm="` + up.URL + `/"`, `Basic realm="` + up.URL + `/"`},
		{200, "Alt-Svc", `h3=":443"`, ""},
		{200, "Strict-Transport-Security", "max-age=1", ""},
		{200, "Docker-Content-Digest", "sha256:x", "sha256:x"},
	} {
		header, status = http.Header{c.name: {c.value}}, c.status
		if a := s.do("GET", "/v2/", nil).want(c.status); a.header.Get(c.name) != c.wants {
			t.Errorf("%s: %s became %q, want %q", c.name, c.value, a.header.Get(c.name), c.wants)
		}
	}
}

// TestTokens: a client that follows the realm gets its token through the proxy, with its own
// credentials.
func TestTokens(t *testing.T) {
	s, _ := newSiteOver(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			user, _, _ := r.BasicAuth()
			fmt.Fprintf(w, `{"token":"of-%s"}`, user)
		case r.Header.Get("Authorization") != "Bearer of-me":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	challenge := s.do("GET", "/v2/", nil).want(http.StatusUnauthorized).header.Get("WWW-Authenticate")
	realm, _, _ := strings.Cut(strings.TrimPrefix(challenge, `Bearer realm="`), `"`)
	req, err := http.NewRequestWithContext(t.Context(), "GET", realm, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("me", "secret")
	if a := s.do("GET", realm, nil, "Authorization", req.Header.Get("Authorization")).want(http.StatusOK); a.body != `{"token":"of-me"}` {
		t.Error(a.body)
	}
	s.do("GET", "/v2/", nil, "Authorization", "Bearer of-me").want(http.StatusOK)
}

// TestTooLarge: the proxy replaces a gateway's 413 by an error in the spec's form, after it has
// read the body. A registry's own error stays.
func TestTooLarge(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	a := s.do("PUT", "/v2/app/manifests/v1", bytes.NewReader(random(5<<20))).want(http.StatusRequestEntityTooLarge, oci.SizeInvalid)
	if !strings.Contains(a.body, "pierless push") {
		t.Errorf("%s has no advice about the limit", a.body)
	}
	// An upload that another process has opened.
	s.do("PATCH", "/v2/app/blobs/uploads/unknown", stream(random(5<<20))).want(http.StatusRequestEntityTooLarge, oci.SizeInvalid)

	own := `{"errors":[{"code":"MANIFEST_INVALID","message":"at most 4 MiB"}]}`
	s, _ = newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge) // before the body was read
		fmt.Fprint(w, own)
	})
	if a := s.do("PUT", "/v2/app/manifests/v1", bytes.NewReader(random(20<<20))).want(http.StatusRequestEntityTooLarge); a.body != own {
		t.Error(a.body)
	}
}

// TestNoRedirectOfUploads: docker and podman take a redirect for success.
func TestNoRedirectOfUploads(t *testing.T) {
	status := 0
	s, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example/x")
		w.WriteHeader(status)
	})
	for _, status = range []int{http.StatusMultipleChoices, http.StatusPermanentRedirect, http.StatusTemporaryRedirect} {
		s.do("POST", "/v2/app/blobs/uploads/", nil).want(http.StatusServiceUnavailable, oci.Unavailable)
	}
	status = http.StatusBadRequest
	s.do("POST", "/v2/app/blobs/uploads/", nil).want(status)
	status = http.StatusTemporaryRedirect
	s.do("POST", "/v2/app/blobs/uploads/?digest="+string(oci.SHA256.FromBytes(nil)), stream(random(10))).want(http.StatusServiceUnavailable, oci.Unavailable)
	s.do("GET", "/v2/app/blobs/"+string(oci.SHA256.FromBytes(nil)), nil).want(http.StatusTemporaryRedirect)
}

// TestForeignLocations: the proxy leaves uploads of another form, or on another host, to the
// registry. It accepts absolute URLs and queries.
func TestForeignLocations(t *testing.T) {
	var location string
	var got []string
	content := random(1000)
	d := oci.SHA256.FromBytes(content)
	s, up := newSiteOver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprint(r.Method, " ", r.URL, " ", len(body)))
		switch r.Method {
		case "POST":
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusAccepted)
		case "PUT":
			w.WriteHeader(http.StatusCreated)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	})
	for _, elsewhere := range []string{"https://storage.example/upload", "/artifacts-uploads/x"} {
		location = elsewhere
		if a := s.do("POST", "/v2/app/blobs/uploads/", nil).want(http.StatusAccepted); a.header.Get("Location") != elsewhere {
			t.Errorf("Location %q", a.header.Get("Location"))
		}
	}
	s.do("PATCH", "/artifacts-uploads/x", stream(content)).want(http.StatusTeapot)
	location, got = up.URL+"/v2/app/blobs/uploads/1?_state=a%2Bb%3D", nil
	at := s.open("app")
	if at != "/v2/app/blobs/uploads/1?_state=a%2Bb%3D" {
		t.Errorf("Location %q", at)
	}
	at = s.do("PATCH", at, stream(content)).want(http.StatusAccepted).location()
	s.do("PUT", closeAt(at, d), nil).want(http.StatusCreated)
	s.proxy.Settle()
	want := []string{
		"POST /v2/app/blobs/uploads/ 0", "POST /v2/app/blobs/uploads/?digest=" + url.QueryEscape(string(d)) + " 1000",
		"PUT /v2/app/blobs/uploads/1?_state=a%2Bb%3D&digest=" + url.QueryEscape(string(d)) + " 1000", "DELETE /v2/app/blobs/uploads/1?_state=a%2Bb%3D 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the registry got %q, want %q", got, want)
	}
}

// TestRegistryUnreachable: the client gets 503 if the registry does not answer.
func TestRegistryUnreachable(t *testing.T) {
	s, up := newSiteOver(t, func(http.ResponseWriter, *http.Request) {})
	up.Close()
	s.do("GET", "/v2/", nil).want(http.StatusServiceUnavailable, oci.Unavailable)
	s.do("PUT", "/v2/app/manifests/v1", bytes.NewReader(random(10<<20))).want(http.StatusServiceUnavailable, oci.Unavailable)
}

// TestRefusedBodyIsRead: a client that sends its whole body before it reads the answer gets the
// refusal, whether the proxy made it or a registry that did not read the body.
func TestRefusedBodyIsRead(t *testing.T) {
	refuses, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	gone, up := newSiteOver(t, func(http.ResponseWriter, *http.Request) {})
	up.Close()
	const size = 20 << 20
	for _, c := range []struct {
		site   *site
		target string
		status int
	}{
		{gone, "POST /v2/app/blobs/uploads/?digest=" + string(oci.SHA256.FromBytes(nil)), http.StatusServiceUnavailable},
		{refuses, "PUT /v2/app/manifests/v1", http.StatusForbidden},
	} {
		host := strings.TrimPrefix(c.site.url, "http://")
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", c.target, host, size)
		if _, err := conn.Write(random(size)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s is answered with %s", c.target, resp.Status)
		}
	}
}

// TestOptions: New rejects malformed addresses.
func TestOptions(t *testing.T) {
	for _, registry := range []string{"", "ftp://x", "https://x/v2", "https://user@x", "https://x?y", "a b"} {
		if p, err := proxy.New(proxy.Options{Registry: registry, Spool: t.TempDir()}); err == nil {
			t.Errorf("%q is taken for %s", registry, p.Upstream())
		}
	}
	for registry, want := range map[string]string{
		"registry.example.com": "https://registry.example.com", "127.0.0.1:5000": "http://127.0.0.1:5000", "[::1]:5000": "http://[::1]:5000",
		"https://R.example:7/": "https://r.example:7", "docker.io": "https://registry-1.docker.io",
	} {
		p, err := proxy.New(proxy.Options{Registry: registry, Spool: t.TempDir()})
		if err != nil || p.Upstream() != want {
			t.Fatalf("%q: %v, %v", registry, p, err)
		}
		p.Close()
	}
}

// TestSecurityHeaders: a registry's own headers do not allow browsers to run its content. send
// checks that each answer has the proxy's headers once.
func TestSecurityHeaders(t *testing.T) {
	s, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "script-src *")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprint(w, "{}")
	})
	s.do("GET", "/v2/", nil)
}
