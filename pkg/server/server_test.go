package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// site is a registry under test, reached over HTTP. The clock can be moved.
type site struct {
	t       *testing.T
	handler http.Handler
	reg     *registry.Registry
	late    time.Duration
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	s.reg = registry.New(meta, blobs, registry.Options{
		Log: quiet,
		Now: func() time.Time { return time.Now().Add(s.late) },
	})
	s.handler = server.All(s.reg, server.Options{Log: quiet, ServeBlobs: true})
	return s
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request; head is pairs of header names and values.
func (s *site) do(method, target string, body io.Reader, head ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, target, body)
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	checkHeaders(s.t, r, w.Header())
	return answer{w.Result(), w.Body.Bytes()}
}

// checkHeaders holds that a browser runs no script in any answer.
func checkHeaders(t *testing.T, r *http.Request, h http.Header) {
	t.Helper()
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
		t.Errorf("%s %s: headers %v", r.Method, r.URL, h)
	}
}

// want fails the test unless the status is right, and returns the answer.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	return a
}

// wantError fails the test unless the answer is the spec's error with this code.
func (a answer) wantError(t *testing.T, status int, code oci.Code) oci.Errors {
	t.Helper()
	a.want(t, status)
	var errs oci.Errors
	if err := json.Unmarshal(a.body, &errs); err != nil || len(errs) == 0 {
		t.Fatalf("status %d with body %q, want an OCI error", a.StatusCode, a.body)
	}
	if errs[0].Code != code {
		t.Fatalf("code %s, want %s: %s", errs[0].Code, code, a.body)
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q of an error, want application/json", ct)
	}
	return errs
}

// start opens an upload and returns its location.
func (s *site) start(name string) string {
	s.t.Helper()
	a := s.do("POST", "/v2/"+name+"/blobs/uploads/", nil).want(s.t, http.StatusAccepted)
	return a.Header.Get("Location")
}

// pushBlob stores content and returns its digest.
func (s *site) pushBlob(name string, content []byte) oci.Digest {
	s.t.Helper()
	d := oci.SHA256.FromBytes(content)
	s.do("POST", "/v2/"+name+"/blobs/uploads/?digest="+string(d), bytes.NewReader(content)).want(s.t, http.StatusCreated)
	return d
}

func (s *site) hasBlob(name string, d oci.Digest) bool {
	s.t.Helper()
	return s.do("HEAD", "/v2/"+name+"/blobs/"+string(d), nil).StatusCode == http.StatusOK
}

// blob returns the content of a blob.
func (s *site) blob(name string, d oci.Digest) []byte {
	s.t.Helper()
	return s.do("GET", "/v2/"+name+"/blobs/"+string(d), nil).want(s.t, http.StatusOK).body
}

// image returns an image manifest over blobs that it pushes.
func (s *site) image(name string, layers ...string) []byte {
	s.t.Helper()
	m := map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest}
	config := []byte(`{"os":"linux","n":"` + strings.Join(layers, "+") + `"}`)
	m["config"] = descriptor("application/vnd.oci.image.config.v1+json", s.pushBlob(name, config), len(config))
	list := []any{}
	for _, l := range layers {
		list = append(list, descriptor("application/vnd.oci.image.layer.v1.tar", s.pushBlob(name, []byte(l)), len(l)))
	}
	m["layers"] = list
	return marshal(m)
}

func descriptor(mediaType string, d oci.Digest, size int) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": d, "size": size}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// pushManifest puts an image manifest and returns its digest.
func (s *site) pushManifest(name, ref string, manifest []byte) oci.Digest {
	s.t.Helper()
	s.do("PUT", "/v2/"+name+"/manifests/"+ref, bytes.NewReader(manifest), "Content-Type", oci.MediaTypeImageManifest).want(s.t, http.StatusCreated)
	return oci.SHA256.FromBytes(manifest)
}

