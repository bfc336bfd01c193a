package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// blobServer serves one blob as a test wants it.
func blobServer(t *testing.T, h http.HandlerFunc) *client.Repository {
	t.Helper()
	return newRepository(t, serve(t, h), "a", client.Options{})
}

// cutAfter sends some of the bytes from start on, and closes the connection.
func cutAfter(w http.ResponseWriter, content []byte, start, n int) {
	end := min(start+n, len(content))
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
	if start > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(content[start:end]) // net/http closes what ends too early
}

func rangeOf(r *http.Request) int {
	start, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	return start
}

func TestPullResumes(t *testing.T) {
	content := randomBytes(1, mib)
	d := oci.SHA256.FromBytes(content)
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		fails bool
	}{
		"ten cuts": {serve: func(w http.ResponseWriter, r *http.Request) { cutAfter(w, content, rangeOf(r), 100_000) }},
		"no ranges": {serve: func() http.HandlerFunc {
			n := 0
			return func(w http.ResponseWriter, _ *http.Request) { n += 300_000; cutAfter(w, content, 0, n) }
		}()},
		"never goes on": {fails: true, serve: func(w http.ResponseWriter, r *http.Request) {
			cutAfter(w, content, rangeOf(r), map[bool]int{true: 1000, false: 0}[rangeOf(r) == 0])
		}},
		"gone in the middle": {fails: true, serve: func(w http.ResponseWriter, r *http.Request) {
			if rangeOf(r) > 0 {
				http.NotFound(w, r)
				return
			}
			cutAfter(w, content, 0, 1000)
		}},
		"starts earlier than asked": {serve: func(w http.ResponseWriter, r *http.Request) {
			if start := rangeOf(r); start > 0 {
				cutAfter(w, content, start-500, len(content))
				return
			}
			cutAfter(w, content, 0, 1000)
		}},
		"starts later than asked": {fails: true, serve: func(w http.ResponseWriter, r *http.Request) {
			if start := rangeOf(r); start > 0 {
				cutAfter(w, content, start+500, len(content))
				return
			}
			cutAfter(w, content, 0, 1000)
		}},
		"says nothing of the range": {fails: true, serve: func(w http.ResponseWriter, r *http.Request) {
			if rangeOf(r) > 0 {
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(content[rangeOf(r):])
				return
			}
			cutAfter(w, content, 0, 1000)
		}},
		"lies about the range": {fails: true, serve: func(w http.ResponseWriter, r *http.Request) {
			if start := rangeOf(r); start > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(content[:len(content)-start])
				return
			}
			cutAfter(w, content, 0, 1000)
		}},
		"other content": {fails: true, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(randomBytes(2, mib)) }},
		"too long":      {fails: true, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(content[:mib:mib], 'x')) }},
		"too short":     {fails: true, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[:mib-1]) }},
		"stream, longer": {fails: true, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(append(content[:mib:mib], 'x'))
		}},
		"stream": {serve: func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); _, _ = w.Write(content) }},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pull(t, blobServer(t, tt.serve), d, mib)
			switch {
			case tt.fails && (err == nil || errors.Is(err, io.EOF)):
				t.Errorf("%d bytes, %v; want an error", len(got), err)
			case !tt.fails && (err != nil || !bytes.Equal(got, content)):
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestPullWithoutSize: the digest decides, also if a stream ends too early.
func TestPullWithoutSize(t *testing.T) {
	content := randomBytes(1, 100_000)
	d := oci.SHA256.FromBytes(content)
	r := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(content[:50_000])
	})
	if _, err := pull(t, r, d, -1); !errors.Is(err, client.ErrContent) {
		t.Errorf("half of it gives %v", err)
	}
	r = blobServer(t, func(w http.ResponseWriter, r *http.Request) { cutAfter(w, content, rangeOf(r), 30_000) })
	if got, err := pull(t, r, d, -1); err != nil || len(got) != len(content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestPullEnds: a reader that is closed or whose context ends asks for nothing more.
func TestPullEnds(t *testing.T) {
	content := randomBytes(1, mib)
	d := oci.SHA256.FromBytes(content)
	n := 0
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n++; cutAfter(w, content, rangeOf(r), 1000) }))
	ctx, cancel := context.WithCancel(t.Context())
	r := newRepository(t, address, "a", client.Options{Sleep: func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }})
	body, err := r.Blob(ctx, d, mib)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%v after %d requests", err, n)
	}
	r = newRepository(t, address, "a", client.Options{})
	if body, err = r.Blob(t.Context(), d, mib); err != nil {
		t.Fatal(err)
	}
	body.Close()
	if n, err := body.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a closed reader gives %d, %v", n, err)
	}
}

// TestSizeWithoutHead: HEAD says 0, or is not there; then GET tells.
func TestSizeWithoutHead(t *testing.T) {
	content := randomBytes(1, 1000)
	for _, status := range []int{http.StatusOK, http.StatusMethodNotAllowed} {
		r := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "0")
				w.WriteHeader(status)
				return
			}
			_, _ = w.Write(content)
		})
		if n, err := r.BlobSize(t.Context(), oci.SHA256.FromBytes(content)); err != nil || n != 1000 {
			t.Errorf("%d: size %d, %v", status, n, err)
		}
	}
}

// TestResolveFallsBack: if the answer to HEAD is incomplete, GET is used; digests are checked.
func TestResolveFallsBack(t *testing.T) {
	content := []byte(`{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[]}`)
	d := oci.SHA256.FromBytes(content)
	for name, head := range map[string]map[string]string{
		"nothing":      {},
		"length 0":     {"Content-Length": "0", "Docker-Content-Digest": string(d), "Content-Type": oci.MediaTypeImageIndex},
		"no type":      {"Content-Length": "99", "Docker-Content-Digest": string(d)},
		"no digest":    {"Content-Length": "99", "Content-Type": oci.MediaTypeImageIndex},
		"other digest": {"Content-Length": "99", "Content-Type": oci.MediaTypeImageIndex, "Docker-Content-Digest": "md5:1"},
	} {
		r := blobServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				for k, v := range head {
					w.Header().Set(k, v)
				}
				return
			}
			w.Header().Set("Content-Type", oci.MediaTypeImageIndex+"; charset=utf-8")
			_, _ = w.Write(content)
		})
		got, err := r.Resolve(t.Context(), oci.Reference{Tag: "x"})
		if err != nil || got.Digest != d || got.Size != int64(len(content)) || got.MediaType != oci.MediaTypeImageIndex {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	other := oci.SHA256.FromBytes([]byte("other"))
	r := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", string(other))
		_, _ = w.Write(content)
	})
	for _, ref := range []oci.Reference{{Tag: "x"}, {Digest: other}} {
		if _, err := r.Manifest(t.Context(), ref); !errors.Is(err, client.ErrContent) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := r.PushManifest(t.Context(), oci.Reference{Digest: other}, oci.MediaTypeImageIndex, content); !errors.Is(err, client.ErrContent) {
		t.Errorf("pushed under another digest: %v", err)
	}
}
