package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

const large = proxy.Small + 1<<20

// TestWrongDigest: the proxy sends nothing if it can compare the digest before, and no blob
// becomes visible if the store or the registry compares it.
func TestWrongDigest(t *testing.T) {
	s3, wrap := withStore(t)
	for name, up := range map[string]*upstream{"direct": newUpstream(t, wrap), "chunks": newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		s3.puts = 0
		for _, size := range []int{1000, large} {
			content, d := random(size), oci.SHA256.FromBytes([]byte("another"))
			at := s.do("PATCH", s.open("app"), stream(content)).want(http.StatusAccepted).location()
			s.do("PUT", closeAt(at, d), nil).want(http.StatusBadRequest, oci.DigestInvalid)
			if sent := len(up.requests("PATCH")) + s3.puts + len(up.requests("PUT")); sent > 0 {
				t.Errorf("%s: %d requests were made before the digest was compared", name, sent)
			}
			// The upload is unchanged.
			s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
			s.pulled("app", content)
			s3.puts = 0
			up.mu.Lock()
			up.seen = nil
			up.mu.Unlock()
		}
		d := oci.SHA256.FromBytes([]byte("another"))
		for _, path := range []string{closeAt(s.open("app"), d), "/v2/app/blobs/uploads/?digest=" + string(d)} {
			method := map[bool]string{true: "POST", false: "PUT"}[strings.Contains(path, "uploads/?")]
			s.do(method, path, bytes.NewReader(random(large))).want(http.StatusBadRequest, oci.DigestInvalid)
		}
		s.do("HEAD", "/v2/app/blobs/"+string(d), nil).want(http.StatusNotFound)
		wantEmpty(t, s.spool)
	}
}

// TestExisting: a blob that the repository has is checked, but not sent again.
func TestExisting(t *testing.T) {
	s3, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL)
	content := random(large)
	d := oci.SHA256.FromBytes(content)
	for range 2 {
		s.do("PUT", closeAt(s.open("app"), d), bytes.NewReader(content)).want(http.StatusCreated)
	}
	s.do("PUT", closeAt(s.open("app"), d), bytes.NewReader(random(large))).want(http.StatusBadRequest, oci.DigestInvalid)
	if s3.puts != 1 {
		t.Errorf("the store got %d PUTs, want 1", s3.puts)
	}
}

