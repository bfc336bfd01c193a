package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// TestBearerChallenge: with anonymous pull a refusal names the token endpoint at the
// host and the scheme that the client used.
func TestBearerChallenge(t *testing.T) {
	_, sum := access.NewToken()
	h := door(t, sum, true)
	for name, c := range map[string]struct {
		host, local, forwarded string
		tls                    bool
		want                   string // realm up to the path; empty: Basic
	}{
		"plain, as it arrived":                 {host: "registry.lan:5000", local: "10.0.0.7:5000", want: "http://registry.lan:5000"},
		"plain, port 80":                       {host: "registry.lan", local: "10.0.0.7:80", want: "http://registry.lan"},
		"plain, IPv6":                          {host: "[fd00::1]:5000", local: "[fd00::1]:5000", want: "http://[fd00::1]:5000"},
		"loopback":                             {host: "127.0.0.1:5000", local: "127.0.0.1:5000", want: "http://127.0.0.1:5000"},
		"loopback through a port":              {host: "localhost:5001", local: "172.17.0.2:5000", want: "http://localhost:5001"},
		"IPv6 loopback through a port":         {host: "[::1]:5001", local: "172.17.0.2:5000", want: "http://[::1]:5001"},
		"IPv6 loopback, port 80":               {host: "[::1]", local: "172.17.0.2:5000", want: "http://[::1]"},
		"TLS":                                  {host: "registry.example.com", local: "10.0.0.7:443", tls: true, want: "https://registry.example.com"},
		"TLS on loopback":                      {host: "127.0.0.1:5000", local: "127.0.0.1:5000", tls: true, want: "https://127.0.0.1:5000"},
		"TLS ended in front":                   {host: "registry.example.com", local: "127.0.0.1:5000", want: "https://registry.example.com"},
		"TLS ended in front, other port":       {host: "registry.example.com:8443", local: "127.0.0.1:5000", want: "https://registry.example.com:8443"},
		"told https":                           {host: "127.0.0.1:5000", local: "127.0.0.1:5000", forwarded: "https", want: "https://127.0.0.1:5000"},
		"told http":                            {host: "registry.example.com", local: "127.0.0.1:5000", forwarded: "http", want: "http://registry.example.com"},
		"told by two":                          {host: "registry.example.com", local: "10.0.0.7:80", forwarded: "HTTPS, http", want: "https://registry.example.com"},
		"told nonsense":                        {host: "registry.example.com", local: "127.0.0.1:5000", forwarded: "javascript", want: "https://registry.example.com"},
		"a function":                           {host: "abc.execute-api.eu-central-1.amazonaws.com", forwarded: "https", want: "https://abc.execute-api.eu-central-1.amazonaws.com"},
		"a function without X-Forwarded-Proto": {host: "abc.execute-api.eu-central-1.amazonaws.com", want: "https://abc.execute-api.eu-central-1.amazonaws.com"},
		"no host":                              {local: "10.0.0.7:80"},
		"a host that ends the string":          {host: `a",scope="x`, local: "10.0.0.7:80"},
		"a host that is a path":                {host: "a/b", local: "10.0.0.7:80"},
	} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Host = c.host
		if c.local != "" {
			local, err := net.ResolveTCPAddr("tcp", c.local)
			if err != nil {
				t.Fatal(err)
			}
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-Proto", c.forwarded)
		}
		if c.tls {
			r.TLS = httptest.NewRequest("GET", "https://x/", nil).TLS
		}
		want := realm
		if c.want != "" {
			want = `Bearer realm="` + c.want + `/v2/_pierless/token",service="` + c.host + `"`
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || got != want || w.Header().Get("X-Registry-Challenge") != got {
			t.Errorf("%s: %d with %s, want %s", name, w.Code, got, want)
		}
	}
	for _, path := range []string{"/v2/", "/v2/a/blobs/uploads/", "/v1/"} {
		if got := ask(h, "POST", path).Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") {
			t.Errorf("%s is refused with %q", path, got)
		}
	}
}

