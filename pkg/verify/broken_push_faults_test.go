package verify_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
)

// The faults of pushes that need a memory.

// both matches requests that match each.
func both(a, b when) when {
	return func(r *http.Request) bool { return a(r) && b(r) }
}

func ofNoLength(r *http.Request) bool { return r.ContentLength < 0 }
func placed(r *http.Request) bool     { return r.Header.Get("Content-Range") != "" }
func unplaced(r *http.Request) bool   { return r.Header.Get("Content-Range") == "" }

// long matches bodies of known length.
func long(least, most int64) when {
	return func(r *http.Request) bool { return r.ContentLength >= least && r.ContentLength <= most }
}

// intercept hands requests with their handler to a function; it says whether it
// has answered.
func intercept(f func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !f(w, r, next) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// ledger remembers a value by name.
type ledger[T any] struct {
	mu     sync.Mutex
	values map[string]T
}

// swap sets a value and returns what was there.
func (m *ledger[T]) swap(name string, v T) (old T, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]T{}
	}
	old, known = m.values[name]
	m.values[name] = v
	return old, known
}

func (m *ledger[T]) get(name string) (v T, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, known = m.values[name]
	return v, known
}

func (m *ledger[T]) forget(name string) (known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known = m.values[name]
	delete(m.values, name)
	return known
}

// blobRepository is the repository of a blob request.
func blobRepository(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/blobs/")
	return name
}

func blobPath(repo, digest string) string { return "/v2/" + repo + "/blobs/" + digest }

// sibling is another request of the same client.
func sibling(r *http.Request, method, path, query string, body []byte) *http.Request {
	s := r.Clone(context.WithoutCancel(r.Context()))
	s.Method, s.Header, s.TransferEncoding = method, http.Header{}, nil
	s.URL = &url.URL{Path: path, RawQuery: query}
	s.RequestURI = s.URL.RequestURI()
	setRequestBody(s, body)
	return s
}

// again answers a request that was successful before with a status.
func again(match when, status int) func(http.Handler) http.Handler {
	var seen ledger[bool]
	return answers(match, func(r *reply) {
		if !r.ok() {
			return
		}
		if _, known := seen.swap(r.request.URL.Path+r.request.URL.Query().Get("mount"), true); known {
			r.status = status
		}
	})
}

// sharedUpload answers each start of an upload with the first one of the repository.
func sharedUpload(next http.Handler) http.Handler {
	var first ledger[string]
	return successes(on("POST", toUploads), func(r *reply) {
		if old, known := first.get(r.request.URL.Path); known {
			r.header.Set("Location", old)
			return
		}
		first.swap(r.request.URL.Path, r.header.Get("Location"))
	})(next)
}

// firstParameter wants its own parameter before any other.
func firstParameter(next http.Handler) http.Handler {
	marked := successes(on("POST|PATCH|GET", `/blobs/uploads/`), func(r *reply) { r.header.Set("Location", r.header.Get("Location")+"?state=1") })
	return marked(refuses(both(on("PUT", toSession), func(r *http.Request) bool { return !strings.HasPrefix(r.URL.RawQuery, "state=1") }), http.StatusNotFound)(next))
}

// putMakesUploads takes a blob from a PUT to an upload that is not there.
func putMakesUploads(next http.Handler) http.Handler {
	return intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !on("PUT", toSession)(r) {
			return false
		}
		body := requestBody(r)
		got := record(next, r)
		if got.status == http.StatusNotFound && len(body) > 0 {
			path := "/v2/" + blobRepository(r.URL.Path) + "/blobs/uploads/"
			got = record(next, sibling(r, http.MethodPost, path, r.URL.RawQuery, body))
		}
		got.send(w)
		return true
	})(next)
}

// uploadsOfAll finds an upload whatever the repository in its URL.
func uploadsOfAll(next http.Handler) http.Handler {
	var owner ledger[string]
	return intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		_, id, _ := strings.Cut(r.URL.Path, "/blobs/uploads/")
		if path, known := owner.get(id); known {
			r.URL.Path = path
			return false
		}
		if !on("POST", toUploads)(r) {
			return false
		}
		got := record(next, r)
		path := got.header.Get("Location")
		_, id, _ = strings.Cut(path, "/blobs/uploads/")
		owner.swap(id, path)
		got.send(w)
		return true
	})(next)
}

