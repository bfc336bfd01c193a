//go:build !localstack

package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// OpenDirect returns the embedded store with direct uploads: their bytes go to a server
// on loopback with the checks of S3, which keeps them in memory.
func OpenDirect(t *testing.T) (registry.Metadata, registry.Blobs) {
	t.Helper()
	meta, blobs := Open(t)
	s := &directStore{
		Blobs: blobs, tickets: map[string]ticket{}, content: map[string][]byte{}, whole: map[string]bool{}, uploads: map[string]map[int][]byte{},
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return meta, s
}

// directStore keeps the content that its signed requests have uploaded.
type directStore struct {
	registry.Blobs // what comes through the registry

	url     string
	mu      sync.Mutex
	tickets map[string]ticket         // by the path of a signed URL
	content map[string][]byte         // by key
	whole   map[string]bool           // keys that came in one request: their digest is known
	uploads map[string]map[int][]byte // parts by upload and number
}

// ticket is the content of a signed request.
type ticket struct {
	key, upload string // upload: of a part
	number      int
	request     direct.Request
}

func (s *directStore) sign(tk ticket, d oci.Digest, size int64) (direct.Request, error) {
	sum, err := hex.DecodeString(d.Encoded())
	if err != nil {
		return direct.Request{}, err
	}
	path := "/" + rand.Text()
	tk.request = direct.Request{Method: http.MethodPut, URL: s.url + path, Expires: time.Now().Add(15 * time.Minute).UTC(), Headers: map[string]string{
		"Content-Length": strconv.FormatInt(size, 10), "x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(sum),
	}}
	if tk.upload == "" {
		tk.request.Headers["If-None-Match"] = "*"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets[path] = tk
	return tk.request, nil
}

// ServeHTTP takes the bytes of signed requests.
func (s *directStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content := make([]byte, max(r.ContentLength, 0)) // a signed request has a length
	if _, err := io.ReadFull(r.Body, content); err != nil {
		return // the client left
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tk, known := s.tickets[r.URL.Path]
	known = known && r.URL.RawQuery == "" && r.Method == tk.request.Method && time.Now().Before(tk.request.Expires) && r.Header.Get("Authorization") == ""
	for name, value := range tk.request.Headers {
		got := r.Header.Get(name)
		if name == "Content-Length" {
			got = strconv.FormatInt(r.ContentLength, 10)
		}
		known = known && got == value
	}
	parts := s.uploads[tk.upload]
	switch {
	case !known:
		refuse(w, http.StatusForbidden, "SignatureDoesNotMatch")
	case sum(content) != tk.request.Headers["x-amz-checksum-sha256"]:
		refuse(w, http.StatusBadRequest, "BadDigest")
	case tk.upload != "" && parts == nil:
		refuse(w, http.StatusNotFound, "NoSuchUpload")
	case tk.upload != "":
		parts[tk.number] = content
	case s.whole[tk.key]:
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		s.content[tk.key], s.whole[tk.key] = content, true
	}
}

func sum(content []byte) string {
	raw, _ := hex.DecodeString(oci.SHA256.FromBytes(content).Encoded()) // a digest is hexadecimal
	return base64.StdEncoding.EncodeToString(raw)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code></Error>") // a client that left needs none
}

// PresignPut implements registry.Direct.
func (s *directStore) PresignPut(_ context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	return s.sign(ticket{key: key}, d, size)
}

// PresignPart implements registry.Direct.
func (s *directStore) PresignPart(_ context.Context, key string, stored registry.Stored, p direct.Part) (direct.Request, error) {
	return s.sign(ticket{key: key, upload: string(stored.State), number: p.Number}, p.Digest, p.Size)
}

// StartParts implements registry.Direct.
func (s *directStore) StartParts(context.Context, string) (registry.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := "direct " + rand.Text()
	s.uploads[id] = map[int][]byte{}
	return registry.Stored{State: []byte(id)}, nil
}

// ListParts implements registry.Direct.
func (s *directStore) ListParts(_ context.Context, _ string, stored registry.Stored) ([]direct.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(stored)
}

func (s *directStore) list(stored registry.Stored) ([]direct.Part, error) {
	parts, there := s.uploads[string(stored.State)]
	if !there {
		return nil, registry.ErrNoContent
	}
	list := []direct.Part{}
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		list = append(list, direct.Part{Number: n, Size: int64(len(parts[n])), Digest: oci.SHA256.FromBytes(parts[n])})
	}
	return list, nil
}

// CompleteParts implements registry.Direct.
func (s *directStore) CompleteParts(_ context.Context, key string, stored registry.Stored, check func([]direct.Part) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.list(stored)
	if err != nil {
		return registry.ErrTaken
	}
	if err := check(list); err != nil {
		return err
	}
	var content []byte
	for _, p := range list {
		content = append(content, s.uploads[string(stored.State)][p.Number]...)
	}
	delete(s.uploads, string(stored.State))
	s.content[key] = content
	return nil
}

// Stat implements registry.Blobs.
func (s *directStore) Stat(ctx context.Context, key string, sum bool) (int64, oci.Digest, error) {
	s.mu.Lock()
	content, there := s.content[key]
	whole := s.whole[key]
	s.mu.Unlock()
	switch {
	case !there:
		return s.Blobs.Stat(ctx, key, sum)
	case !whole || !sum:
		return int64(len(content)), "", nil
	}
	return int64(len(content)), oci.SHA256.FromBytes(content), nil
}

// Open implements registry.Blobs.
func (s *directStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	content, there := s.content[key]
	s.mu.Unlock()
	if !there {
		return s.Blobs.Open(ctx, key, offset, length)
	}
	content = content[min(offset, int64(len(content))):]
	if length >= 0 {
		content = content[:min(length, int64(len(content)))]
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// Discard implements registry.Blobs.
func (s *directStore) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	if !strings.HasPrefix(string(stored.State), "direct ") {
		return s.Blobs.Discard(ctx, key, stored, keep)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, string(stored.State))
	return nil
}

// Delete implements registry.Blobs.
func (s *directStore) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	delete(s.content, key)
	delete(s.whole, key)
	s.mu.Unlock()
	return s.Blobs.Delete(ctx, key)
}