// TestPutAgain: the proxy answers a repetition of the request that completed an upload, as long
// as the registry has the blob.
func TestPutAgain(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		for _, size := range []int{1000, large} {
			content := random(size)
			d := oci.SHA256.FromBytes(content)
			at := s.do("PATCH", s.open("app"), stream(content)).location()
			for range 3 {
				s.do("PUT", closeAt(at, d), nil).want(http.StatusCreated)
			}
			s.do("PUT", closeAt(at, oci.SHA256.FromBytes(nil)), nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("GET", at, nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("PATCH", at, stream(content)).want(http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("DELETE", at, nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("DELETE", "/v2/app/blobs/"+string(d), nil).want(http.StatusAccepted)
			s.do("PUT", closeAt(at, d), nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
		}
	}
}

// TestUnusedUploadIsCancelled: no unneeded upload stays open in the registry.
func TestUnusedUploadIsCancelled(t *testing.T) {
	_, wrap := withStore(t)
	up := newUpstream(t, wrap)
	s := newSite(t, up.URL)
	content := random(large)
	at := s.do("PATCH", s.open("app", "Authorization", "Basic x"), stream(content)).location()
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil, "Authorization", "Basic x").want(http.StatusCreated)
	s.proxy.Settle()
	if got := up.requests("DELETE " + at); len(got) != 1 || !strings.HasSuffix(got[0], "Basic x") {
		t.Errorf("the upload was cancelled with %q", got)
	}
	wrong := string(oci.SHA256.FromBytes([]byte("another")))
	for range 2 {
		content := random(large)
		right := string(oci.SHA256.FromBytes(content))
		s.do("POST", "/v2/b/blobs/uploads/?digest="+right, bytes.NewReader(content)).want(http.StatusCreated)
	}
	s.do("POST", "/v2/c/blobs/uploads/?digest="+wrong, bytes.NewReader(content)).want(http.StatusBadRequest, oci.DigestInvalid)
	s.proxy.Settle()
	for prefix, want := range map[string]int{"b/blobs": 2, "b/_pierless": 0, "c/blobs": 1, "c/_pierless": 1} {
		if got := up.requests("DELETE /v2/" + prefix); len(got) != want {
			t.Errorf("%q was cancelled, want %d uploads of %s", got, want, prefix)
		}
	}
}

// TestCancelFails: a push succeeds although the proxy cannot cancel the unneeded upload.
func TestCancelFails(t *testing.T) {
	up := newUpstream(t, nil)
	s := newSite(t, up.URL)
	up.setFault(func(r *http.Request) int {
		if r.Method == http.MethodDelete {
			panic(http.ErrAbortHandler)
		}
		return 0
	})
	content := random(1000)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	s.proxy.Settle()
}

// TestSamePutTwice: if a client repeats the PUT that completes an upload while the first one is
// in progress, both get the same answer, and the proxy sends the blob once. The upload does not
// expire meanwhile.
func TestSamePutTwice(t *testing.T) {
	up := newUpstream(t, nil)
	s := newSite(t, up.URL)
	content := random(1000)
	at := closeAt(s.do("PATCH", s.open("app"), stream(content)).location(), oci.SHA256.FromBytes(content))
	reached, open := make(chan struct{}, 10), make(chan struct{})
	up.setFault(func(r *http.Request) int {
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			reached <- struct{}{}
			<-open
		}
		return 0
	})
	answers := make(chan *answer)
	put := func() { answers <- s.do("PUT", at, nil) }
	go put()
	<-reached
	go put()
	time.Sleep(100 * time.Millisecond) // a later second request would find the blob
	s.proxy.Expire(time.Now().Add(time.Minute))
	close(open)
	for range 2 {
		(<-answers).want(http.StatusCreated)
	}
	if got := up.requests("POST /v2/app/blobs/uploads/?"); len(got) != 1 {
		t.Errorf("the blob was sent with %q", got)
	}
}

// TestRegistryRefuses: if the registry refuses a spooled blob, the client gets its error, with
// the headers to log in or to try again.
func TestRegistryRefuses(t *testing.T) {
	refusal := 0
	up := newUpstream(t, func(u *upstream, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refusal == 0 {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+u.URL+`/token"`)
			w.WriteHeader(refusal)
		})
	})
	s := newSite(t, up.URL)
	content := random(1000)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	for _, c := range []struct {
		refusal, status       int
		code                  oci.Code
		retryAfter, challenge string
	}{
		{400, 400, oci.Unknown, "", ""},
		{401, 401, oci.Unauthorized, "", `Bearer realm="` + s.url + `/token"`},
		{403, 403, oci.Denied, "", ""},
		{429, 429, oci.TooManyRequests, "1", ""},
		{500, 503, oci.Unavailable, "1", ""},
		{507, 507, oci.Unknown, "", ""},
	} {
		refusal = c.refusal
		a := s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil, "Authorization", "Basic x").want(c.status, c.code)
		if got := a.header.Get("Retry-After"); got != c.retryAfter {
			t.Errorf("%d: Retry-After %q, want %q", c.refusal, got, c.retryAfter)
		}
		if got := a.header.Get("WWW-Authenticate"); got != c.challenge {
			t.Errorf("%d: WWW-Authenticate %q, want %q", c.refusal, got, c.challenge)
		}
	}
}

// TestOtherRepository: an upload belongs to its repository.
func TestOtherRepository(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	content := random(large)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	elsewhere := strings.Replace(at, "/v2/app/", "/v2/other/", 1)
	for _, method := range []string{"GET", "DELETE", "PATCH"} {
		s.do(method, elsewhere, nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
	}
	s.do("PUT", closeAt(elsewhere, oci.SHA256.FromBytes(content)), nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
}

// cut is a body that ends early with an error.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("cut")
	}
	return n, err
}

// TestCut: the bytes of a body that ends early are dropped, and the client can continue.
func TestCut(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		content := random(large)
		d := oci.SHA256.FromBytes(content)
		first := random(1000)
		at := s.do("PATCH", s.open("app"), stream(first)).want(http.StatusAccepted).location()
		s.breakOff("PATCH", at, content[:large/2], -1)
		if got := s.do("GET", at, nil).want(http.StatusNoContent).header.Get("Range"); got != "0-999" {
			t.Errorf("Range %q after a PATCH that ended early", got)
		}
		whole := append(first, content...)
		s.do("PATCH", at, stream(content)).want(http.StatusAccepted)
		s.do("PUT", closeAt(at, oci.SHA256.FromBytes(whole)), nil).want(http.StatusCreated)
		s.pulled("app", whole)

		at = s.open("app")
		s.breakOff("PUT", closeAt(at, d), content[:large/2], large)
		s.do("HEAD", "/v2/app/blobs/"+string(d), nil).want(http.StatusNotFound)
		s.do("PUT", closeAt(at, d), bytes.NewReader(content)).want(http.StatusCreated)
		s.pulled("app", content)
		wantEmpty(t, s.spool)
	}
}

