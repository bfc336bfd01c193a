package verify_test

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// The helpers below make faults of concurrency that are there on every run: they
// hold requests back until the one has come that the fault needs.

// patience is how long a request is held back for another one: long enough for any
// that is on its way. Only where none comes it passes.
const patience = 5 * time.Second

// raceRepo is the path of a request's repository, with /v2/.
func raceRepo(r *http.Request) string {
	repo := r.URL.Path
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/list", "/referrers/"} {
		repo, _, _ = strings.Cut(repo, kind)
	}
	return repo
}

// raceDigest is the digest that a request is about.
func raceDigest(r *http.Request) string {
	_, last, _ := strings.Cut(r.URL.Path, "/blobs/")
	return cmp.Or(r.URL.Query().Get("digest"), r.URL.Query().Get("mount"), last)
}

func racePath(r *http.Request) string { return r.URL.Path }

// either matches what one of the two matches.
func either(a, b when) when { return func(r *http.Request) bool { return a(r) || b(r) } }

// afterFirst matches requests but the first for each path: a case sets a tag before its
// readers start, and a write that waits for a reader would wait in vain.
func afterFirst(match when) when {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(r *http.Request) bool {
		if !match(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		first := !seen[r.URL.Path]
		seen[r.URL.Path] = true
		return !first
	}
}

// pairs lets requests meet.
type pairs struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
}

// second tells the second of two requests with the same key. The first waits for it.
func (p *pairs) second(key string) bool {
	p.mu.Lock()
	if met := p.waiting[key]; met != nil {
		delete(p.waiting, key)
		p.mu.Unlock()
		close(met)
		return true
	}
	met := make(chan struct{})
	p.waiting[key] = met
	p.mu.Unlock()
	select {
	case <-met:
	case <-time.After(patience):
		p.mu.Lock()
		if p.waiting[key] == met {
			delete(p.waiting, key)
		}
		p.mu.Unlock()
	}
	return false
}

// collides has a fault in the second of any two requests that are under way at once.
func collides(match when, key func(*http.Request) string, fault func(next http.Handler, w http.ResponseWriter, r *http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		p := &pairs{waiting: map[string]chan struct{}{}}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) && p.second(key(r)) {
				fault(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// collisionIs answers with a status.
func collisionIs(status int) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
	}
}

// pretends answers with success and does nothing.
func pretends(_ http.Handler, w http.ResponseWriter, r *http.Request) {
	body := requestBody(r)
	switch {
	case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/uploads/"):
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
		return
	case r.Method == http.MethodPatch:
		w.Header().Set("Location", r.URL.RequestURI())
		w.Header().Set("Range", r.Header.Get("Content-Range"))
		w.WriteHeader(http.StatusAccepted)
		return
	case strings.Contains(r.URL.Path, "/manifests/"):
		d := string(oci.SHA256.FromBytes(body))
		w.Header().Set("Location", raceRepo(r)+"/manifests/"+d)
		w.Header().Set("Docker-Content-Digest", d)
	default:
		w.Header().Set("Location", raceRepo(r)+"/blobs/"+raceDigest(r))
	}
	w.WriteHeader(http.StatusCreated)
}

// losesTag stores the manifest and forgets its tag: what is left of a list that two
// have read, changed and written back.
func losesTag(next http.Handler, w http.ResponseWriter, r *http.Request) {
	r.URL.Path = raceRepo(r) + "/manifests/" + string(oci.SHA256.FromBytes(requestBody(r)))
	r.URL.RawPath = ""
	next.ServeHTTP(w, r)
}

// heldWrite is a write that is under way.
type heldWrite struct {
	request *http.Request
	body    []byte
}

// digest is what the write's content will be known by.
func (h *heldWrite) digest() string {
	return cmp.Or(h.request.URL.Query().Get("digest"), string(oci.SHA256.FromBytes(h.body)))
}

// writing has a fault in reads while a write to the same repository is under way.
// Writes wait until a read has seen the fault, which tells it by true.
func writing(write, read when, fault func(h *heldWrite, got *reply) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		held := map[string][]*heldWrite{}
		seen := newEvents()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			repo := raceRepo(r)
			switch {
			case write(r):
				h := &heldWrite{r, requestBody(r)}
				mu.Lock()
				held[repo] = append(held[repo], h)
				mu.Unlock()
				seen.wait(repo)
				next.ServeHTTP(w, r)
				mu.Lock()
				held[repo] = slices.DeleteFunc(held[repo], func(o *heldWrite) bool { return o == h })
				mu.Unlock()
			case read(r):
				mu.Lock()
				underWay := slices.Clone(held[repo])
				mu.Unlock()
				got := record(next, r)
				faulty := slices.ContainsFunc(underWay, func(h *heldWrite) bool { return fault(h, got) })
				got.send(w)
				if faulty {
					seen.happened(repo)
				}
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// halfWritten shows half of what is being written.
func halfWritten(h *heldWrite, got *reply) bool {
	path := got.request.URL.Path
	if path != h.request.URL.Path && !strings.HasSuffix(path, h.digest()) {
		return false
	}
	got.status = http.StatusOK
	got.header.Set("Docker-Content-Digest", h.digest())
	got.setBody(h.body[:len(h.body)/2])
	return true
}

// readIs answers reads with a status.
func readIs(status int) func(*heldWrite, *reply) bool {
	return func(_ *heldWrite, got *reply) bool {
		got.status = status
		return true
	}
}

// late answers at once and acts later: before or after the next read with the same
// key is answered.
func late(match, read when, key func(*http.Request) string, before bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		pending := map[string][]*http.Request{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k := key(r)
			if match(r) {
				again := r.Clone(context.Background())
				setRequestBody(again, requestBody(r))
				pretends(next, w, r)
				mu.Lock()
				defer mu.Unlock()
				pending[k] = append(pending[k], again)
				return
			}
			if !read(r) {
				next.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			todo := pending[k]
			delete(pending, k)
			mu.Unlock()
			act := func() {
				for _, p := range todo {
					record(next, p)
				}
			}
			if before {
				act()
				next.ServeHTTP(w, r)
				return
			}
			got := record(next, r)
			got.send(w)
			act()
		})
	}
}

// nodeCaches answers from a cache that nothing is ever taken out of, in every nth
// read of a URL: that of one node of n.
func nodeCaches(match when, n int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		asked, cached := map[string]int{}, map[string]*reply{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			key := r.Method + " " + r.URL.RequestURI()
			mu.Lock()
			asked[key]++
			mine := asked[key]%n == 0
			old := cached[key]
			mu.Unlock()
			if mine && old != nil {
				(&reply{r, old.status, old.header, old.body}).send(w)
				return
			}
			got := record(next, r)
			if mine {
				mu.Lock()
				cached[key] = got
				mu.Unlock()
			}
			got.send(w)
		})
	}
}

// events are things that have happened, to wait for.
type events struct {
	mu   sync.Mutex
	done map[string]chan struct{}
}

func newEvents() *events { return &events{done: map[string]chan struct{}{}} }

func (e *events) of(key string) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done[key] == nil {
		e.done[key] = make(chan struct{})
	}
	return e.done[key]
}

// happened is told once for each key, or more often.
func (e *events) happened(key string) {
	c := e.of(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-c:
	default:
		close(c)
	}
}

// wait waits for it, for a while.
func (e *events) wait(key string) {
	select {
	case <-e.of(key):
	case <-time.After(patience):
	}
}

// has reports whether it has happened.
func (e *events) has(key string) bool {
	select {
	case <-e.of(key):
		return true
	default:
		return false
	}
}
