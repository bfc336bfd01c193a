package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// interrupted pushes a blob in chunks to a registry, and ends the push at the given request
// that sends a chunk, in the middle of its body. It returns what Resume kept.
func interrupted(t *testing.T, address string, b client.Blob, at int, end func(cancel func()) fault) *memory {
	t.Helper()
	kept := &memory{ids: map[oci.Digest]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	chunks := 0
	f := &faults{pick: func(req *http.Request, _ int) fault {
		if req.Method != http.MethodPatch {
			return none
		}
		if chunks++; chunks < at {
			return none
		}
		return end(cancel)
	}}
	r := newRepository(t, address, "a", client.Options{Resume: kept, Transport: f, Attempts: 1})
	if got, err := r.PushBlob(ctx, b); err == nil {
		t.Fatalf("the push was not interrupted: %+v", got)
	}
	for _, request := range f.requests() {
		if strings.HasPrefix(request, "DELETE") && len(kept.ids) > 0 {
			t.Errorf("%s: the upload was cancelled", request)
		}
	}
	return kept
}

// TestChunksResume: another process sends only the chunks that the registry does not have,
// after Ctrl-C and after an outage.
func TestChunksResume(t *testing.T) {
	const size = 13 * mib
	for name, end := range map[string]func(cancel func()) fault{
		"cancelled in a chunk": func(cancel func()) fault { cancel(); return cutRequest },
		"outage":               func(func()) fault { return unavailable },
		"answer lost":          func(cancel func()) fault { cancel(); return lostAnswer },
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, newRegistry(t))
			content := randomBytes(3, size)
			b := fileOf(t, content)
			kept := interrupted(t, address, b, 3, end)
			if len(kept.ids) != 1 {
				t.Fatalf("%d uploads are remembered, want 1", len(kept.ids))
			}
			seen := &progress{}
			b.Progress = seen.add
			got, err := newRepository(t, address, "a", client.Options{Resume: kept}).PushBlob(t.Context(), b)
			if err != nil || got.Method != client.Chunked {
				t.Fatalf("%+v, %v", got, err)
			}
			if want := int64(size - 2*4*mib); got.Sent != want && !(name == "answer lost" && got.Sent == want-4*mib) || seen.sum != got.Sent || seen.low < 0 {
				t.Errorf("sent %d bytes, reported %d, want the %d that were not there", got.Sent, seen.sum, want)
			}
			wantBlob(t, newRepository(t, address, "a", client.Options{}), content)
			if len(kept.ids) != 0 {
				t.Errorf("remembered after the end: %v", kept.ids)
			}
		})
	}
}

// TestChunksResumeFails: unusable state of an upload is deleted, and the blob
// is pushed from its start.
func TestChunksResumeFails(t *testing.T) {
	content := randomBytes(4, 9*mib)
	b := blobOf(content)
	state := func(location string) string {
		s, err := json.Marshal(map[string]any{"Location": location, "Min": 0, "Max": 0})
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	for name, kept := range map[string]func(t *testing.T, address string) string{
		"unknown": func(_ *testing.T, address string) string {
			return state(address + "/v2/a/blobs/uploads/" + strings.Repeat("0", 64))
		},
		"no URL":         func(*testing.T, string) string { return state("/v2/a") },
		"an id":          func(*testing.T, string) string { return strings.Repeat("a", 64) },
		"unreachable":    func(*testing.T, string) string { return state("http://127.0.0.1:1/") },
		"damaged bytes":  func(t *testing.T, address string) string { return state(otherBytes(t, address, 4*mib)) },
		"too many bytes": func(t *testing.T, address string) string { return state(otherBytes(t, address, 10*mib)) },
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, newRegistry(t))
			m := &memory{ids: map[oci.Digest]string{b.Digest: kept(t, address)}}
			r := newRepository(t, address, "a", client.Options{Resume: m, Attempts: 1})
			if _, err := r.PushBlob(t.Context(), b); err != nil || len(m.ids) != 0 {
				t.Fatalf("%v; remembered %v", err, m.ids)
			}
			wantBlob(t, r, content)
		})
	}
}