// shows answers for blobs that a registry should not show.
func shows(shown *ledger[bool]) func(http.Handler) http.Handler {
	return answers(on("GET|HEAD", toBlob), func(r *reply) {
		if _, known := shown.get(r.request.URL.Path); known && r.status == http.StatusNotFound {
			r.status = http.StatusOK
		}
	})
}

// chunksAreBlobs shows each chunk under its own digest.
func chunksAreBlobs(next http.Handler) http.Handler {
	var shown ledger[bool]
	return shows(&shown)(requests(on("PATCH", toSession), func(r *http.Request) {
		shown.swap(blobPath(blobRepository(r.URL.Path), string(oci.SHA256.FromBytes(requestBody(r)))), true)
	})(next))
}

// linkFirst shows a blob from the moment on that somebody wants to push it.
func linkFirst(next http.Handler) http.Handler {
	var shown ledger[bool]
	return shows(&shown)(requests(on("PUT|POST", `/blobs/uploads/.*(digest|mount)=`), func(r *http.Request) {
		q := r.URL.Query()
		shown.swap(blobPath(blobRepository(r.URL.Path), q.Get("digest")+q.Get("mount")), true)
	})(next))
}

// lastWriterWins serves what the last PUT of a digest had, whatever it was.
func lastWriterWins(next http.Handler) http.Handler {
	var content ledger[[]byte]
	served := successes(on("GET", toBlob), func(r *reply) {
		if b, known := content.get(r.request.URL.Path); known {
			r.setBody(b)
		}
	})
	return served(requests(on("PUT", toSession), func(r *http.Request) {
		if b := requestBody(r); len(b) > 0 {
			content.swap(blobPath(blobRepository(r.URL.Path), r.URL.Query().Get("digest")), b)
		}
	})(next))
}

// pushes calls a function with the path of each blob that was pushed.
func pushes(f func(r *reply, path string)) func(http.Handler) http.Handler {
	return successes(on("PUT", toSession), func(r *reply) {
		f(r, blobPath(blobRepository(r.request.URL.Path), r.request.URL.Query().Get("digest")))
	})
}

// seenLate misses a blob once after its push.
func seenLate(next http.Handler) http.Handler {
	var fresh ledger[bool]
	reads := answers(on("GET|HEAD", toBlob), func(r *reply) {
		if fresh.forget(r.request.URL.Path) {
			r.status = http.StatusNotFound
		}
	})
	return reads(pushes(func(_ *reply, path string) { fresh.swap(path, true) })(next))
}

// lagging misses a blob each fourth time.
func lagging(next http.Handler) http.Handler {
	var asked ledger[int]
	return answers(on("GET|HEAD", toBlob), func(r *reply) {
		n, _ := asked.get(r.request.URL.Path)
		asked.swap(r.request.URL.Path, n+1)
		if n%4 == 3 {
			r.status = http.StatusNotFound
		}
	})(next)
}

// missesCached remembers which blobs are not there.
func missesCached(next http.Handler) http.Handler {
	var missed ledger[bool]
	return answers(on("GET|HEAD", toBlob), func(r *reply) {
		if r.status == http.StatusNotFound {
			missed.swap(r.request.URL.Path, true)
		}
		if _, known := missed.get(r.request.URL.Path); known {
			r.status = http.StatusNotFound
		}
	})(next)
}

// pushedOnce refuses a blob that is there.
func pushedOnce(next http.Handler) http.Handler {
	var seen ledger[bool]
	return pushes(func(r *reply, path string) {
		if _, known := seen.swap(path, true); known {
			r.status = http.StatusConflict
		}
	})(next)
}

// oneOwner shows a blob in the repository alone to which it was pushed first.
func oneOwner(next http.Handler) http.Handler {
	var owner ledger[string]
	reads := answers(on("GET|HEAD", toBlob), func(r *reply) {
		_, digest, _ := strings.Cut(r.request.URL.Path, "/blobs/")
		if repo, known := owner.get(digest); known && repo != blobRepository(r.request.URL.Path) {
			r.status = http.StatusNotFound
		}
	})
	return reads(pushes(func(_ *reply, path string) {
		_, digest, _ := strings.Cut(path, "/blobs/")
		if _, known := owner.get(digest); !known {
			owner.swap(digest, blobRepository(path))
		}
	})(next))
}

