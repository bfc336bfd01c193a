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

// relay forwards requests between a client and a server, or between a server and its store, so
// that a test can kill one of them at a point of the traffic instead of after a time.
type relay struct {
	host string
	sent atomic.Int64 // bytes of forwarded requests
	open atomic.Int64 // requests without an answer
	trap atomic.Pointer[trap]
}

// point is a point of the traffic: a request with this method whose path contains path.
type point struct {
	method, path string
	bytes        int64 // after so many bytes of the request; for expireOnce, a request that announces as many
	answered     bool  // after the answer has arrived, which is then lost
	count        int64 // at the count-th such request; 0 means 1
}

// trap runs a function when a point is reached, once.
type trap struct {
	point

	spring  func()
	refused string // the answer to the request, instead of the server's
	reached atomic.Int64
	sprung  atomic.Bool
}

// startRelay starts a relay to host:port that runs until the test ends.
func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			// The client's Host is signed.
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", to, p.In.Host
		},
		Transport:      transport,
		ModifyResponse: func(resp *http.Response) error { return r.answered(resp.Request) },
		// Without the answer of a killed server the relay closes the connection.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.open.Add(1)
		defer r.open.Add(-1)
		if refused := r.watch(req); refused != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, refused) // fails only if the client has left
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

// set replaces the trap.
func (r *relay) set(p point, spring func()) { r.trap.Store(&trap{point: p, spring: spring}) }

// expireOnce answers one request like S3 after a URL has expired: the one that announces the bytes
// of the point.
func (r *relay) expireOnce(p point) {
	r.trap.Store(&trap{point: p, spring: func() {}, refused: `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`})
}

// check fails unless the trap has sprung: a point that is never reached tests nothing.
func (r *relay) check(t *testing.T) {
	t.Helper()
	if trap := r.trap.Swap(nil); !trap.sprung.Load() {
		t.Fatalf("no %s of %s came by", trap.method, trap.path)
	}
}

// drain waits until the requests of a killed client have ended, and returns the bytes forwarded
// until then: the kernel had buffered megabytes of them.
func (r *relay) drain(t *testing.T) int64 {
	t.Helper()
	deadline := time.Now().Add(patience)
	// A request may be in a connection that the relay has not read yet.
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

// watch returns the answer that replaces the server's, or "".
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

// answered returns an error if the trap loses this answer.
func (r *relay) answered(req *http.Request) error {
	if trap := r.trap.Load(); trap != nil && trap.answered && trap.of(req) && max(req.ContentLength, 0) >= trap.bytes && trap.reach() {
		return errors.New("the answer is lost")
	}
	return nil
}

func (p *point) of(req *http.Request) bool {
	return req.Method == p.method && strings.Contains(req.URL.Path, p.path)
}

// reach reports whether a request springs the trap.
func (p *trap) reach() bool {
	springs := p.reached.Add(1) >= p.count && p.sprung.CompareAndSwap(false, true)
	if springs {
		p.spring()
	}
	return springs
}

// watchedBody counts the bytes that are read of a request.
type watchedBody struct {
	io.ReadCloser
	relay *relay
	trap  *trap // for bytes of this request, or nil
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

// kill kills a server from a relay's handler, without waiting for its end.
func (s *server) kill() { _ = s.cmd.Process.Signal(syscall.SIGKILL) } // it may have ended
