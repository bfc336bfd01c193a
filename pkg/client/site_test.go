package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// embeddedOnly skips tests of the client that the store behind the registry does not
// concern; those that it does are in localstack_test.go.
func embeddedOnly(t *testing.T) {
	t.Helper()
	if !storetest.Embedded {
		t.Skip("the same over any store")
	}
}

// newRegistry is the registry itself, over the embedded store.
func newRegistry(t *testing.T) http.Handler {
	t.Helper()
	embeddedOnly(t)
	names, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	return server.All(registry.New(names, blobs, registry.Options{Log: quiet}), server.Options{Log: quiet, ServeBlobs: true})
}

// serve starts a server.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// naps records the waits of a client.
type naps struct {
	mu    sync.Mutex
	slept []time.Duration
}

func (n *naps) sleep(ctx context.Context, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slept = append(n.slept, d)
	return ctx.Err()
}

func (n *naps) list() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]time.Duration(nil), n.slept...)
}

// newClient returns a client that does not wait, and its naps.
func newClient(t *testing.T, address string, opts client.Options) (*client.Client, *naps) {
	t.Helper()
	n := &naps{}
	if opts.Sleep == nil {
		opts.Sleep = n.sleep
	}
	c, err := client.New(address, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

func newRepository(t *testing.T, address, name string, opts client.Options) *client.Repository {
	t.Helper()
	c, _ := newClient(t, address, opts)
	return repository(t, c, name)
}

func repository(t *testing.T, c *client.Client, name string) *client.Repository {
	t.Helper()
	r, err := c.Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// randomBytes are n bytes that differ from test to test, but not from run to run.
func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// blobOf is content in memory.
func blobOf(content []byte) client.Blob {
	return client.Blob{
		Digest: oci.SHA256.FromBytes(content), Size: int64(len(content)),
		Open: func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[offset:])), nil },
	}
}

// fileOf is content in a file.
func fileOf(t testing.TB, content []byte) client.Blob {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	b := blobOf(content)
	b.Open = func(offset int64) (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		_, err = f.Seek(offset, io.SeekStart)
		return f, err
	}
	return b
}

// pull reads a blob to its end.
func pull(t *testing.T, r *client.Repository, d oci.Digest, size int64) ([]byte, error) {
	t.Helper()
	body, err := r.Blob(t.Context(), d, size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	got := bytes.NewBuffer(make([]byte, 0, max(size, 0)+bytes.MinRead)) // growing it copies much
	_, err = got.ReadFrom(body)
	return got.Bytes(), err
}

// wantBlob fails the test unless the repository has the content.
func wantBlob(t *testing.T, r *client.Repository, content []byte) {
	t.Helper()
	got, err := pull(t, r, oci.SHA256.FromBytes(content), int64(len(content)))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("pulled %d bytes, %v; want the %d that were pushed", len(got), err, len(content))
	}
}

// progress adds up the reported bytes.
type progress struct {
	mu       sync.Mutex
	sum, low int64
}

func (p *progress) add(delta int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum += delta
	p.low = min(p.low, p.sum)
}

// faults is a transport that fails on demand. Requests are counted from 1 by key,
// "METHOD path" with the fault's own idea of the path.
type faults struct {
	next http.RoundTripper
	pick func(req *http.Request, n int) fault

	mu   sync.Mutex
	n    int
	seen []string
}

// fault is what happens to a request.
type fault int

const (
	none        fault = iota
	refused           // it never leaves
	cutRequest        // it breaks off in the middle of its body
	lostAnswer        // it arrives, its answer does not
	cutAnswer         // the answer breaks off in the middle of its body
	unavailable       // 503 in its place
	tooMany           // 429 in its place, with Retry-After
	unknown           // 404 in its place: not one that passes
)

var errInjected = errors.New("injected fault")

func (f *faults) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.seen = append(f.seen, req.Method+" "+req.URL.Path)
	f.mu.Unlock()
	next := f.next
	if next == nil {
		next = http.DefaultTransport
	}
	what := f.pick(req, n)
	switch what {
	case refused:
		return nil, errInjected
	case unavailable:
		return answerWith(req, http.StatusServiceUnavailable, http.Header{}), nil
	case unknown:
		return answerWith(req, http.StatusNotFound, http.Header{}), nil
	case tooMany:
		return answerWith(req, http.StatusTooManyRequests, http.Header{"Retry-After": {"7"}}), nil
	case cutRequest:
		if req.Body == nil || req.Body == http.NoBody {
			return nil, errInjected
		}
		req = req.Clone(req.Context())
		req.Body = &cutReader{ReadCloser: req.Body, left: req.ContentLength / 2}
	}
	resp, err := next.RoundTrip(req)
	switch {
	case err != nil:
		return nil, err
	case what == lostAnswer, what == cutRequest:
		resp.Body.Close()
		return nil, errInjected
	case what == cutAnswer:
		resp.Body = &cutReader{ReadCloser: resp.Body, left: resp.ContentLength / 2}
	}
	return resp, nil
}

func (f *faults) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

func answerWith(req *http.Request, status int, h http.Header) *http.Response {
	return &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: req, ProtoMajor: 1, ProtoMinor: 1}
}

// cutReader fails after some bytes.
type cutReader struct {
	io.ReadCloser
	left int64
}

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errInjected
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