// keepsRefusedBlobs pushes what it refuses under its own digest.
func keepsRefusedBlobs(next http.Handler) http.Handler {
	return intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !on("PUT", toSession)(r) {
			return false
		}
		body := requestBody(r)
		got := record(next, r)
		if got.status == http.StatusBadRequest {
			path := "/v2/" + blobRepository(r.URL.Path) + "/blobs/uploads/"
			record(next, sibling(r, http.MethodPost, path, "digest="+string(oci.SHA256.FromBytes(body)), body))
		}
		got.send(w)
		return true
	})(next)
}

// trustsContent takes a closing PUT without a digest.
func trustsContent(next http.Handler) http.Handler {
	return requests(both(on("PUT", toSession), func(r *http.Request) bool { return !r.URL.Query().Has("digest") }), func(r *http.Request) {
		r.URL.RawQuery = "digest=" + string(oci.SHA256.FromBytes(requestBody(r)))
	})(next)
}

// mountBelieves answers each mount with 201 and does nothing.
func mountBelieves(next http.Handler) http.Handler {
	return intercept(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !on("POST", toMount)(r) {
			return false
		}
		d := r.URL.Query().Get("mount")
		w.Header().Set("Location", blobPath(blobRepository(r.URL.Path), d))
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(http.StatusCreated)
		return true
	})(next)
}

// mountMoves loses a mounted blob in its old repository.
func mountMoves(next http.Handler) http.Handler {
	var gone ledger[bool]
	reads := answers(on("GET|HEAD", toBlob), func(r *reply) {
		if _, known := gone.get(r.request.URL.Path); known {
			r.status = http.StatusNotFound
		}
	})
	return reads(successes(on("POST", toMount), func(r *reply) {
		q := r.request.URL.Query()
		gone.swap(blobPath(q.Get("from"), q.Get("mount")), true)
	})(next))
}

// newLocations moves an upload with each chunk; its older places are gone.
func newLocations(next http.Handler) http.Handler {
	var moved ledger[string]
	patched := successes(on("PATCH", toSession), func(r *reply) {
		old, _ := moved.get(r.request.URL.Path)
		moved.swap(r.request.URL.Path, old+"i")
		r.header.Set("Location", r.header.Get("Location")+"?at="+old+"i")
	})
	return patched(answers(on("GET", toSession), func(r *reply) {
		if at, _ := moved.get(r.request.URL.Path); r.request.URL.Query().Get("at") != at {
			r.status = http.StatusNotFound
		}
	})(next))
}

// cancelsAfter ends uploads after some answers to chunks.
func cancelsAfter(match func(*reply) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return answers(on("PATCH|PUT", toSession), func(r *reply) {
			if match(r) {
				record(next, sibling(r.request, http.MethodDelete, r.request.URL.Path, "", nil))
			}
		})(next)
	}
}

// keepsChunks appends chunks that it refuses with a status.
func keepsChunks(status int) func(http.Handler) http.Handler {
	return intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !on("PATCH", toSession)(r) {
			return false
		}
		body := requestBody(r)
		got := record(next, r)
		if got.status == status {
			record(next, sibling(r, http.MethodPatch, r.URL.Path, "", body))
		}
		got.send(w)
		return true
	})
}

// repeatedIsFine answers a chunk of a place that it has with 202, and does not
// look at its bytes.
func repeatedIsFine(next http.Handler) http.Handler {
	var seen ledger[bool]
	return answers(on("PATCH", toSession), func(r *reply) {
		_, known := seen.swap(r.request.URL.Path+" "+r.request.Header.Get("Content-Range"), true)
		if known && r.status == http.StatusRequestedRangeNotSatisfiable {
			r.status = http.StatusAccepted
		}
	})(next)
}

// onBreak does something with the bytes of a chunk that broke off. Whoever asks for
// the upload meanwhile waits, so that the fault does not depend on who is faster.
func onBreak(f func(next http.Handler, r *http.Request, got []byte)) func(http.Handler) http.Handler {
	var mu sync.Mutex
	return intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !on("GET|PATCH", toSession)(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		var got bytes.Buffer
		if _, err := io.Copy(&got, r.Body); err != nil {
			f(next, r, got.Bytes())
			return true
		}
		setRequestBody(r, got.Bytes())
		r.Header.Set("Content-Length", strconv.Itoa(got.Len()))
		next.ServeHTTP(w, r)
		return true
	})
}
