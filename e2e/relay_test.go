//go:build e2e

package e2e

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// relay stands between a client and a server, or between a server and its store, and
// sees what passes: so a test can kill one of them at a point and not at a time.
type relay struct {
	host string
	sent atomic.Int64 // bytes of requests that came by
	open atomic.Int64 // requests that have no answer yet
	trap atomic.Pointer[trap]
}

// point is a place in the traffic: a request of this method, with path in its path.
type point struct {
	method, path string
	bytes        int64 // not before the request has brought so many, or of requests that bring as many
	answered     bool  // not before the answer is there, which is lost then
	count        int64 // not before so many requests came there; 0 is 1
}

// trap does something when a point is reached, once.
type trap struct {
	point

	spring  func()
	refused string // what the request is answered with, in place of an answer
	reached atomic.Int64
	sprung  atomic.Bool
}

// startRelay forwards to a server, given as host:port, for as long as the test runs.
func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			// Host stays what the client wrote: it is signed.
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", to, p.In.Host
		},
		Transport:      transport,
		ModifyResponse: func(resp *http.Response) error { return r.answered(resp.Request) },
		// What a dead server did not answer is no answer of ours either.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.open.Add(1)
		defer r.open.Add(-1)
		if refused := r.watch(req); refused != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, refused) // a client that left needs none
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { transport.CloseIdleConnections(); s.CloseClientConnections(); s.Close() })
	u, err := url.Parse(s.URL)
	must(t, err)
	r.host = u.Host
	return r
}

// set lays a trap, in place of the one before.
func (r *relay) set(p point, spring func()) { r.trap.Store(&trap{point: p, spring: spring}) }

// expireOnce has one request refused as S3 does when a URL has expired. It is one that
// announces as many bytes as the point has.
func (r *relay) expireOnce(p point) {
	r.trap.Store(&trap{point: p, spring: func() {}, refused: `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`})
}

// check fails unless the trap has sprung: a point that is never passed tests nothing.
func (r *relay) check(t *testing.T) {
	t.Helper()
	if trap := r.trap.Swap(nil); !trap.sprung.Load() {
		t.Fatalf("no %s of %s came by", trap.method, trap.path)
	}
}

// drain waits for the requests of a client that was killed to end, and returns the bytes
// that came by until then: the kernel had megabytes of them still.
func (r *relay) drain(t *testing.T) int64 {
	t.Helper()
	deadline := time.Now().Add(patience)
	// A request may stand in a connection that nobody has read from yet.
	for quiet := 0; quiet < 20; quiet++ {
		time.Sleep(10 * time.Millisecond)
		if r.open.Load() != 0 {
			quiet = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("the requests of a killed client do not end")
		}
	}
	return r.sent.Load()
}

// watch returns what a request is refused with, or "".
func (r *relay) watch(req *http.Request) string {
	body := &watchedBody{ReadCloser: req.Body, relay: r}
	req.Body = body
	switch trap := r.trap.Load(); {
	case trap == nil || trap.answered || !trap.of(req):
	case trap.refused != "":
		if max(req.ContentLength, 0) >= trap.bytes && trap.reach() {
			return trap.refused
		}
	case trap.bytes == 0:
		trap.reach()
	default:
		body.trap = trap
	}
	return ""
}

// answered fails where the answer is lost, together with the one that is killed.
func (r *relay) answered(req *http.Request) error {
	if trap := r.trap.Load(); trap != nil && trap.answered && trap.of(req) && max(req.ContentLength, 0) >= trap.bytes && trap.reach() {
		return errors.New("the answer is lost")
	}
	return nil
}

func (p *point) of(req *http.Request) bool {
	return req.Method == p.method && strings.Contains(req.URL.Path, p.path)
}

// reach reports whether it springs the trap.
func (p *trap) reach() bool {
	springs := p.reached.Add(1) >= p.count && p.sprung.CompareAndSwap(false, true)
	if springs {
		p.spring()
	}
	return springs
}

// watchedBody counts what is read of a request.
type watchedBody struct {
	io.ReadCloser
	relay *relay
	trap  *trap // that waits for bytes of this request, or nil
	n     int64
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.relay.sent.Add(int64(n))
	if b.n += int64(n); b.trap != nil && b.n >= b.trap.bytes {
		b.trap.reach()
		b.trap = nil
	}
	return n, err
}

// kill ends a server from a relay's handler, which does not wait for it.
func (s *server) kill() { _ = s.cmd.Process.Signal(syscall.SIGKILL) } // it may have ended