// otherBytes opens an upload that has bytes of no blob of the test, and returns its URL.
func otherBytes(t *testing.T, address string, n int) string {
	t.Helper()
	do := func(method, at string, body io.Reader) string {
		req, err := http.NewRequestWithContext(t.Context(), method, at, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		next, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		return next.String()
	}
	return do(http.MethodPatch, do(http.MethodPost, address+"/v2/a/blobs/uploads/", nil), strings.NewReader(strings.Repeat("x", n)))
}

// TestChunksNotKept: without a Resume, and for errors that do not pass, the upload is
// cancelled as before.
func TestChunksNotKept(t *testing.T) {
	inner := newRegistry(t)
	var refuse atomic.Bool
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() && r.Method == http.MethodPatch {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	b := fileOf(t, randomBytes(5, 9*mib))
	for name, opts := range map[string]client.Options{"no Resume": {}, "refused": {Resume: &memory{ids: map[oci.Digest]string{}}}} {
		refuse.Store(name == "refused")
		f := &faults{pick: func(req *http.Request, _ int) fault {
			if req.Method == http.MethodPatch && name == "no Resume" {
				return unavailable
			}
			return none
		}}
		opts.Transport, opts.Attempts = f, 1
		_, err := newRepository(t, address, "a", opts).PushBlob(t.Context(), b)
		all := f.requests()
		if err == nil || errors.Is(err, context.Canceled) || !strings.HasPrefix(all[len(all)-1], "DELETE /v2/a/blobs/uploads/") {
			t.Errorf("%s: %v after %v, want that the upload is cancelled", name, err, all)
		}
		if m, ok := opts.Resume.(*memory); ok && len(m.ids) > 0 {
			t.Errorf("%s: remembered %v", name, m.ids)
		}
	}
}

// movingLocations is a registry whose uploads move with each request: earlier locations
// are refused.
func movingLocations(inner http.Handler) http.Handler {
	var mu sync.Mutex
	moves := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, id, _ := strings.Cut(r.URL.Path, "/blobs/uploads/")
		if id != "" && r.URL.Query().Get("move") != strconv.Itoa(moves) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, r)
		if at := answer.Header().Get("Location"); strings.Contains(at, "/blobs/uploads/") {
			moves++
			answer.Header().Set("Location", at+"?move="+strconv.Itoa(moves))
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// TestChunksResumeMoved: the last Location counts.
func TestChunksResumeMoved(t *testing.T) {
	address := serve(t, movingLocations(newRegistry(t)))
	b := fileOf(t, randomBytes(6, 17*mib))
	kept := interrupted(t, address, b, 3, func(cancel func()) fault { cancel(); return refused })
	got, err := newRepository(t, address, "a", client.Options{Resume: kept}).PushBlob(t.Context(), b)
	if want := b.Size - 2*4*mib; err != nil || got.Sent != want {
		t.Errorf("%+v, %v, want %d bytes sent", got, err, want)
	}
}

// TestChunksKeptForSource: a source that fails, as another registry may, costs no chunk
// that was sent.
func TestChunksKeptForSource(t *testing.T) {
	address := serve(t, newRegistry(t))
	content := randomBytes(7, 17*mib)
	b := blobOf(content)
	broken := b
	broken.Open = func(int64) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:9*mib]), iotest.ErrReader(errInjected))), nil
	}
	r := newRepository(t, address, "a", client.Options{Resume: &memory{ids: map[oci.Digest]string{}}})
	if _, err := r.PushBlob(t.Context(), broken); !errors.Is(err, client.ErrSource) {
		t.Fatal(err)
	}
	got, err := r.PushBlob(t.Context(), b)
	if want := b.Size - 2*4*mib; err != nil || got.Sent != want {
		t.Errorf("%+v, %v, want %d bytes sent", got, err, want)
	}
}

// TestChunksLostAgain: an upload that the registry loses in the middle is begun anew at
// once, with a Resume too. One that another process may be at is not cancelled.
func TestChunksLostAgain(t *testing.T) {
	for name, resumed := range map[string]bool{"its own": false, "another's": true} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, newRegistry(t))
			content := randomBytes(8, 9*mib)
			kept := &memory{ids: map[oci.Digest]string{}}
			if resumed {
				state, err := json.Marshal(map[string]string{"Location": otherBytes(t, address, 4*mib)})
				if err != nil {
					t.Fatal(err)
				}
				kept.ids[oci.SHA256.FromBytes(content)] = string(state)
			}
			patches, status := 0, 0
			f := &faults{pick: func(req *http.Request, _ int) fault {
				switch {
				case req.Method == http.MethodPatch:
					if patches++; patches == 1 {
						return unavailable
					}
				case req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/uploads/"):
					if status++; status > 1 || !resumed {
						return unknown
					}
				}
				return none
			}}
			r := newRepository(t, address, "a", client.Options{Resume: kept, Transport: f})
			if got, err := r.PushBlob(t.Context(), blobOf(content)); err != nil || got.Sent != 9*mib {
				t.Errorf("%+v, %v", got, err)
			}
			cancelled := slices.ContainsFunc(f.requests(), func(request string) bool { return strings.HasPrefix(request, "DELETE") })
			if cancelled == resumed {
				t.Errorf("cancelled: %t", cancelled)
			}
		})
	}
}
