package doctor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/verify"
	"github.com/pierless/pierless/pkg/verify/doctor"
)

// serve starts a registry and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// examine runs the doctor as the administrator.
func examine(t *testing.T, opts doctor.Options) *verify.Report {
	t.Helper()
	opts.Username, opts.Password = "admin", password
	report, err := doctor.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func embedded(t *testing.T) *cloud {
	t.Helper()
	if !storetest.Embedded {
		t.Skip("the wrappers do not see what is fetched from S3 itself")
	}
	return newCloud(t)
}

// TestRight: a registry that is right gives no finding, open for pull or closed, and
// nothing stays in it.
func TestRight(t *testing.T) {
	for name, anonymousPull := range map[string]bool{"closed": false, "open for pull": true} {
		t.Run(name, func(t *testing.T) {
			c := embedded(t)
			calls := 0
			report := examine(t, doctor.Options{URL: serve(t, c.door(anonymousPull)), Progress: func(done, total int, _ verify.Result) {
				if calls++; done != calls || total < done {
					t.Errorf("progress: %d of %d at call %d", done, total, calls)
				}
			}})
			for _, f := range report.Results {
				if f.Status != verify.Passed {
					t.Errorf("%s is %s: %s\n%v", f.ID, f.Status, f.Detail, f.Exchange)
				}
			}
			seen := finding(t, report, "anonymous-pull").Detail
			if want := map[bool]string{true: "open", false: "closed"}[anonymousPull]; !strings.Contains(seen, "pull is "+want) {
				t.Errorf("anonymous-pull: %s", seen)
			}
			for _, want := range []string{"4.6 MB: 202", "5.5 MB: 413", "11.0 MB: 413", "largest accepted body was 4.6 MB", "serve"} {
				if seen := finding(t, report, "body-limit").Detail; !strings.Contains(seen, want) {
					t.Errorf("body-limit lacks %q: %s", want, seen)
				}
			}
			c.wantEmpty(report)
		})
	}
}

// wantEmpty fails unless the examination has deleted all that it pushed.
func (c *cloud) wantEmpty(report *verify.Report) {
	c.t.Helper()
	did := report.CleanUp
	if did.Kept || did.Removed.Blobs == 0 || did.Remaining != (verify.Counts{Repositories: did.Remaining.Repositories}) {
		c.t.Errorf("clean-up: %+v", did)
	}
	if names := c.catalog(); len(names) != did.Remaining.Repositories {
		c.t.Errorf("catalog: %v, %+v", names, did)
	}
	storetest.Sweep(c.t, c.reg, &c.clock)
	if left := storetest.Contents(c.t); len(left) > 0 {
		c.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func (c *cloud) catalog() []string {
	c.t.Helper()
	rec := record(c.registry, httptest.NewRequest(http.MethodGet, "/v2/_catalog", nil))
	var list struct{ Repositories []string }
	if err := json.Unmarshal(rec.body, &list); err != nil {
		c.t.Fatalf("catalog: %s, %v", rec.body, err)
	}
	return list.Repositories
}

// TestCancelled: after Ctrl-C nothing is left, either.
func TestCancelled(t *testing.T) {
	c := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	report, err := doctor.Run(ctx, doctor.Options{
		URL: serve(t, c.door(false)), Username: "admin", Password: password, Only: notBodies(),
		Progress: func(_, _ int, r verify.Result) {
			if r.ID == "link-header" {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	c.wantEmpty(report)
}

// TestKeep: nothing is deleted, and the report names the repository.
func TestKeep(t *testing.T) {
	c := embedded(t)
	report := examine(t, doctor.Options{URL: serve(t, c.door(false)), Only: []string{"head-*"}, Keep: true})
	names := c.catalog()
	if len(names) != 1 || !report.CleanUp.Kept || report.CleanUp.Prefix != names[0] || len(report.Results) != 2 {
		t.Fatalf("catalog: %v, %+v", names, report.CleanUp)
	}
	for name, write := range map[string]func(io.Writer, *verify.Report) error{"text": doctor.WriteText, "JSON": doctor.WriteJSON} {
		var b bytes.Buffer
		if err := write(&b, report); err != nil || !strings.Contains(b.String(), "kept") || !strings.Contains(b.String(), names[0]) {
			t.Errorf("%s: %v, %s", name, err, b.String())
		}
	}
}

func finding(t *testing.T, r *verify.Report, id string) verify.Result {
	t.Helper()
	i := slices.IndexFunc(r.Results, func(f verify.Result) bool { return f.ID == id })
	if i < 0 {
		t.Fatalf("no finding %q", id)
	}
	return r.Results[i]
}

// TestWrong: each fault is found by its check, with what to set, and by no other.
func TestWrong(t *testing.T) {
	for _, w := range wrongRegistries() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			c := embedded(t)
			opts := doctor.Options{URL: serve(t, w.wrap(c, c.door(false)))}
			for _, check := range doctor.Checks() { // bodies take long: only where the fault is about them
				if _, about := w.caught[check.ID]; about || !strings.HasPrefix(check.ID, "body-") {
					opts.Only = append(opts.Only, check.ID)
				}
			}
			report := examine(t, opts)
			for _, f := range report.Results {
				advice, caught := w.caught[f.ID]
				switch {
				case caught && (f.Status != verify.Failed || !strings.Contains(f.Set, advice)):
					t.Errorf("%s is %s: %s\nset: %s\nwant advice with %q", f.ID, f.Status, f.Detail, f.Set, advice)
				case !caught && f.Status == verify.Failed:
					t.Errorf("%s is %s: %s\n%v", f.ID, f.Status, f.Detail, f.Exchange)
				}
			}
		})
	}
}

// TestEveryCheckCanFail: a check that no wrong registry fails is suspect.
func TestEveryCheckCanFail(t *testing.T) {
	caught := map[string]bool{
		"front-door": true, "http2": true, "latency": true, // these report
		"tls": true, "http-redirect": true, "api-endpoint": true, // TestTLS and its like
	}
	for _, w := range wrongRegistries() {
		for id := range w.caught {
			caught[id] = true
		}
	}
	for _, c := range doctor.Checks() {
		if !caught[c.ID] {
			t.Errorf("no wrong registry is caught by %s", c.ID)
		}
		if c.Requirement == "" || c.Impact == "" {
			t.Errorf("%s does not say what it asks and who breaks", c.ID)
		}
	}
}

// world is a public internet: host names that lead to servers of the test.
type world map[string]string // host:port, and the address to dial

func (w world) options(host string, trust *httptest.Server) doctor.Options {
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if trust != nil {
		transport.TLSClientConfig = trust.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		to, found := w[address]
		if strings.HasPrefix(address, "127.0.0.1:") { // where direct uploads go
			to, found = address, true
		}
		if !found {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	return doctor.Options{URL: host, Transport: transport, Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		if strings.HasSuffix(host, ".internal") {
			return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("52.219.1.1")}, nil
	}}
}

func secure(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// public puts a cloud behind https://example.com, with its store beside it.
func (c *cloud) public(t *testing.T, wraps ...wrap) (world, *httptest.Server) {
	t.Helper()
	h := answers(http.MethodGet, toBlob, moveStore("https://store.example.com"))(c, c.door(false))
	for _, w := range wraps {
		h = w(c, h)
	}
	srv := secure(t, h)
	store := secure(t, http.HandlerFunc(c.serveStore))
	return world{"example.com:443": srv.Listener.Addr().String(), "store.example.com:443": store.Listener.Addr().String()}, srv
}

func moveStore(base string) func(*cloud, *reply) {
	return func(c *cloud, r *reply) {
		r.header.Set("Location", strings.Replace(r.header.Get("Location"), c.store.URL, base, 1))
	}
}

func notBodies() (ids []string) {
	for _, c := range doctor.Checks() {
		if !strings.HasPrefix(c.ID, "body-") {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func TestPublic(t *testing.T) {
	closedPort := func(world) {}
	redirects := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusMovedPermanently)
	})
	for _, c := range []struct {
		name   string
		caught map[string]string
		wraps  []wrap
		change func(world)
	}{
		{"right", nil, nil, closedPort},
		{"right, with a redirect on port 80", nil, nil, func(w world) { w["example.com:80"] = strings.TrimPrefix(serve(t, redirects), "http://") }},
		{
			"plain HTTP too",
			map[string]string{"http-redirect": "redirect-to-https"},
			nil, func(w world) {
				w["example.com:80"] = strings.TrimPrefix(serve(t, http.NotFoundHandler()), "http://")
				w["example.com:80"] = strings.TrimPrefix(serve(t, plain()), "http://")
			},
		},
		{
			"store on a private address",
			map[string]string{"presigned-host": "AWS_ENDPOINT_URL_S3"},
			[]wrap{answers(http.MethodGet, toBlob, replaceInLocation("store.example.com", "store.internal"))},
			closedPort,
		},
		{
			"store without TLS",
			map[string]string{"presigned-host": "with https"},
			[]wrap{answers(http.MethodGet, toBlob, replaceInLocation("https://", "http://"))},
			func(w world) { w["store.example.com:80"] = "127.0.0.1:1" },
		},
		{
			"bucket with dots",
			map[string]string{"presigned-host": "without dots"},
			[]wrap{answers(http.MethodGet, toBlob, replaceInLocation("store.example.com", "my.bucket.s3.eu-central-1.amazonaws.com"))},
			closedPort,
		},
		{
			"execute-api in Location",
			map[string]string{"upload-location": "relative Location"},
			[]wrap{answers(http.MethodPost, toUploads, absoluteLocation("https://x.execute-api.eu-central-1.amazonaws.com"))},
			closedPort,
		},
		{
			"http in Location",
			map[string]string{"upload-location": "X-Forwarded-Proto"},
			[]wrap{answers(http.MethodPost, toUploads, absoluteLocation("http://example.com"))},
			closedPort,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, srv := embedded(t).public(t, c.wraps...)
			c.change(w)
			opts := w.options("example.com", srv)
			opts.Only = notBodies()
			for _, f := range examine(t, opts).Results {
				advice, caught := c.caught[f.ID]
				if caught != (f.Status == verify.Failed) || !strings.Contains(f.Set, advice) {
					t.Errorf("%s is %s: %s\nset: %s", f.ID, f.Status, f.Detail, f.Set)
				}
				if f.ID == "http2" && f.Detail != "HTTP/2.0" {
					t.Errorf("http2: %s", f.Detail)
				}
			}
		})
	}
}

func plain() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
}

// TestTLS: without trust, nothing is asked and no password is sent.
func TestTLS(t *testing.T) {
	asked := 0
	srv := secure(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	report := examine(t, world{"example.com:443": srv.Listener.Addr().String()}.options("example.com", nil))
	for _, f := range report.Results {
		want, special := map[string]verify.Status{"tls": verify.Failed, "cleanup": verify.Passed}[f.ID]
		if !special {
			want = verify.Skipped
		}
		if f.Status != want {
			t.Errorf("%s is %s, want %s: %s", f.ID, f.Status, want, f.Detail)
		}
	}
	if asked > 0 || !strings.Contains(finding(t, report, "tls").Set, "CertificateArn") {
		t.Errorf("%d requests; %s", asked, finding(t, report, "tls").Set)
	}
	opts := world{"example.com:80": strings.TrimPrefix(serve(t, embedded(t).door(false)), "http://")}.options("http://example.com", nil)
	opts.Only = []string{"tls"}
	if f := finding(t, examine(t, opts), "tls"); f.Status != verify.Failed || !strings.Contains(f.Set, "https") {
		t.Errorf("plain HTTP to a public host is %s: %s", f.Status, f.Set)
	}
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	opts = world{"example.com:443": old.Listener.Addr().String()}.options("example.com", old)
	transport := opts.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2, transport.TLSClientConfig.MinVersion = false, tls.VersionTLS10
	opts.Only = []string{"tls"}
	if f := finding(t, examine(t, opts), "tls"); f.Status != verify.Failed || !strings.Contains(f.Set, "SecurityPolicy") {
		t.Errorf("TLS 1.1 is %s: %s", f.Status, f.Detail)
	}
}

func TestAPIEndpoint(t *testing.T) {
	c := embedded(t)
	own := serve(t, c.door(false))
	closed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { gatewayFault(w, http.StatusNotFound, "Not Found") })
	for _, e := range []struct {
		endpoint string
		want     verify.Status
		advice   string
	}{
		{serve(t, c.door(false)), verify.Failed, "DisableExecuteApiEndpoint"},
		{serve(t, closed), verify.Passed, ""},
		{own, verify.Skipped, ""},
		{"http://127.0.0.1:1", verify.Skipped, ""},
	} {
		f := finding(t, examine(t, doctor.Options{URL: own, APIEndpoint: e.endpoint, Only: []string{"api-endpoint"}}), "api-endpoint")
		if f.Status != e.want || !strings.Contains(f.Set, e.advice) {
			t.Errorf("%s is %s: %s", e.endpoint, f.Status, f.Detail)
		}
	}
}

func TestCannot(t *testing.T) {
	own := serve(t, embedded(t).door(false))
	for want, opts := range map[string]doctor.Options{
		"with these credentials": {URL: own, Username: "admin", Password: "no"},
		"without credentials":    {URL: own},
		"connection refused":     {URL: "127.0.0.1:1"},
		"not the address":        {URL: "ftp://x"},
		"\"ftp://y\" is not":     {URL: own, APIEndpoint: "ftp://y"},
		"no ID matches":          {URL: own, Only: []string{"nothing"}},
	} {
		if _, err := doctor.Run(t.Context(), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opts, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	opts := doctor.Options{URL: own, Username: "admin", Password: password, Progress: func(int, int, verify.Result) { cancel() }}
	if _, err := doctor.Run(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestReportHidesTokens: an answer of the token endpoint is not shown.
func TestReportHidesTokens(t *testing.T) {
	c := embedded(t)
	h := answers(http.MethodGet, regexp.MustCompile(`/_pierless/token`), func(_ *cloud, r *reply) {
		r.setBody([]byte(`{"id_token":"` + password + `"}`))
	})(c, c.door(true))
	report := examine(t, doctor.Options{URL: serve(t, h), Only: []string{"login"}})
	var js bytes.Buffer
	if err := doctor.WriteJSON(&js, report); err != nil {
		t.Fatal(err)
	}
	if finding(t, report, "login").Status != verify.Failed || strings.Contains(js.String(), `id_token`) {
		t.Errorf("the report shows a token: %s", &js)
	}
}

// TestReport: what is wrong is shown in full, without secrets.
func TestReport(t *testing.T) {
	c := embedded(t)
	h := answers(anyMethod, all, func(_ *cloud, r *reply) { r.header.Del("WWW-Authenticate") })(c, c.door(false))
	report := examine(t, doctor.Options{URL: serve(t, h), Only: []string{"challenge", "presigned-*"}})
	report.Started = time.Time{}
	var text, js bytes.Buffer
	if err := errors.Join(doctor.WriteText(&text, report), doctor.WriteJSON(&js, report)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WRONG  challenge", "  ok   presigned-get", "set:    each AWS::ApiGatewayV2::Integration", "> GET http", "< 401", "Authorization: (not shown)", "6 checks", "1 wrong"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
	for _, secret := range []string{password + "\"", "YWRtaW4", "X-Amz-Signature"} {
		if strings.Contains(js.String(), secret) {
			t.Errorf("the report has %q:\n%s", secret, js.String())
		}
	}
	var got struct {
		OK       bool
		Totals   map[string]int
		Findings []struct{ ID, Verdict, Set string }
	}
	if err := json.Unmarshal(js.Bytes(), &got); err != nil || got.OK || got.Totals["wrong"] != 1 || got.Findings[0].ID != "challenge" || got.Findings[0].Verdict != "wrong" {
		t.Errorf("%+v, %v", got, err)
	}
}
