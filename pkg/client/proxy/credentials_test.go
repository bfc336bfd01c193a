package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestCredentials: the client's credentials go with each request to the registry, and never to a
// store.
func TestCredentials(t *testing.T) {
	s3, wrap := withStore(t)
	up := newUpstream(t, wrap)
	s := newSite(t, up.URL)
	for name, send := range sequences() {
		send(s.as(t, "Basic "+fmt.Sprint(len(name))), "app", random(large)).want(http.StatusCreated)
	}
	s.proxy.Settle()
	for _, r := range up.requests("") {
		if !strings.Contains(r, " Basic ") {
			t.Errorf("without credentials: %s", r)
		}
	}
	if s3.puts == 0 || len(s3.leaked) > 0 {
		t.Errorf("%d PUTs to the store, with the credentials %q", s3.puts, s3.leaked)
	}
}

// as returns the same proxy for a client with these credentials.
func (s *site) as(t *testing.T, authorization string) *site {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", authorization)
		r.Host = strings.TrimPrefix(s.url, "http://")
		s.proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return &site{t: t, proxy: s.proxy, url: front.URL, spool: s.spool}
}

// TestNoCredentials: a PUT without credentials works if the registry allows it, and the proxy
// asks for no token.
func TestNoCredentials(t *testing.T) {
	closed := false
	up := newUpstream(t, func(_ *upstream, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" && closed {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	s := newSite(t, up.URL)
	content := random(large)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	closed = true
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusUnauthorized, oci.Unauthorized)
	if got := up.requests("/token"); len(got) > 0 {
		t.Errorf("asked for a token: %q", got)
	}
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil, "Authorization", "Basic x").want(http.StatusCreated)
}