// breakOff sends the beginning of a body and closes the connection. It returns when the proxy
// has handled that.
func (s *site) breakOff(method, path string, begin []byte, length int64) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, cut{bytes.NewReader(begin)})
	if err != nil {
		s.t.Fatal(err)
	}
	req.ContentLength = length
	req.Header.Set("X-Breaks", "1")
	before := s.answered.Load()
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
		s.t.Fatalf("a body that ended early was answered with %d", resp.StatusCode)
	}
	for s.answered.Load() == before { // the proxy may notice later than the client
		time.Sleep(time.Millisecond)
	}
}

// TestWrongLengths: the announced offset and length of a chunk must be right.
func TestWrongLengths(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	at := s.do("PATCH", s.open("app"), stream(random(1000))).location()
	for _, c := range []struct {
		method, at, contentRange string
		body                     io.Reader
		status                   int
		code                     oci.Code
	}{
		{"PATCH", at, "0-99", bytes.NewReader(random(100)), http.StatusRequestedRangeNotSatisfiable, oci.RangeInvalid},
		{"PATCH", at, "bytes 2000-2099/*", stream(random(100)), http.StatusRequestedRangeNotSatisfiable, oci.RangeInvalid},
		{"PATCH", at, "1000-1099", bytes.NewReader(random(99)), http.StatusBadRequest, oci.SizeInvalid},
		{"PATCH", at, "1000-1099", stream(random(99)), http.StatusBadRequest, oci.SizeInvalid},
		{"PATCH", at, "1000-1099", stream(random(101)), http.StatusBadRequest, oci.SizeInvalid},
		{"PATCH", at, "a-b", stream(random(100)), http.StatusBadRequest, oci.BlobUploadInvalid},
		{"PUT", closeAt(at, oci.SHA256.FromBytes(nil)), "2000-2099", bytes.NewReader(random(100)), http.StatusRequestedRangeNotSatisfiable, oci.RangeInvalid},
		{"PUT", closeAt(at, oci.SHA256.FromBytes(nil)) + "&size=7", "", nil, http.StatusBadRequest, oci.SizeInvalid},
		{"PUT", closeAt(at, "sha256:0"), "", nil, http.StatusBadRequest, oci.DigestInvalid},
		{"PUT", at, "", nil, http.StatusBadRequest, oci.DigestInvalid},
	} {
		a := s.do(c.method, c.at, c.body, "Content-Range", c.contentRange).want(c.status, c.code)
		if c.code == oci.RangeInvalid && (a.header.Get("Range") != "0-999" || a.location() != at) {
			t.Errorf("%s %s: a client cannot resume from %v", c.method, c.contentRange, a.header)
		}
		if got := s.do("GET", at, nil).header.Get("Range"); got != "0-999" {
			t.Fatalf("%s %s: Range %q", c.method, c.contentRange, got)
		}
	}
	rest := random(10)
	s.do("PATCH", at, bytes.NewReader(rest), "Content-Range", "bytes 1000-1009/*").want(http.StatusAccepted)
}

// TestRegistryDies: the client gets 503, and its next try finds its bytes in the spool.
func TestRegistryDies(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		for _, size := range []int{1000, large} {
			content := random(size)
			at := s.do("PATCH", s.open("app"), stream(content)).want(http.StatusAccepted).location()
			up.setFault(func(*http.Request) int { return http.StatusServiceUnavailable })
			s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusServiceUnavailable, oci.Unavailable)
			up.setFault(func(*http.Request) int { panic(http.ErrAbortHandler) })
			s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusServiceUnavailable, oci.Unavailable)
			up.setFault(nil)
			s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
			s.pulled("app", content)
		}
		wantEmpty(t, s.spool)
	}
}

// TestRegistryStumbles: the proxy retries; clients do not see passing faults.
func TestRegistryStumbles(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		n := 0
		for name, send := range sequences() {
			for _, size := range []int{1000, large} {
				up.setFault(func(r *http.Request) int {
					// Not in forwarded requests, which the client retries.
					if through := r.Method == "POST" && r.ContentLength == 0 && !strings.Contains(r.URL.Path, "_pierless") || r.Method == "GET" || size == 1000 && r.ContentLength != 1000; through {
						return 0
					}
					if n++; n%3 == 0 {
						return http.StatusBadGateway
					}
					return 0
				})
				if strings.HasPrefix(name, "containerd") && size == 1000 || name == "a POST with all" && size == 1000 {
					continue // forwarded
				}
				content := random(size)
				a := send(s, "app", content)
				if a.status != http.StatusCreated {
					t.Errorf("%s, %d bytes: %d %s", name, size, a.status, a.body)
					continue
				}
				s.pulled("app", content)
			}
		}
	}
}

