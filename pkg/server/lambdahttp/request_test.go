package lambdahttp_test

import (
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

// TestHeaders: header values are not changed.
func TestHeaders(t *testing.T) {
	sent := map[string]string{
		"accept": "application/json, text/plain;q=0.5,*/*", "range": "bytes=0-1,5-6", "date": "Sat, 21 Nov 2026 05:00:00 GMT",
		"if-range": `"a,b"`, "expires": "Sat, 21 Nov 2026 05:00:00 GMT", "content-range": "0-3", "authorization": "Basic YTpi",
		"x-forwarded-for": "203.0.113.7, 10.0.0.1", "x-forwarded-proto": "https", "user-agent": "docker/29 (linux, amd64)",
	}
	got, _ := see(t, newRequest("GET", "/v2/", "", sent, nil))
	for name, want := range sent {
		if values := got.Header.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("%s arrives as %q, sent as %q", name, values, want)
		}
	}
	for name, values := range map[string]string{
		"host": "registry.example.org:8443", "content-length": "99", "transfer-encoding": "chunked", "expect": "100-continue",
		"x-request-id": "the client's", "b\nd": "x", "bad": "a\r\nb: c", "": "x", "cookie": "a=b",
	} {
		sent[name] = values
	}
	event := newRequest("PUT", "/v2/", "", sent, []byte("1234"))
	event["cookies"] = []string{"a=1", "b=2"}
	got, _ = see(t, event)
	for name, want := range map[string]string{
		"Content-Length": "4", "Transfer-Encoding": "", "Expect": "", "X-Request-Id": "JKJaXmPLvHcESHA", "Bad": "", "Host": "", "Cookie": "a=1; b=2",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s arrives as %q, want %q", name, value, want)
		}
	}
	if got.Host != "registry.example.org:8443" || got.RemoteAddr != "203.0.113.7" || got.ContentLength != 4 {
		t.Errorf("host %q, from %q, %d bytes", got.Host, got.RemoteAddr, got.ContentLength)
	}
}

// TestNames: the characters that header names and values may have.
func TestNames(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // RFC 9110, 5.6.2
	sent, want := map[string]string{}, 0
	for c := range 0x80 {
		if sent["x-"+string(rune(c))] = "1"; 'A' <= c && c <= 'Z' {
			delete(sent, "x-"+string(rune(c))) // the same name as with a lower-case letter
		}
	}
	for _, c := range token {
		if c < 'A' || c > 'Z' {
			want++
		}
	}
	got, _ := see(t, newRequest("GET", "/v2/", "", sent, nil))
	arrived := 0
	for name := range got.Header {
		if strings.HasPrefix(name, "X-") && name != "X-Request-Id" {
			if arrived++; !strings.Contains(token, name[2:]) {
				t.Errorf("the header %q arrives", name)
			}
		}
	}
	if arrived != want {
		t.Errorf("%d headers arrive, want %d: %v", arrived, want, got.Header)
	}
	for c := range 0x80 {
		value := "a" + string(rune(c)) + "b"
		got, _ := see(t, newRequest("GET", "/v2/", "", map[string]string{"x": value}, nil))
		if arrives := got.Header.Get("X") == value; arrives != (c >= ' ' && c != 0x7f || c == '\t') {
			t.Errorf("the value %q arrives: %v", value, arrives)
		}
		event := newRequest("GET", "/v2/", "", nil, nil)
		event["cookies"] = []string{value}
		got, _ = see(t, event)
		if arrives := got.Header.Get("Cookie") == value; arrives != (c >= ' ' && c != 0x7f || c == '\t') {
			t.Errorf("the cookie %q arrives: %v", value, arrives)
		}
	}
	got, _ = see(t, newRequest("GET", "/v2/", "", map[string]string{"x": "\t a \t"}, nil))
	if _, cookie := got.Header["Cookie"]; cookie || got.Header.Get("X") != "a" {
		t.Errorf("headers %q", got.Header)
	}
}

