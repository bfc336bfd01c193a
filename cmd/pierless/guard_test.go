package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
)

// newTestHandler returns the handler of serve for a listen address.
func newTestHandler(t *testing.T, c env.Config, at string) http.Handler {
	t.Helper()
	store, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	addr, err := net.ResolveTCPAddr("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	c.ServeBlobs = true
	log := slog.New(slog.DiscardHandler)
	h, err := newHandler(registry.New(store.Metadata(), store.Blobs(), registry.Options{Log: log}), store.Metadata(), c, addr, log)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestServeGuard: web pages cannot use an open registry, or one on loopback with anonymous pull;
// the others have access control only.
func TestServeGuard(t *testing.T) {
	_, sum := access.NewToken()
	open, closed, readable := env.Config{}, env.Config{AdminTokenSHA256: sum}, env.Config{AdminTokenSHA256: sum, AnonymousPull: true}
	const loopback, remote = "127.0.0.1:5000", "0.0.0.0:5000"
	for _, tt := range []struct {
		name         string
		config       env.Config
		at           string
		evil, dotted int // status of GET /v2/ for a rebound host, and for one of the local network
	}{
		{"open", open, loopback, 403, 403},
		{"open, remote", open, remote, 403, 200},
		{"closed", closed, loopback, 401, 401},
		{"closed, remote", closed, remote, 401, 401},
		{"anonymous pull", readable, loopback, 403, 403},
		{"anonymous pull, remote", readable, remote, 200, 200},
	} {
		c := tt.config
		c.Listen, c.AllowHosts = tt.at, []string{"registry.example"}
		h := newTestHandler(t, c, tt.at)
		get := func(host string, header ...string) int {
			r := httptest.NewRequest(http.MethodGet, "/v2/app/tags/list", nil)
			r.Host = host
			if len(header) > 0 {
				r.Header.Set(header[0], header[1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code == http.StatusForbidden && !strings.Contains(w.Body.String(), `"DENIED"`) {
				t.Errorf("%s, %s: %s", tt.name, host, w.Body)
			}
			if w.Code == http.StatusNotFound { // the repository does not exist
				return http.StatusOK
			}
			return w.Code
		}
		allowed := http.StatusOK
		if c.AdminTokenSHA256 != "" && !c.AnonymousPull {
			allowed = http.StatusUnauthorized
		}
		// Clients, forwarded ports, and probes from other hosts.
		for _, host := range []string{
			"127.0.0.1:5000", "localhost:5000", "[::1]:5000", "LOCALHOST:5000", "a.localhost:5000", "127.0.0.1", "localhost:31999",
			"10.0.0.1:5000", "registry.example", "registry.example:443",
		} {
			if got := get(host); got != allowed {
				t.Errorf("%s: Host %s: %d, want %d", tt.name, host, got, allowed)
			}
		}
		if got := get("registry:5000"); got != tt.dotted {
			t.Errorf("%s: a name without a dot: %d, want %d", tt.name, got, tt.dotted)
		}
		for _, host := range []string{"evil.example", "evil.example:5000", "127.0.0.1.evil.example:5000", "localhost.evil.example:5000"} {
			if got := get(host); got != tt.evil {
				t.Errorf("%s: Host %s: %d, want %d", tt.name, host, got, tt.evil)
			}
		}
		for _, header := range [][2]string{
			{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		} {
			if got := get("127.0.0.1:5000", header[0], header[1]); got != tt.evil {
				t.Errorf("%s: %s: %s: %d, want %d", tt.name, header[0], header[1], got, tt.evil)
			}
		}
	}
}

// TestServeRebinding: web pages can read, delete and store nothing in an open registry.
func TestServeRebinding(t *testing.T) {
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--request-log=false")
	host := address(t, out)
	send := func(method, path string, header map[string]string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+path, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range header {
			r.Header.Set(name, value)
		}
		r.Host = header["Host"]
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const blob = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for _, c := range []struct {
		method, path string
		header       map[string]string
		want         int
	}{
		{"GET", "/v2/_catalog", map[string]string{"Host": "evil.example"}, 403},
		{"DELETE", "/v2/x/img/manifests/odd", map[string]string{"Host": "evil.example:5000", "Origin": "http://evil.example:5000"}, 403},
		{"POST", "/v2/csrf/blobs/uploads/?digest=" + blob, map[string]string{"Origin": "http://evil.example", "Content-Type": "text/plain"}, 403},
		{"GET", "/v2/csrf/blobs/" + blob, nil, 404},
		{"POST", "/v2/csrf/blobs/uploads/?digest=" + blob, nil, 201},
		{"GET", "/healthz", map[string]string{"Host": "evil.example"}, 200}, // probes use any name
	} {
		if got := send(c.method, c.path, c.header); got != c.want {
			t.Errorf("%s %s %v: %d, want %d", c.method, c.path, c.header, got, c.want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(out.String(), "msg=request") {
		t.Errorf("requests are logged: %s", out)
	}
}
