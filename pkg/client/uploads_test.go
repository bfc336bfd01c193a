package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// peer is a registry with configurable behaviour: one upload at a time, blobs by digest.
type peer struct {
	mu      sync.Mutex
	upload  []byte
	session int
	blobs   map[oci.Digest]int
	seen    []string
	// The habits; nil: the spec's way.
	post, patch, put func(p *peer, w http.ResponseWriter, r *http.Request) (handled bool)
}

func newPeer(t *testing.T, p *peer) (*client.Repository, *peer) {
	t.Helper()
	p.blobs = map[oci.Digest]int{}
	return newRepository(t, serve(t, p), "a", client.Options{}), p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method)
	if strings.Contains(r.URL.Path, "_pierless") {
		http.NotFound(w, r)
		return
	}
	habit := map[string]func(*peer, http.ResponseWriter, *http.Request) bool{http.MethodPost: p.post, http.MethodPatch: p.patch, http.MethodPut: p.put}[r.Method]
	if habit != nil && habit(p, w, r) {
		return
	}
	switch r.Method {
	case http.MethodHead:
		if n, there := p.blobs[oci.Digest(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])]; there {
			w.Header().Set("Content-Length", strconv.Itoa(n))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	case http.MethodPost:
		p.upload = nil
		p.session++
		p.where(w, http.StatusAccepted)
	case http.MethodGet:
		p.where(w, http.StatusNoContent)
	case http.MethodPatch:
		p.append(w, r)
	case http.MethodPut:
		p.finish(w, r)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (p *peer) where(w http.ResponseWriter, status int) {
	w.Header().Set("Location", fmt.Sprintf("/v2/a/blobs/uploads/%d?_state=%d", p.session, len(p.upload)))
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(p.upload)-1, 0)))
	w.WriteHeader(status)
}

func (p *peer) append(w http.ResponseWriter, r *http.Request) {
	if first, _, _ := strings.Cut(r.Header.Get("Content-Range"), "-"); first != strconv.Itoa(len(p.upload)) {
		p.where(w, http.StatusRequestedRangeNotSatisfiable)
		return
	}
	body, _ := io.ReadAll(r.Body)
	p.upload = append(p.upload, body...)
	p.where(w, http.StatusAccepted)
}

func (p *peer) finish(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	all := append(p.upload, body...)
	want := oci.Digest(r.URL.Query().Get("digest"))
	if oci.SHA256.FromBytes(all) != want {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DIGEST_INVALID"}]}`))
		return
	}
	p.blobs[want] = len(all)
	w.WriteHeader(http.StatusCreated)
}

// TestPeers: registries that are known to do it their own way get their blobs.
func TestPeers(t *testing.T) {
	const size = 9 * mib
	times := func(n int, f func(p *peer, w http.ResponseWriter, r *http.Request)) func(*peer, http.ResponseWriter, *http.Request) bool {
		return func(p *peer, w http.ResponseWriter, r *http.Request) bool {
			if n--; n < 0 {
				return false
			}
			f(p, w, r)
			return true
		}
	}
	status := func(code int) func(*peer, http.ResponseWriter, *http.Request) {
		return func(_ *peer, w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(code)
		}
	}
	for name, tt := range map[string]struct {
		peer *peer
		how  client.PushMethod
	}{
		"as the spec has it": {&peer{}, client.Chunked},
		"ECR: a chunk ends the upload": {&peer{patch: func(_ *peer, w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
			return true
		}}, client.Whole},
		"no chunks, 405": {&peer{patch: times(99, status(http.StatusMethodNotAllowed))}, client.Whole},
		"no chunks, 400": {&peer{patch: times(99, status(http.StatusBadRequest))}, client.Whole},
		"no chunks, says yes": {&peer{patch: func(p *peer, w http.ResponseWriter, _ *http.Request) bool {
			p.where(w, http.StatusAccepted)
			return true
		}}, client.Whole},
		"204 for a chunk": {&peer{patch: func(p *peer, w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			p.upload = append(p.upload, body...)
			w.WriteHeader(http.StatusNoContent)
			return true
		}}, client.Chunked},
		"half a chunk": {&peer{patch: times(3, func(p *peer, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			p.upload = append(p.upload, body[:len(body)/2]...)
			p.where(w, http.StatusAccepted)
		})}, client.Chunked},
		"half a chunk, then it breaks": {&peer{patch: times(2, func(p *peer, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			p.upload = append(p.upload, body[:len(body)/2]...)
			w.WriteHeader(http.StatusBadGateway)
		})}, client.Chunked},
		"a whole chunk, then it breaks": {&peer{patch: times(2, func(p *peer, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			p.upload = append(p.upload, body...)
			w.WriteHeader(http.StatusInternalServerError)
		})}, client.Chunked},
		"forgets the upload twice": {&peer{patch: times(2, status(http.StatusNotFound))}, client.Chunked},
		"forgets its beginning": {&peer{patch: func() func(p *peer, w http.ResponseWriter, r *http.Request) bool {
			n := 0
			return func(p *peer, _ http.ResponseWriter, _ *http.Request) bool {
				if n++; n == 2 {
					p.upload = nil
				}
				return false
			}
		}()}, client.Chunked},
		"larger chunks": {&peer{post: func(_ *peer, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("OCI-Chunk-Min-Length", strconv.Itoa(5*mib))
			return false
		}, patch: func(p *peer, w http.ResponseWriter, r *http.Request) bool {
			if r.ContentLength < 5*mib && len(p.upload)+int(r.ContentLength) != size {
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			return false
		}}, client.Chunked},
		"chunks that are too much for the memory": {&peer{post: func(_ *peer, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("OCI-Chunk-Min-Length", strconv.Itoa(17*mib))
			return false
		}}, client.Whole},
		"the end is lost": {&peer{put: times(1, func(p *peer, w http.ResponseWriter, r *http.Request) {
			p.blobs[oci.Digest(r.URL.Query().Get("digest"))] = size
			p.put = func(_ *peer, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			w.WriteHeader(http.StatusBadGateway)
		})}, client.Chunked},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := newPeer(t, tt.peer)
			content := randomBytes(1, size)
			seen := &progress{}
			b := blobOf(content)
			b.Progress = seen.add
			got, err := r.PushBlob(t.Context(), b)
			if err != nil || got != (client.PushResult{Method: tt.how, Sent: size}) || seen.sum != size || seen.low < 0 {
				t.Fatalf("%+v, %v; progress %d", got, err, seen.sum)
			}
			if p.blobs[b.Digest] != size {
				t.Error("the registry does not have it")
			}
		})
	}
}