// TestMethods: any token is a method, as in net/http.
func TestMethods(t *testing.T) {
	for _, method := range []string{"GET", "get", "Get", "A", "Z", "az-09", "!~"} {
		if got, _ := see(t, newRequest(method, "/v2/", "", nil, nil)); got.Method != method {
			t.Errorf("%s arrives as %s", method, got.Method)
		}
	}
}

// TestHosts: the host of the request comes from its header, or else from the gateway, and
// is empty if it would be more than a host in a URL.
func TestHosts(t *testing.T) {
	const domain = "id.execute-api.eu-central-1.amazonaws.com"
	for sent, want := range map[string]string{
		"": "", "a.b:8443": "a.b:8443", "[::1]:5000": "[::1]:5000", "!~": "!~",
		"a b": "", "a\x7f": "", "a/b": "", `a\b`: "", "a?b": "", "a#b": "", "a@b": "", `a"b`: "", "a<b": "", "a>b": "", "ä": "",
	} {
		got, _ := see(t, newRequest("GET", "/v2/", "", map[string]string{"HOST": sent}, nil))
		if got.Host != want {
			t.Errorf("the host %q arrives as %q, want %q", sent, got.Host, want)
		}
	}
	if got, _ := see(t, newRequest("GET", "/v2/", "", map[string]string{"hosts": "x"}, nil)); got.Host != domain {
		t.Errorf("without a header the host is %q", got.Host)
	}
}

// TestPaths: the stage is removed, and invalid characters in a query are escaped.
func TestPaths(t *testing.T) {
	for _, c := range []struct{ stage, path, query, want string }{
		{"prod", "/prod/v2/", "", "/v2/"},
		{"prod", "/prod", "", "/"},
		{"prod", "/production/v2/", "", "/production/v2/"},
		{"prod", "/v2/prod/", "", "/v2/prod/"},
		{"", "/v2/", "", "/v2/"},
		{"$default", "/$default/v2/", "", "/$default/v2/"},
		{"$default", "v2/", "", "/v2/"},
		{"$default", "/v2/", "a=!~&b=%41+", "/v2/?a=!~&b=%41+"},
		{"$default", "/v2/", "a=\x1f \x7f#\"", "/v2/?a=%1F%20%7F%23\""},
	} {
		event := newRequest("GET", c.path, c.query, nil, nil)
		event.context()["stage"] = c.stage
		if got, _ := see(t, event); got.RequestURI != c.want || got.URL.RequestURI() != c.want {
			t.Errorf("%s of stage %q arrives as %s, want %s", c.path, c.stage, got.RequestURI, c.want)
		}
	}
}

// TestBare: an event with its required fields only.
func TestBare(t *testing.T) {
	event := newRequest("GET", "/v2/", "", nil, nil)
	delete(event.context(), "requestId")
	delete(event, "body")
	got, body := see(t, event)
	for _, name := range []string{"Content-Length", "X-Request-Id", "Cookie"} {
		if values, found := got.Header[name]; found {
			t.Errorf("%s arrives as %q", name, values)
		}
	}
	if body != "" || got.ContentLength != 0 {
		t.Errorf("%d bytes %q", got.ContentLength, body)
	}
}

// TestTrustedHost: a Host header that names another host than the API's does not count.
func TestTrustedHost(t *testing.T) {
	const domain = "id.execute-api.eu-central-1.amazonaws.com"
	for sent, want := range map[string]string{
		"": domain, "registry.example.org": domain, domain + ".evil.example": domain, "evil@" + domain: domain,
		domain: domain, domain + ":8443": domain + ":8443", strings.ToUpper(domain): strings.ToUpper(domain),
	} {
		got, _ := see(t, newRequest("GET", "/v2/", "", map[string]string{"host": sent}, nil))
		if host := lambdahttp.Host(got); host != want {
			t.Errorf("the host %q counts as %q, want %q", sent, host, want)
		}
	}
	event := newRequest("GET", "/v2/", "", map[string]string{"host": "registry.example.org"}, nil)
	event["requestContext"].(map[string]any)["domainName"] = ""
	got, _ := see(t, event)
	if host := lambdahttp.Host(got); host != "registry.example.org" {
		t.Errorf("without a domain name the host is %q", host)
	}
}