// TestLostAnswer: a small blob whose 201 was lost, in a registry that ignores the body of POST.
func TestLostAnswer(t *testing.T) {
	up := newUpstream(t, nil)
	inner := up.Config.Handler
	lost := false
	up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && !lost:
			lost = true
			inner.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case r.Method == http.MethodPost:
			_, _ = io.Copy(io.Discard, r.Body)
			r.URL.RawQuery, r.Body, r.ContentLength = "", http.NoBody, 0
			fallthrough
		default:
			inner.ServeHTTP(w, r)
		}
	})
	s := newSite(t, up.URL)
	content := random(1000)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	if !lost {
		t.Error("no answer was lost")
	}
}

// TestStoreFails: a transfer that fails early starts again; after that the client must retry.
func TestStoreFails(t *testing.T) {
	s3, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL)
	content := random(large)
	d := oci.SHA256.FromBytes(content)

	s3.setFault(func(put int, _ *http.Request) int {
		return map[bool]int{true: http.StatusServiceUnavailable}[put%3 != 0]
	})
	at := s.do("PATCH", s.open("a"), stream(content)).location()
	s.do("PUT", closeAt(at, d), nil).want(http.StatusCreated)
	s.pulled("a", content)

	s3.setFault(func(_ int, r *http.Request) int {
		_, _ = io.CopyN(io.Discard, r.Body, 4<<20)
		panic(http.ErrAbortHandler)
	})
	at = s.open("b")
	s.do("PUT", closeAt(at, d), bytes.NewReader(content)).want(http.StatusServiceUnavailable, oci.Unavailable)
	s3.setFault(nil)
	s.do("PUT", closeAt(at, d), bytes.NewReader(content)).want(http.StatusCreated)
	s.pulled("b", content)
	wantEmpty(t, s.spool)
}

// TestTakeover: a request that hangs does not block the upload.
func TestTakeover(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	at := s.open("app")
	body, hangs := io.Pipe()
	old := make(chan *answer)
	go func() { old <- s.do("PATCH", at, body) }()
	if _, err := hangs.Write(random(1 << 20)); err != nil {
		t.Fatal(err)
	}
	for len(spooled(t, s.spool)) == 0 {
		time.Sleep(time.Millisecond)
	}
	content := random(1000)
	s.do("PATCH", at, stream(content)).want(http.StatusAccepted)
	_, _ = hangs.Write(random(1000)) // the request that was taken over ends now
	hangs.Close()
	(<-old).want(http.StatusBadRequest, oci.BlobUploadInvalid)
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	s.pulled("app", content)
}

// TestClientGoes: the bytes of a client that leaves during the completion stay for another try.
func TestClientGoes(t *testing.T) {
	up := newUpstream(t, nil)
	log := &bytes.Buffer{}
	s := newSite(t, up.URL, func(o *proxy.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	content := random(large)
	at := s.do("PATCH", s.open("app"), stream(content)).location()
	ctx, leave := context.WithCancel(t.Context())
	up.setFault(func(r *http.Request) int {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut { // a chunk, or the end of a direct upload
			_, _ = io.Copy(io.Discard, r.Body) // before that net/http does not notice a closed connection
			leave()
			<-r.Context().Done()
		}
		return 0
	})
	req, err := http.NewRequestWithContext(ctx, "PUT", s.url+closeAt(at, oci.SHA256.FromBytes(content)), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Breaks", "1")
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
		t.Fatalf("answered with %d", resp.StatusCode)
	}
	for s.answered.Load() == 0 { // the proxy may notice later than the client
		time.Sleep(time.Millisecond)
	}
	if got := log.String(); !strings.Contains(got, "level=INFO msg=refused") || !strings.Contains(got, "status=499") {
		t.Errorf("logged: %s", got)
	}
	up.setFault(nil)
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	s.pulled("app", content)
}

// TestInternalStore: the proxy rejects a store at an internal address once, with advice.
func TestInternalStore(t *testing.T) {
	content := random(large)
	d := oci.SHA256.FromBytes(content)
	up := newUpstream(t, func(_ *upstream, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || !strings.Contains(r.URL.Path, "/_pierless/") {
				next.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).Encode(direct.Upload{
				ID: strings.Repeat("a", 64), State: direct.Open, Digest: d, Size: large,
				Put: &direct.Request{Method: http.MethodPut, URL: "http://169.254.169.254/x", Headers: map[string]string{"Content-Length": strconv.Itoa(large)}},
			})
		})
	})
	s := newSite(t, up.URL)
	message := s.do("PUT", closeAt(s.open("app"), d), bytes.NewReader(content)).want(http.StatusForbidden, oci.Denied).body
	if !strings.Contains(message, "--internal-host 169.254.169.254") {
		t.Errorf("%s names no remedy", message)
	}
	if offers := up.requests("POST /v2/app/_pierless/"); len(offers) != 1 {
		t.Errorf("%d offers, want 1", len(offers))
	}
}
