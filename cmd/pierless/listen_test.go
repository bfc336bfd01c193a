package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/access"
)

// TestListen: other machines may reach a registry with access control and TLS, or if the operator
// says so.
func TestListen(t *testing.T) {
	const token, tls = "--admin-token-sha256", "--tls-cert and --tls-key (or --behind-tls-proxy"
	closed := env.Config{AdminTokenSHA256: "a"}
	with := func(c env.Config, set func(*env.Config)) env.Config {
		set(&c)
		return c
	}
	files := func(c *env.Config) { c.TLSCert, c.TLSKey = "a", "b" }
	proxied := func(c *env.Config) { c.BehindTLSProxy = true }
	insecure := func(c *env.Config) { c.InsecureListen = true }
	for name, tt := range map[string]struct {
		config  env.Config
		missing []string
	}{
		"open":                 {env.Config{}, []string{token, tls}},
		"open, TLS":            {with(env.Config{}, files), []string{token}},
		"open, proxy":          {with(env.Config{}, proxied), []string{token}},
		"open, allowed":        {with(env.Config{}, insecure), nil},
		"closed":               {closed, []string{tls}},
		"closed, TLS":          {with(closed, files), nil},
		"closed, proxy":        {with(closed, proxied), nil},
		"closed, allowed":      {with(closed, insecure), nil},
		"open pulls, no TLS":   {with(closed, func(c *env.Config) { c.AnonymousPull = true }), []string{tls}},
		"a name is not enough": {with(env.Config{}, func(c *env.Config) { c.PublicHost, c.AllowHosts = "a.example", []string{"b"} }), []string{token, tls}},
	} {
		for _, listen := range []string{"0.0.0.0:5000", ":5000", "[::]:5000", "192.0.2.1:0", "registry.example:5000", "127.0.0.1.example:1"} {
			c := tt.config
			c.Listen = listen
			err := checkListen(c)
			if len(tt.missing) == 0 {
				if err != nil {
					t.Errorf("%s, %s: %v", name, listen, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), listen) || !strings.Contains(err.Error(), "--insecure-listen") {
				t.Errorf("%s, %s: %v, want an error with the address and --insecure-listen", name, listen, err)
				continue
			}
			for _, flag := range []string{token, tls} {
				if want := strings.Contains(strings.Join(tt.missing, " "), flag); strings.Contains(err.Error(), flag) != want {
					t.Errorf("%s: %v; names %s: %v", name, err, flag, !want)
				}
			}
		}
		for _, listen := range []string{"127.0.0.1:5000", "localhost:5000", "[::1]:0"} {
			c := tt.config
			c.Listen = listen
			if err := checkListen(c); err != nil {
				t.Errorf("%s, %s: %v", name, listen, err)
			}
		}
	}
}

// TestListenRefused: the command refuses before it creates a store, and variables count as flags.
func TestListenRefused(t *testing.T) {
	data := t.TempDir() + "/data"
	_, wait := startEnded(t, "serve", "--listen", "0.0.0.0:0", "--data-dir", data)
	if err := wait(); err == nil || !strings.Contains(err.Error(), "--insecure-listen") {
		t.Errorf("%v, want a refusal", err)
	}
	if err := hasStore(env.Config{Data: data}); err == nil {
		t.Error("the store was created")
	}
}

// TestServeNeedsItsToken: a registry with tokens or rules does not start without access control.
func TestServeNeedsItsToken(t *testing.T) {
	admin, sum := access.NewToken()
	for name, change := range map[string]struct{ method, path, body string }{
		"token": {"POST", "/v2/_pierless/access/tokens", `{"name": "ci", "grants": [{"repositories": ["**"], "actions": ["pull"]}]}`},
		"rules": {"PUT", "/v2/_pierless/access/rules", `{"anonymous": ["public/**"], "logins": []}`},
	} {
		data := t.TempDir()
		run := func(args ...string) (host string, stop func() error) {
			out, stop := start(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", data}, args...)...)
			return address(t, out), stop
		}
		_, stop := run()
		if err := stop(); err != nil {
			t.Errorf("%s: without rules: %v", name, err)
		}
		host, stop := run("--admin-token-sha256", sum)
		r, err := http.NewRequestWithContext(t.Context(), change.method, "http://"+host+change.path, strings.NewReader(change.body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("x", admin)
		r.Header.Set("If-Match", "*")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode > http.StatusCreated {
			t.Fatalf("%s: %s", name, resp.Status)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		_, wait := startEnded(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
		if err := wait(); err == nil || !strings.Contains(err.Error(), "--admin-token-sha256") {
			t.Errorf("%s: %v, want a refusal that names the flag", name, err)
		}
		_, stop = run("--admin-token-sha256", sum)
		if err := stop(); err != nil {
			t.Errorf("%s: with the hash again: %v", name, err)
		}
	}
}

// TestClientAddress: the log has the address that the proxy has appended; without a proxy the
// header is the client's and counts nothing.
func TestClientAddress(t *testing.T) {
	for _, proxied := range []bool{false, true} {
		out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), fmt.Sprintf("--behind-tls-proxy=%v", proxied))
		host := address(t, out)
		for i, tt := range []struct {
			header []string
			want   string
		}{
			{nil, "127.0.0.1"},
			{[]string{"203.0.113.7"}, "203.0.113.7"},
			{[]string{"10.0.0.1, 10.0.0.2, 203.0.113.7"}, "203.0.113.7"},
			{[]string{"10.0.0.1,203.0.113.7:4711"}, "203.0.113.7"},
			{[]string{"10.0.0.1", "2001:db8::7"}, "2001:db8::7"},
			{[]string{"[2001:db8::7]:4711"}, "2001:db8::7"},
			{[]string{"fe80::1%" + strings.Repeat("x", 999)}, "fe80::1"},
			{[]string{"203.0.113.7, unknown"}, "127.0.0.1"},
			{[]string{"203.0.113.7,"}, "127.0.0.1"},
			{[]string{"203.0.113.7", ""}, "127.0.0.1"},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/", nil)
			if err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprint("try-", i)
			r.Header["X-Forwarded-For"], r.Header["X-Request-Id"] = tt.header, []string{id}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			await(t, out, "id="+id+" ")
			want := tt.want
			if !proxied {
				want = "127.0.0.1"
			}
			if got := regexp.MustCompile("id=" + id + " .* ip=(\\S+)").FindStringSubmatch(out.String())[1]; got != want {
				t.Errorf("behind a proxy %v, %q: ip=%s, want %s", proxied, tt.header, got, want)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestChallengeBehindProxy: clients of the proxy are sent to https, even if the proxy sets no header.
func TestChallengeBehindProxy(t *testing.T) {
	_, sum := access.NewToken()
	for proxied, scheme := range map[bool]string{false: "http", true: "https"} {
		out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--admin-token-sha256", sum, "--anonymous-pull",
			fmt.Sprintf("--behind-tls-proxy=%v", proxied))
		host := address(t, out)
		resp, err := http.Get("http://" + host + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := fmt.Sprintf(`Bearer realm="%s://%s/v2/_pierless/token",service="%s"`, scheme, host, host)
		if got := resp.Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("behind a proxy %v: %s, want %s", proxied, got, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestOddTargets: every request that is not a probe goes through access control and the log.
func TestOddTargets(t *testing.T) {
	_, sum := access.NewToken()
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--admin-token-sha256", sum)
	host := address(t, out)
	for i, tt := range []struct {
		line   string
		status int
	}{
		{"OPTIONS *", 401},
		{"OPTIONS /v2/", 401},
		{"GET *", 401},
		{"GET http://other.example/v2/", 401},
		{"CONNECT other.example:443", 401},
		{"GET /", 401},
		{"GET //healthz", 401},
		{"GET /healthz/", 401},
		{"GET /HEALTHZ", 401},
		{"GET /v2/../healthz", 401},
		{"GET /healthz/../v2/", 401},
		{"GET /debug/pprof/", 401},
		{"TRACE /v2/", 401},
		{"GET /healthz", 200},
		{"HEAD /healthz", 200},
		{"GET /healthz?x=y", 200},
		{"POST /healthz", 405},
		{"DELETE /healthz", 405},
		{"OPTIONS /healthz", 405},
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("odd-%d-", i)
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n", tt.line, host, id)
		method, _, _ := strings.Cut(tt.line, " ")
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		conn.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %s, want %d", tt.line, resp.Status, tt.status)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess the type: %v", tt.line, resp.Header)
		}
		if tt.status == 401 {
			await(t, out, "id="+id)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestServeGuardByRules: on loopback the guard concerns what the rules open to anonymous callers,
// and no caller with a token.
func TestServeGuardByRules(t *testing.T) {
	admin, sum := access.NewToken()
	h := newTestHandler(t, env.Config{AdminTokenSHA256: sum, Listen: "127.0.0.1:5000", PublicHost: "public.example"}, "127.0.0.1:5000")
	send := func(method, path, host, password, body string) int {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = host
		r.Header.Set("If-Match", "*")
		if password != "" {
			r.SetBasicAuth("x", password)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	const tags, evil = "/v2/public/a/tags/list", "evil.example"
	if got := send("GET", tags, evil, "", ""); got != 401 {
		t.Errorf("before the rule: %d, want 401", got)
	}
	if got := send("PUT", "/v2/_pierless/access/rules", "registry.example", admin, `{"anonymous": ["public/**"], "logins": []}`); got != 200 {
		t.Fatalf("set rules through a proxy with another name: %d", got)
	}
	for _, tt := range []struct {
		host, password string
		want           int
	}{
		{evil, "", 403}, {"127.0.0.1:5000", "", 404}, {"public.example", "", 404}, {evil, admin, 404},
	} {
		if got := send("GET", tags, tt.host, tt.password, ""); got != tt.want {
			t.Errorf("Host %s, with a token: %v: %d, want %d", tt.host, tt.password != "", got, tt.want)
		}
	}
}
