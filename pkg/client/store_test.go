package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// secret stands in every URL of the store; no message may show it.
const secret = "X-Signature=s3cr3t"

// store stands before the store that clients are sent to: it checks that they tell it
// nothing of theirs, and can be told to fail. The registry is the real one.
type store struct {
	registry.Blobs
	t       *testing.T
	address string

	mu      sync.Mutex
	behind  map[string]direct.Request  // what the store signed, by the path that clients see
	uploads map[string]registry.Stored // in parts, by key
	expired map[string]bool            // URL paths that are refused
	puts    int
	before  func(w http.ResponseWriter, r *http.Request, n int) (handled bool) // n counts PUTs from 1
}

// newDirectRegistry starts a registry with a store, and returns its address.
func newDirectRegistry(t *testing.T) (string, *store) {
	t.Helper()
	embeddedOnly(t)
	names, blobs := storetest.OpenDirect(t)
	s := &store{
		Blobs: blobs, t: t,
		behind: map[string]direct.Request{}, uploads: map[string]registry.Stored{}, expired: map[string]bool{},
	}
	s.address = serve(t, s)
	quiet := slog.New(slog.DiscardHandler)
	reg := registry.New(names, s, registry.Options{Log: quiet})
	return serve(t, server.All(reg, server.Options{Log: quiet})), s
}

// hide replaces the address in a presigned request with one of this store.
func (s *store) hide(what string, req direct.Request) direct.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := fmt.Sprintf("/%d/%s", len(s.behind), what)
	s.behind[path] = req
	req.URL = s.address + path + "?" + secret
	return req
}

func (s *store) PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	req, err := s.Blobs.PresignPut(ctx, key, d, size)
	return s.hide("put/"+key, req), err
}

func (s *store) PresignPart(ctx context.Context, key string, stored registry.Stored, p direct.Part) (direct.Request, error) {
	req, err := s.Blobs.PresignPart(ctx, key, stored, p)
	return s.hide(fmt.Sprintf("part/%s/%d", key, p.Number), req), err
}

func (s *store) StartParts(ctx context.Context, key string) (registry.Stored, error) {
	stored, err := s.Blobs.StartParts(ctx, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[key] = stored
	return stored, err
}

// Presign redirects readers to the store for direct uploads.
func (s *store) Presign(ctx context.Context, method, key string) (string, error) {
	if _, _, err := s.Stat(ctx, key, false); err != nil {
		return s.Blobs.Presign(ctx, method, key)
	}
	return s.address + "/get/" + key + "?" + secret, nil
}

// ServeHTTP is the store as clients see it.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"Authorization", "Referer", "User-Agent", "Cookie"} {
		if r.Header.Get(name) != "" {
			s.t.Errorf("%s %s: the store is sent %s %q", r.Method, r.URL.Path, name, r.Header.Get(name))
		}
	}
	if r.Method != http.MethodPut {
		s.get(w, r)
		return
	}
	s.mu.Lock()
	s.puts++
	n, before := s.puts, s.before
	s.mu.Unlock()
	if before == nil || !before(w, r, n) {
		s.put(w, r)
	}
}

func (s *store) get(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/get/")
	content, err := s.Open(r.Context(), key, 0, -1)
	if err != nil {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	defer content.Close()
	size, _, err := s.Stat(r.Context(), key, false)
	all := make([]byte, size)
	if _, readErr := io.ReadFull(content, all); err != nil || readErr != nil {
		s.t.Errorf("read %s: %v, %v", key, err, readErr)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(all))
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message><StringToSign>%s</StringToSign></Error>", code, secret)
}

// put hands a request on as it came.
func (s *store) put(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	req, known := s.behind[r.URL.Path]
	expired := s.expired[r.URL.Path]
	s.mu.Unlock()
	switch {
	case !known || r.URL.RawQuery != secret:
		refuse(w, http.StatusForbidden, "SignatureDoesNotMatch")
		return
	case expired:
		refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	on, err := http.NewRequestWithContext(r.Context(), r.Method, req.URL, r.Body)
	if err != nil {
		s.t.Error(err)
		return
	}
	on.Header, on.ContentLength = r.Header.Clone(), r.ContentLength
	on.Header.Del("Expect")
	resp, err := http.DefaultTransport.RoundTrip(on)
	if err != nil {
		panic(http.ErrAbortHandler) // the client left
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// left counts the uploads in parts that did not end.
func (s *store) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, stored := range s.uploads {
		if _, err := s.ListParts(s.t.Context(), key, stored); err == nil {
			n++
		}
	}
	return n
}

// forget drops all uploads in parts.
func (s *store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, stored := range s.uploads {
		if err := s.Discard(s.t.Context(), key, stored, registry.Stored{}); err != nil {
			s.t.Error(err)
		}
	}
}

// replace stores another first part of each upload.
func (s *store) replace(content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, stored := range s.uploads {
		p := direct.Part{Number: 1, Size: int64(len(content)), Digest: oci.SHA256.FromBytes(content)}
		req, err := s.Blobs.PresignPart(s.t.Context(), key, stored, p)
		if err != nil {
			s.t.Fatal(err)
		}
		put, err := http.NewRequestWithContext(s.t.Context(), req.Method, req.URL, bytes.NewReader(content))
		if err != nil {
			s.t.Fatal(err)
		}
		for name, value := range req.Headers {
			put.Header.Set(name, value)
		}
		resp, err := http.DefaultTransport.RoundTrip(put)
		if err != nil || resp.StatusCode != http.StatusOK {
			s.t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
}

// hangUp ends a connection without an answer, after some bytes of the body.
func hangUp(w http.ResponseWriter, r *http.Request, after int64) {
	_, _ = io.CopyN(io.Discard, r.Body, after)
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		c.Close()
	}
}

func (s *store) putCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}
