package proxy_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// limit is the largest request of API Gateway and Lambda, in bytes.
const limit = 4<<20 + 1<<19

// upstream is a registry behind a gateway with a limit. It records requests.
type upstream struct {
	*httptest.Server
	reg *registry.Registry

	mu    sync.Mutex
	seen  []string                         // "method path authorization"
	fault func(*http.Request) (status int) // answered instead, unless 0
}

// newUpstream starts the registry. wrap, if not nil, wraps its handler.
func newUpstream(t *testing.T, wrap func(*upstream, http.Handler) http.Handler) *upstream {
	t.Helper()
	names, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	u := &upstream{reg: registry.New(names, blobs, registry.Options{Log: quiet})}
	var handler http.Handler = server.All(u.reg, server.Options{Log: quiet, ServeBlobs: storetest.Embedded})
	if wrap != nil {
		handler = wrap(u, handler)
	}
	u.Server = httptest.NewServer(u.door(handler))
	t.Cleanup(u.Close)
	return u
}

// door reads whole bodies, as API Gateway does, and answers 413 in its form.
func (u *upstream) door(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = append(u.seen, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization"))
		fault := u.fault
		u.mu.Unlock()
		if fault != nil {
			if status := fault(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return
		}
		if len(body) > limit {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			fmt.Fprint(w, `{"message":"Request Entity Too Large"}`)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		next.ServeHTTP(w, r)
	})
}

func (u *upstream) setFault(f func(*http.Request) int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fault = f
}

// requests returns the recorded requests that contain a text.
func (u *upstream) requests(text string) (found []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.seen {
		if strings.Contains(s, text) {
			found = append(found, s)
		}
	}
	return found
}

// store is a fake S3 with direct uploads over it: docs/direct-uploads.md without parts.
type store struct {
	*httptest.Server
	reg *registry.Registry

	mu      sync.Mutex
	offers  map[string]direct.Offer
	content map[string][]byte
	puts    int
	fault   func(put int, r *http.Request) (status int)
	leaked  []string // Authorization headers that reached the store
}

// withStore adds direct uploads to a registry.
func withStore(t *testing.T) (*store, func(*upstream, http.Handler) http.Handler) {
	s := &store{offers: map[string]direct.Offer{}, content: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.put))
	t.Cleanup(s.Close)
	return s, func(u *upstream, next http.Handler) http.Handler {
		s.reg = u.reg
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, err := route.Parse(r.URL.Path)
			if err != nil || req.Kind != route.DirectStart && req.Kind != route.Direct {
				next.ServeHTTP(w, r)
				return
			}
			s.serve(w, r, req)
		})
	}
}

func (s *store) serve(w http.ResponseWriter, r *http.Request, req route.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	created := func(d oci.Digest) {
		w.Header().Set("Docker-Content-Digest", string(d))
		w.WriteHeader(http.StatusCreated)
	}
	offer, known := s.offers[req.Upload]
	switch {
	case r.Method == http.MethodPost:
		var o direct.Offer
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			panic(err)
		}
		if _, err := s.reg.FindBlob(r.Context(), req.Name, o.Digest, false); err == nil {
			created(o.Digest)
			return
		}
		id := strings.ToLower(rand.Text())
		s.offers[id] = o
		sum, _ := hex.DecodeString(o.Digest.Encoded())
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(direct.Upload{
			ID: id, State: direct.Open, Digest: o.Digest, Size: o.Size, Expires: time.Now().Add(time.Hour),
			Put: &direct.Request{Method: http.MethodPut, URL: s.URL + "/" + id + "?X-Amz-Signature=secret", Headers: map[string]string{
				"Content-Length": fmt.Sprint(o.Size), "If-None-Match": "*", "x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(sum),
			}, Expires: time.Now().Add(time.Minute)},
		})
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.offers, req.Upload)
		w.WriteHeader(http.StatusNoContent)
	case s.content[req.Upload] == nil:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"bytes are missing"}]}`)
	default:
		content := s.content[req.Upload]
		if err := s.reg.PushBlob(r.Context(), req.Name, offer.Digest, int64(len(content)), bytes.NewReader(content)); err != nil {
			panic(err)
		}
		created(offer.Digest)
	}
}

func (s *store) put(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/")
	s.mu.Lock()
	s.puts++
	put, fault := s.puts, s.fault
	if a := r.Header.Get("Authorization"); a != "" {
		s.leaked = append(s.leaked, a)
	}
	s.mu.Unlock()
	if fault != nil {
		if status := fault(put, r); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch offer := s.offers[id]; {
	case s.content[id] != nil:
		w.WriteHeader(http.StatusPreconditionFailed)
	case int64(len(body)) != offer.Size || oci.SHA256.FromBytes(body) != offer.Digest:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<Error><Code>BadDigest</Code></Error>`)
	default:
		s.content[id] = body
	}
}

