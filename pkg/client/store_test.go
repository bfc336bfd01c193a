package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/direct"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/storetest"
)

// secret stands in every URL of the store; no message may show it.
const secret = "X-Signature=s3cr3t"

// store is a store that clients are sent to, in the place of S3: it checks what S3 would,
// and can be told to fail. The registry before it is the real one.
type store struct {
	registry.Blobs // for what does not come straight
	t              *testing.T
	address        string

	mu      sync.Mutex
	content map[string][]byte
	parts   map[string]map[int][]byte // by upload
	signed  map[string]direct.Request // by URL path
	n       int
	expired map[string]bool // URL paths that are refused
	puts    int
	before  func(w http.ResponseWriter, r *http.Request, n int) (handled bool) // n counts PUTs from 1
}

// newDirectRegistry starts a registry with a store, and returns its address.
func newDirectRegistry(t *testing.T) (string, *store) {
	t.Helper()
	embeddedOnly(t)
	names, blobs := storetest.Open(t)
	s := &store{
		Blobs: blobs, t: t, content: map[string][]byte{}, parts: map[string]map[int][]byte{},
		signed: map[string]direct.Request{}, expired: map[string]bool{},
	}
	s.address = serve(t, s)
	quiet := slog.New(slog.DiscardHandler)
	reg := registry.New(names, s, registry.Options{Log: quiet})
	return serve(t, server.All(reg, server.Options{Log: quiet})), s
}

func checksum(d oci.Digest) string {
	sum, _ := hex.DecodeString(d.Encoded())
	return base64.StdEncoding.EncodeToString(sum)
}

// sign makes a request for something: "put/<key>" or "part/<upload>/<number>".
func (s *store) sign(what string, d oci.Digest, size int64, once bool) direct.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	path := fmt.Sprintf("/%d/%s", s.n, what)
	req := direct.Request{
		Method: http.MethodPut, URL: s.address + path + "?" + secret, Expires: time.Now().Add(time.Minute),
		Headers: map[string]string{"Content-Length": strconv.FormatInt(size, 10), "x-amz-checksum-sha256": checksum(d)},
	}
	if once {
		req.Headers["If-None-Match"] = "*"
	}
	s.signed[path] = req
	return req
}

func (s *store) PresignPut(_ context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	return s.sign("put/"+key, d, size, true), nil
}

func (s *store) PresignPart(_ context.Context, key string, _ registry.Stored, p direct.Part) (direct.Request, error) {
	return s.sign(fmt.Sprintf("part/%s/%d", key, p.Number), p.Digest, p.Size, false), nil
}

func (s *store) StartParts(_ context.Context, key string) (registry.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[key] = map[int][]byte{}
	return registry.Stored{State: []byte("parts")}, nil
}

func (s *store) ListParts(_ context.Context, key string, _ registry.Stored) (parts []direct.Part, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, there := s.parts[key]
	if !there {
		return nil, registry.ErrNoContent
	}
	for _, number := range slices.Sorted(maps.Keys(stored)) {
		parts = append(parts, direct.Part{Number: number, Size: int64(len(stored[number])), Digest: oci.SHA256.FromBytes(stored[number])})
	}
	return parts, nil
}

func (s *store) CompleteParts(ctx context.Context, key string, stored registry.Stored, check func([]direct.Part) error) error {
	parts, err := s.ListParts(ctx, key, stored)
	if err != nil {
		return registry.ErrTaken
	}
	if err := check(parts); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []byte
	for _, p := range parts {
		all = append(all, s.parts[key][p.Number]...)
	}
	s.content[key] = all
	delete(s.parts, key)
	return nil
}

func (s *store) Stat(_ context.Context, key string) (int64, oci.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, there := s.content[key]
	if !there {
		return 0, "", registry.ErrNoContent
	}
	return int64(len(content)), oci.SHA256.FromBytes(content), nil
}

func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	content, there := s.content[key]
	s.mu.Unlock()
	if !there {
		return s.Blobs.Open(ctx, key, offset, length)
	}
	if length < 0 {
		length = int64(len(content)) - offset
	}
	return io.NopCloser(bytes.NewReader(content[offset : offset+length])), nil
}

func (s *store) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	if string(stored.State) != "parts" {
		return s.Blobs.Discard(ctx, key, stored, keep)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, key)
	return nil
}

// Presign sends readers to the store for what came straight.
func (s *store) Presign(ctx context.Context, method, key string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.content[key]; !there {
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
	var key string
	_, _ = fmt.Sscanf(r.URL.Path, "/get/%s", &key)
	s.mu.Lock()
	content := s.content[key]
	s.mu.Unlock()
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message><StringToSign>%s</StringToSign></Error>", code, secret)
}

func (s *store) put(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	req, known := s.signed[r.URL.Path]
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
	for name, value := range req.Headers {
		if got := r.Header.Get(name); name != "Content-Length" && got != value || name == "Content-Length" && strconv.FormatInt(r.ContentLength, 10) != value {
			refuse(w, http.StatusForbidden, "SignatureDoesNotMatch")
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	sum := sha256.Sum256(body)
	if base64.StdEncoding.EncodeToString(sum[:]) != req.Headers["x-amz-checksum-sha256"] {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	s.keep(w, r, body)
}

func (s *store) keep(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n, number int
	var key string
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/put/%s", &n, &key); err == nil {
		if _, there := s.content[key]; there {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		s.content[key] = body
		return
	}
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/part/%64s/%d", &n, &key, &number); err != nil || s.parts[key] == nil {
		refuse(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	s.parts[key][number] = body
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