// TestTokenEndpoint: it returns the password that it was sent, if it is right.
func TestTokenEndpoint(t *testing.T) {
	token, sum := access.NewToken()
	other, _ := access.NewToken()
	form := func(pairs ...string) string {
		f := url.Values{"service": {"x"}, "scope": {"repository:a/b:pull,push"}, "client_id": {"containerd-client"}}
		for i := 0; i < len(pairs); i += 2 {
			f.Set(pairs[i], pairs[i+1])
		}
		return f.Encode()
	}
	for name, c := range map[string]struct {
		method, authorization, form string
		open                        string // with anonymous pull; empty: 401
		closed                      string // without
	}{
		"none":                    {method: "GET", open: "anonymous"},
		"empty user and password": {method: "GET", authorization: basic("", ""), open: "anonymous"},
		"right":                   {method: "GET", authorization: basic("admin", token), open: token, closed: token},
		"right, Bearer":           {method: "GET", authorization: "Bearer " + token, open: token, closed: token},
		"wrong":                   {method: "GET", authorization: basic("admin", other)},
		"user without password":   {method: "GET", authorization: basic("admin", "")},
		"the word":                {method: "GET", authorization: basic("admin", "anonymous")},
		"the sum":                 {method: "GET", authorization: basic("admin", sum)},
		"form":                    {method: "POST", form: form("grant_type", "password", "username", "admin", "password", token), open: token, closed: token},
		"form, wrong":             {method: "POST", form: form("grant_type", "password", "username", "admin", "password", other)},
		"form, without password":  {method: "POST", form: form("grant_type", "password", "username", "admin")},
		"form, empty":             {method: "POST", form: form("grant_type", "password"), open: "anonymous"},
		"form, refresh token":     {method: "POST", form: form("grant_type", "refresh_token", "refresh_token", token), open: token, closed: token},
		"form, wrong refresh":     {method: "POST", form: form("grant_type", "refresh_token", "refresh_token", other)},
		"form, other grant":       {method: "POST", form: form("grant_type", "client_credentials", "password", token)},
		"form, none":              {method: "POST"},
		"form, malformed":         {method: "POST", form: "%zz"},
		"form, too long":          {method: "POST", form: form("grant_type", "password", "username", "admin", "password", token, "x", strings.Repeat("x", 16<<10))},
		"form of GET":             {method: "GET", form: form("grant_type", "password", "username", "admin", "password", other), open: "anonymous"},
		"header before form":      {method: "POST", authorization: basic("admin", token), form: form("grant_type", "password", "username", "admin", "password", other), open: token, closed: token},
	} {
		for anonymous, want := range map[bool]string{true: c.open, false: c.closed} {
			var log bytes.Buffer
			opts := server.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
			guard, err := auth.New(sum, directory{anonymous})
			if err != nil {
				t.Fatal(err)
			}
			opts.Authorize = guard.Authorize
			r := httptest.NewRequest(c.method, "/v2/_pierless/token?service=x&scope=repository:a/b:pull,push&account=admin&offline_token=true", strings.NewReader(c.form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			w := httptest.NewRecorder()
			server.Base(nil, opts).ServeHTTP(w, r)
			if want == "" {
				var errs oci.Errors
				err := json.Unmarshal(w.Body.Bytes(), &errs)
				if w.Code != http.StatusUnauthorized || err != nil || errs[0].Code != oci.Unauthorized || w.Header().Get("WWW-Authenticate") != realm {
					t.Errorf("%s, anonymous pull %v: %d %s, want 401 with a Basic challenge", name, anonymous, w.Code, w.Body)
				}
			} else {
				wantToken(t, name, w, want)
			}
			if strings.Contains(log.String(), token) || strings.Contains(log.String(), other) || !strings.Contains(log.String(), "route=token") {
				t.Errorf("%s: the log has the token, or no line: %s", name, &log)
			}
		}
	}
}

// TestFormElsewhere: a form is a login at the token endpoint alone.
func TestFormElsewhere(t *testing.T) {
	token, sum := access.NewToken()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode()
	for path, want := range map[string]int{"/v2/_pierless/token": 299, "/v2/a/blobs/uploads/": http.StatusUnauthorized} {
		w := httptest.NewRecorder()
		door(t, sum, true).ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(form)))
		if w.Code != want {
			t.Errorf("%s answers a form with %d, want %d", path, w.Code, want)
		}
	}
}

func wantToken(t *testing.T, name string, w *httptest.ResponseRecorder, want string) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Errorf("%s: %d %s", name, w.Code, w.Body)
		return
	}
	issued, err := time.Parse(time.RFC3339, got["issued_at"].(string))
	if got["token"] != want || got["access_token"] != want || got["expires_in"].(float64) < 60 || err != nil || time.Since(issued).Abs() > time.Hour || len(got) != 4 {
		t.Errorf("%s: %v, want the token %s", name, got, want)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control is %q", name, w.Header().Get("Cache-Control"))
	}
}

// TestMayPush: only a caller without credentials may not.
func TestMayPush(t *testing.T) {
	token, sum := access.NewToken()
	for sent, want := range map[string]bool{"Bearer " + token: true, "Bearer anonymous": false, "": false} {
		guard, err := auth.New(sum, directory{true})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/v2/a/manifests/t", nil)
		if sent != "" {
			r.Header.Set("Authorization", sent)
		}
		req := route.Request{Kind: route.Manifest, Name: "a", Reference: oci.Reference{Tag: "t"}}
		ctx, err := guard.Authorize(httptest.NewRecorder(), r, req, route.API().Needs(req.Kind, r.Method))
		if err != nil {
			t.Errorf("%q was refused: %v", sent, err)
		} else if auth.May(ctx, "a", route.Push) != want {
			t.Errorf("%q may push: %v", sent, !want)
		}
	}
	if !auth.May(t.Context(), "a", route.Push) || auth.Token(t.Context()) != "anonymous" {
		t.Error("an open registry is not open")
	}
}