func TestBase(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/v2/", "/v2"} {
		a := s.do("GET", path, nil).want(t, http.StatusOK)
		if a.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" || a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s has headers %v", path, a.Header)
		}
	}
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	s := newSite(t)
	d := string(oci.SHA256.FromBytes(nil))
	s.do("GET", "/v1/", nil).wantError(t, http.StatusNotFound, oci.Unsupported)
	s.do("GET", "/v2/a/b", nil).wantError(t, http.StatusNotFound, oci.Unsupported)
	for path, allow := range map[string]string{
		"/v2/":                     "GET, HEAD",
		"/v2/_catalog":             "GET, HEAD",
		"/v2/a/tags/list":          "GET, HEAD",
		"/v2/a/referrers/" + d:     "GET, HEAD",
		"/v2/a/blobs/" + d:         "GET, HEAD, DELETE",
		"/v2/a/blobs/uploads/":     "POST",
		"/v2/a/blobs/uploads/id":   "GET, PATCH, PUT, DELETE",
		"/v2/a/manifests/latest":   "GET, HEAD, PUT, DELETE",
		"/v2/a/manifests/" + d:     "GET, HEAD, PUT, DELETE",
		"/v2/a/b/c/manifests/tags": "GET, HEAD, PUT, DELETE",
	} {
		a := s.do("TRACE", path, nil)
		a.wantError(t, http.StatusMethodNotAllowed, oci.Unsupported)
		if got := a.Header.Get("Allow"); got != allow {
			t.Errorf("%s allows %q, want %q", path, got, allow)
		}
	}
}

func TestInvalidNamesTagsAndDigests(t *testing.T) {
	s := newSite(t)
	d := string(oci.SHA256.FromBytes(nil))
	for _, tt := range []struct {
		method, path string
		code         oci.Code
	}{
		{"GET", "/v2/UPPER/tags/list", oci.NameInvalid},
		{"GET", "/v2/a/../b/tags/list", oci.NameInvalid},
		{"GET", "/v2/a%2Fb/tags/list", oci.NameInvalid},
		{"GET", "/v2/a%00b/tags/list", oci.NameInvalid},
		{"GET", "/v2/a//b/tags/list", oci.NameInvalid},
		{"POST", "/v2/" + strings.Repeat("a", 256) + "/blobs/uploads/", oci.NameInvalid},
		{"PUT", "/v2/a/manifests/-x", oci.TagInvalid},
		{"PUT", "/v2/a/manifests/" + strings.Repeat("x", 129), oci.TagInvalid},
		{"PUT", "/v2/a/manifests/" + d + "?tag=.x", oci.TagInvalid},
		{"GET", "/v2/a/blobs/sha256:short", oci.DigestInvalid},
		{"GET", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", oci.DigestInvalid},
		{"GET", "/v2/a/referrers/latest", oci.DigestInvalid},
		{"POST", "/v2/a/blobs/uploads/?digest=sha256:nonsense", oci.DigestInvalid},
		{"POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", oci.DigestInvalid},
		{"POST", "/v2/a/blobs/uploads/?mount=latest&from=b", oci.DigestInvalid},
		{"POST", "/v2/a/blobs/uploads/?mount=" + d + "&from=B", oci.NameInvalid},
		{"PUT", "/v2/a/blobs/uploads/abc", oci.DigestInvalid},
		{"GET", "/v2/a/tags/list?n=-1", oci.PaginationNumberInvalid},
		{"GET", "/v2/a/tags/list?n=x", oci.PaginationNumberInvalid},
		{"GET", "/v2/a/tags/list?last=%00", oci.PaginationNumberInvalid},
		{"GET", "/v2/_catalog?last=A", oci.PaginationNumberInvalid},
		{"GET", "/v2/a/referrers/" + d + "?last=%25", oci.PaginationNumberInvalid},
		{"GET", "/v2/a/referrers/" + d + "?last=_w", oci.PaginationNumberInvalid},
		{"GET", "/v2/a/referrers/" + d + "?last=" + strings.Repeat("YQ", 2000), oci.PaginationNumberInvalid},
	} {
		t.Run(tt.method+" "+tt.path[:min(len(tt.path), 60)], func(t *testing.T) {
			s.do(tt.method, tt.path, nil).wantError(t, http.StatusBadRequest, tt.code)
		})
	}
	s.do("GET", "/v2/a/tags/list", nil).wantError(t, http.StatusNotFound, oci.NameUnknown)
}

// TestCausesStayInside holds that a fault of the store shows a code, not a cause.
func TestCausesStayInside(t *testing.T) {
	meta, blobs := storetest.Open(t)
	log := &bytes.Buffer{}
	reg := registry.New(broken{meta}, blobs, registry.Options{Log: slog.New(slog.DiscardHandler)})
	s := &site{t: t, handler: server.All(reg, server.Options{Log: slog.New(slog.NewTextHandler(log, nil))})}
	a := s.do("GET", "/v2/a/manifests/latest", nil, "X-Request-Id", "trace-1")
	a.wantError(t, http.StatusInternalServerError, oci.Unknown)
	if strings.Contains(string(a.body), "secret") {
		t.Errorf("the cause reached the client: %s", a.body)
	}
	if !strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "id=trace-1") {
		t.Errorf("the log lacks cause or request id: %s", log)
	}
	if a.Header.Get("X-Request-Id") != "trace-1" {
		t.Errorf("request id %q, want trace-1", a.Header.Get("X-Request-Id"))
	}
}

