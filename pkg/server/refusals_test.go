package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// failing is a store whose reads fail in one way.
type failing struct {
	registry.Metadata
	err error
}

func (f failing) Get(context.Context, ...registry.Key) ([]registry.Row, error) { return nil, f.err }

// TestStoreFaults: the answers to clients if the store fails.
func TestStoreFaults(t *testing.T) {
	meta, blobs := storetest.Open(t)
	for _, tt := range []struct {
		err        error
		status     int
		code       oci.Code
		retryAfter string
	}{
		{registry.ErrUnavailable, 503, oci.Unavailable, "1"},
		{registry.ErrContended, 503, oci.Unavailable, "1"},
		{registry.ErrFull, 507, oci.Unavailable, ""},
		{errors.New("no such table"), 500, oci.Unknown, ""},
	} {
		cause := fmt.Errorf("%w: secret", tt.err)
		quiet := slog.New(slog.DiscardHandler)
		reg := registry.New(failing{meta, cause}, blobs, registry.Options{
			Log: quiet, Sleep: func(context.Context, time.Duration) error { return nil },
		})
		s := &site{t: t, handler: server.All(reg, server.Options{Log: quiet})}
		a := s.do("GET", "/v2/a/manifests/latest", nil)
		a.wantError(t, tt.status, tt.code)
		if got := a.Header.Get("Retry-After"); got != tt.retryAfter || strings.Contains(string(a.body), "secret") {
			t.Errorf("%v: Retry-After %q, want %q; %s", tt.err, got, tt.retryAfter, a.body)
		}
	}
}

// TestErrorsOnly: the log of requests can be turned off, but not that of faults.
func TestErrorsOnly(t *testing.T) {
	meta, blobs := storetest.Open(t)
	log := &bytes.Buffer{}
	reg := registry.New(broken{meta}, blobs, registry.Options{Log: slog.New(slog.DiscardHandler)})
	s := &site{t: t, handler: server.All(reg, server.Options{Log: slog.New(slog.NewTextHandler(log, nil)), ErrorsOnly: true})}
	s.do("GET", "/v2/", nil).want(t, http.StatusOK)
	s.do("GET", "/v2/nowhere", nil).want(t, http.StatusNotFound)
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
	s.do("GET", "/v2/a/manifests/latest", nil).want(t, http.StatusInternalServerError)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "status=500") {
		t.Errorf("the fault is not logged: %s", got)
	}
}

// endless is a body that counts the bytes read.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	return len(p), nil
}

// clocked is an answer that records the read deadline of its request.
type clocked struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (c *clocked) SetReadDeadline(until time.Time) error {
	c.until = until
	return nil
}

// TestDrain: the limits for the body of a refused request depend on the caller.
func TestDrain(t *testing.T) {
	s := newSite(t)
	closed := server.All(s.reg, server.Options{
		Log: slog.New(slog.DiscardHandler),
		Authorize: func(http.ResponseWriter, *http.Request, route.Request, route.Method) (context.Context, error) {
			return nil, oci.NewError(oci.Unauthorized, "log in")
		},
	})
	full := server.All(s.reg, server.Options{
		Log:   slog.New(slog.DiscardHandler),
		Admit: func(*http.Request) (func(), error) { return nil, oci.NewError(oci.TooManyRequests, "full") },
	})
	digest := string(oci.SHA256.FromBytes(nil))
	for _, tt := range []struct {
		name, path string
		handler    http.Handler
		header     string
		least, max int64
		within     time.Duration
	}{
		{"without credentials", "/v2/a/manifests/v1", closed, "", 1 << 20, 2 << 20, 5 * time.Second},
		{"without credentials, unknown path", "/v2/a", closed, "", 1 << 20, 2 << 20, 5 * time.Second},
		{"too many bodies", "/v2/a/manifests/v1", full, "", 1 << 20, 2 << 20, 5 * time.Second},
		{"unknown path", "/v2/a", s.handler, "", 256 << 20, 257 << 20, 2 * time.Minute},
		{"unknown upload", "/v2/a/blobs/uploads/unknown?digest=" + digest, s.handler, "", 1 << 20, 2 << 20, 5 * time.Second},
		{"wrong size", "/v2/a/blobs/uploads/unknown?digest=" + digest + "&size=x", s.handler, "", 256 << 20, 257 << 20, 2 * time.Minute},
		{"asks first", "/v2/a/blobs/uploads/unknown?digest=" + digest + "&size=x", s.handler, "100-continue", 0, 0, time.Hour},
	} {
		body := &endless{}
		r := httptest.NewRequest(http.MethodPut, tt.path, body)
		r.Header.Set("Expect", tt.header)
		w, before := &clocked{ResponseRecorder: httptest.NewRecorder()}, time.Now()
		tt.handler.ServeHTTP(idle.Watch(w, r, idle.Limits{Body: time.Hour, Answer: time.Hour}))
		if w.until.Before(before.Add(tt.within)) || w.until.After(time.Now().Add(tt.within)) {
			t.Errorf("%s: read for %s, want %s", tt.name, w.until.Sub(before), tt.within)
		}
		if body.n < tt.least || body.n > tt.max || w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s: %d, %d bytes were read, want %d to %d", tt.name, w.Code, body.n, tt.least, tt.max)
		}
	}
}

// TestStalledUpload: a client that stops sending gets 408, and its upload does not change.
func TestStalledUpload(t *testing.T) {
	s := newSite(t)
	inner := s.handler
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r = idle.Watch(w, r, idle.Limits{Body: 50 * time.Millisecond, Answer: time.Minute})
		inner.ServeHTTP(w, r)
	}))
	defer site.Close()
	at := s.start("app")
	s.do("PATCH", at, strings.NewReader("kept")).want(t, http.StatusAccepted)
	for _, c := range []struct{ method, path string }{
		{"PATCH", at},
		{"PUT", at + "?digest=" + string(oci.SHA256.FromBytes([]byte("kept and more")))},
		{"POST", "/v2/app/blobs/uploads/?digest=" + string(oci.SHA256.FromBytes([]byte("kept")))},
		{"PUT", "/v2/app/manifests/v1"},
	} {
		body, send := io.Pipe()
		go func() { _, _ = send.Write([]byte(" and")) }()
		r, err := http.NewRequestWithContext(t.Context(), c.method, site.URL+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 1000
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s %s: %s %s", c.method, c.path, resp.Status, said)
		}
		send.Close()
		if got := s.do("GET", at, nil).want(t, http.StatusNoContent).Header.Get("Range"); got != "0-3" {
			t.Errorf("%s %s: the upload stands at %s", c.method, c.path, got)
		}
	}
	s.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes([]byte("kept and more"))), strings.NewReader(" and more")).want(t, http.StatusCreated)
}