// TestSmallPeers: a registry that takes no blob with the POST is asked that way once.
func TestSmallPeers(t *testing.T) {
	for name, post := range map[string]func(*peer, http.ResponseWriter, *http.Request) bool{
		"202": nil,
		"405": func(_ *peer, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("digest") {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.URL.Query().Has("digest")
		},
	} {
		r, p := newPeer(t, &peer{post: post})
		for i := range 3 {
			b, seen := blobOf(randomBytes(uint64(i), 1000)), &progress{}
			b.Progress = seen.add
			if got, err := r.PushBlob(t.Context(), b); err != nil || got != (client.PushResult{Method: client.Whole, Sent: 1000}) || seen.sum != 1000 {
				t.Errorf("%s: %+v, %v; progress %d", name, got, err, seen.sum)
			}
		}
		if want := "POST PUT POST PUT POST PUT"; name == "202" && strings.Join(p.seen, " ") != want {
			t.Errorf("%s: requests %q, want %q", name, p.seen, want)
		}
	}
}

// TestRefusals: a rejection is an error at once, with the registry's message.
func TestRefusals(t *testing.T) {
	for code, want := range map[int]oci.Code{http.StatusForbidden: oci.Denied, http.StatusUnauthorized: oci.Unauthorized, http.StatusRequestEntityTooLarge: oci.SizeInvalid} {
		for _, size := range []int{1000, 5 * mib} {
			r, p := newPeer(t, &peer{})
			refuseAll := func(_ *peer, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
			p.post, p.patch = refuseAll, refuseAll
			_, err := r.PushBlob(t.Context(), blobOf(randomBytes(1, size)))
			if !errors.Is(err, &oci.Error{Code: want}) {
				t.Errorf("%d, %d bytes: %v", code, size, err)
			}
			if code == http.StatusRequestEntityTooLarge && !strings.Contains(err.Error(), "pierless push") {
				t.Errorf("413 does not say what to do: %v", err)
			}
			posts := strings.Count(strings.Join(p.seen, " "), "POST")
			if posts > 2 { // the offer is one
				t.Errorf("%d: asked %d times", code, posts)
			}
		}
	}
}

// TestHTTPLocation: behind a front door that ends TLS, a Location with http is ours, and
// is not followed down.
func TestHTTPLocation(t *testing.T) {
	var schemes []string
	f := roundTrip(func(req *http.Request) (*http.Response, error) {
		schemes = append(schemes, req.URL.Scheme+" "+req.Method)
		h := http.Header{"Location": {"http://registry.example/v2/a/blobs/uploads/1"}}
		return answerWith(req, map[string]int{http.MethodPost: 202, http.MethodPut: 201, http.MethodHead: 404}[req.Method], h), nil
	})
	r := newRepository(t, "registry.example", "a", client.Options{Transport: f})
	if _, err := r.PushBlob(t.Context(), blobOf([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(schemes, ", "); got != "https POST, https PUT" {
		t.Errorf("requests %s", got)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestYesToEverything: a server that answers 200 to every request has stored nothing.
func TestYesToEverything(t *testing.T) {
	r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead, strings.Contains(r.URL.Path, "_pierless"):
			http.NotFound(w, r)
		case r.Method == http.MethodPost && r.URL.RawQuery == "", r.Method == http.MethodPatch:
			w.Header().Set("Location", "/v2/a/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		default:
			fmt.Fprint(w, "<html>welcome</html>")
		}
	})), "a", client.Options{})
	for _, size := range []int{10, mib, 5 * mib} {
		if got, err := r.PushBlob(t.Context(), blobOf(randomBytes(1, size))); err == nil {
			t.Errorf("%d bytes pushed as %+v", size, got)
		}
	}
	if _, err := r.PushManifest(t.Context(), oci.Reference{Tag: "v1"}, oci.MediaTypeImageManifest, []byte("{}")); err == nil {
		t.Error("a manifest is pushed")
	}
}

// TestNoIDInAnswers: some servers repeat the path of a request in errors.
func TestNoIDInAnswers(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for name, form := range map[string]string{"text": "Cannot %s %s", "spec": `{"errors":[{"code":"DENIED","message":"%s %s","detail":"` + id + `"}]}`} {
		r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "_pierless"), r.Method == http.MethodHead:
				http.NotFound(w, r)
			case r.Method == http.MethodPost:
				w.Header().Set("Location", "/v2/a/blobs/uploads/"+id+"?_state=x")
				w.WriteHeader(http.StatusAccepted)
			default:
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, form, r.Method, r.URL.Path)
			}
		})), "a", client.Options{})
		_, err := r.PushBlob(t.Context(), blobOf(randomBytes(1, 5*mib)))
		if err == nil || strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "<id>") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