// TestRequestID: the registry keeps the request id of a proxy in front if it is short and of
// safe characters.
func TestRequestID(t *testing.T) {
	s := newSite(t)
	for id, kept := range map[string]bool{
		"trace-1": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "a\nb": false, "": false,
	} {
		got := s.do("GET", "/v2/", nil, "X-Request-Id", id).Header.Get("X-Request-Id")
		if (got == id) != kept || got == "" {
			t.Errorf("the request id %q became %q", id, got)
		}
	}
}

// TestLog: the log line of a request names the content, and an error only if there was one.
func TestLog(t *testing.T) {
	meta, blobs := storetest.Open(t)
	log := &bytes.Buffer{}
	opts := server.Options{Log: slog.New(slog.NewTextHandler(log, nil)), ServeBlobs: true}
	quiet := registry.Options{Log: slog.New(slog.DiscardHandler)}
	s := &site{t: t, handler: server.All(registry.New(meta, blobs, quiet), opts)}
	d := string(s.pushBlob("a", content))
	s.pushManifest("a", "v1", s.image("a", "one"))
	cut := &site{t: t, handler: server.All(registry.New(meta, cutBlobs{blobs}, quiet), opts)}
	for _, tt := range []struct {
		site      *site
		path      string
		reference string
		fails     bool
	}{
		{s, "/v2/", "", false},
		{s, "/v2/a/manifests/v1", "v1", false},
		{s, "/v2/a/blobs/" + d, d, false},
		{cut, "/v2/a/blobs/" + d, d, true},
	} {
		log.Reset()
		tt.site.do("GET", tt.path, nil).want(t, http.StatusOK)
		line := log.String()
		if strings.Contains(line, "reference=") != (tt.reference != "") || !strings.Contains(line, tt.reference) ||
			strings.Contains(line, "error=") != tt.fails {
			t.Errorf("%s is logged as %s", tt.path, line)
		}
	}
}

// cutBlobs is a store whose reads fail in the middle.
type cutBlobs struct{ registry.Blobs }

func (c cutBlobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	content, err := c.Blobs.Open(ctx, key, offset, length)
	return struct {
		io.Reader
		io.Closer
	}{iotest.TimeoutReader(content), content}, err
}

// chunked hides the length of a body, as clients that stream do.
func chunked(content []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(content)} }

func contentRange(first, n int) string { return fmt.Sprintf("%d-%d", first, first+n-1) }