func (s *store) setFault(f func(put int, r *http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// site is a running proxy.
type site struct {
	t     *testing.T
	proxy *proxy.Proxy
	url   string
	spool string

	answered *atomic.Int64 // requests of breakOff
}

// newSite starts a proxy in front of a registry.
func newSite(t *testing.T, registry string, change ...func(*proxy.Options)) *site {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	opts := proxy.Options{
		Registry: registry, Listen: srv.Listener.Addr().String(), Spool: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&opts)
	}
	p, err := proxy.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	p.Hurry()
	answered := &atomic.Int64{}
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.ServeHTTP(w, r)
		if r.Header.Get("X-Breaks") != "" {
			answered.Add(1)
		}
	})
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		p.Close()
	})
	return &site{t: t, proxy: p, url: srv.URL, spool: p.Spool(), answered: answered}
}

// answer is the answer to a client.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string
}

// do makes a request and follows no redirect. A body of another type than *bytes.Reader is sent
// without a length.
func (s *site) do(method, path string, body io.Reader, headers ...string) *answer {
	s.t.Helper()
	return s.send(method, path, body, 0, headers...)
}

// send is do with the length of the body; 0 means that of its type.
func (s *site) send(method, path string, body io.Reader, length int64, headers ...string) *answer {
	s.t.Helper()
	if !strings.Contains(path, "://") {
		path = s.url + path
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if length != 0 {
		req.ContentLength = length
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.HasPrefix(path, s.url) { // not the store's answer to a redirect
		s.checkHeaders(method+" "+path, resp.Header)
	}
	return &answer{s.t, method + " " + path, resp.StatusCode, resp.Header, string(content)}
}

// checkHeaders checks that no browser runs a script in an answer of the proxy.
func (s *site) checkHeaders(what string, h http.Header) {
	s.t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			s.t.Errorf("%s: %s %q", what, name, got)
		}
	}
}

// want checks the status and, if given, the code of the OCI error.
func (a *answer) want(status int, code ...oci.Code) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s, want %d", a.what, a.status, a.body, status)
	}
	if len(code) > 0 && !strings.Contains(a.body, `"code":"`+string(code[0])+`"`) {
		a.t.Fatalf("%s: %s, want the code %s", a.what, a.body, code[0])
	}
	return a
}

// location returns the Location of an upload, which must be on the proxy.
func (a *answer) location() string {
	a.t.Helper()
	l := a.header.Get("Location")
	if !strings.HasPrefix(l, "/v2/") {
		a.t.Fatalf("%s: Location %q is not relative", a.what, l)
	}
	return l
}

// open opens an upload.
func (s *site) open(repo string, headers ...string) string {
	s.t.Helper()
	return s.do("POST", "/v2/"+repo+"/blobs/uploads/", nil, headers...).want(http.StatusAccepted).location()
}

// stream hides a body's length.
func stream(content []byte) io.Reader { return io.MultiReader(bytes.NewReader(content)) }

func closeAt(location string, d oci.Digest) string {
	sep := "?"
	if strings.Contains(location, "?") {
		sep = "&"
	}
	return location + sep + "digest=" + string(d)
}

// pulled checks that the registry has the content.
func (s *site) pulled(repo string, content []byte) {
	s.t.Helper()
	got := s.do("GET", "/v2/"+repo+"/blobs/"+string(oci.SHA256.FromBytes(content)), nil)
	if got.status == http.StatusTemporaryRedirect { // to a store that has URLs
		got = s.do("GET", got.header.Get("Location"), nil)
	}
	if got.want(http.StatusOK).body != string(content) {
		s.t.Fatalf("%d bytes came back, not the %d that were pushed", len(got.body), len(content))
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return b
}
