//go:build e2e && soak

package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// record has everything that clients asked for, and when. An operation has effect at one time
// between its first request and its answer, so it decides the end only if no other operation on the
// same manifest ran beside it or after it.
type record struct {
	mu        sync.Mutex
	manifests map[string]*soakManifest // by repository and digest
	tags      map[string]*tagState     // by repository and tag; each has one client, which moves it
}

// soakManifest is a manifest in a repository.
type soakManifest struct {
	repo, digest string
	content      []byte
	contents     [][]byte // of its blobs, as long as a client may push it
	spans        *[2]span // of pushes and deletes
}

// pushes and deletes are the kinds of operations on a manifest.
const (
	pushes = iota
	deletes
)

// span has the times of the operations of one kind.
type span struct {
	open  int       // number of operations in progress
	start time.Time // of the latest operation that was acknowledged
	end   time.Time // of the latest operation
}

// ended reports whether an operation was acknowledged that began after all of the other kind had
// ended.
func (s span) ended(other span) bool { return other.open == 0 && s.start.After(other.end) }

// tagState is the last operation on a tag.
type tagState struct {
	repo, tag  string
	manifest   *soakManifest // nil: the tag was deleted
	start, end time.Time     // end is zero while it is in progress
}

func newRecord() *record {
	return &record{manifests: map[string]*soakManifest{}, tags: map[string]*tagState{}}
}

// manifest returns the entry of a manifest.
func (r *record) manifest(repo string, content []byte) *soakManifest {
	r.mu.Lock()
	defer r.mu.Unlock()
	digest := digestOf(content)
	m := r.manifests[repo+"@"+digest]
	if m == nil {
		m = &soakManifest{repo: repo, digest: digest, content: content, spans: new([2]span)}
		r.manifests[repo+"@"+digest] = m
	}
	return m
}

func (r *record) all() []*soakManifest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.manifests))
}

// begin notes the start of an operation; the returned function notes that it was acknowledged.
func (r *record) begin(m *soakManifest, kind int) (acknowledged func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start, s := time.Now(), &m.spans[kind]
	s.open++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.open--
		if start.After(s.start) {
			s.start = start
		}
		s.end = time.Now()
	}
}

// beginTag does so for an operation that moves a tag to a manifest, or deletes it if that is nil.
func (r *record) beginTag(repo, tag string, m *soakManifest) (acknowledged func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := &tagState{repo: repo, tag: tag, manifest: m, start: time.Now()}
	r.tags[repo+":"+tag] = state
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		state.end = time.Now()
	}
}

// mustExist reports whether a manifest must be there, and mayExist whether it may.
func (r *record) mustExist(m *soakManifest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return m.spans[pushes].ended(m.spans[deletes])
}

func (r *record) mayExist(m *soakManifest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !m.spans[deletes].ended(m.spans[pushes])
}

// tagOf returns the manifest to which a tag leads, or nil if its client has deleted the tag. must is
// true if no delete of the manifest may have ended the tag, and may if none has for certain.
func (r *record) tagOf(repo, tag string) (m *soakManifest, must, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.tags[repo+":"+tag]
	if state.manifest == nil {
		return nil, false, false
	}
	deleted := state.manifest.spans[deletes]
	must = deleted.open == 0 && !state.end.IsZero() && state.start.After(deleted.end)
	return state.manifest, must, !deleted.start.After(state.end)
}

// check pulls everything, while no client runs.
func (s *soak) check(t *testing.T) {
	t.Helper()
	var there, tags atomic.Int64
	all := s.rec.all()
	s.each(all, func(c *soakClient, m *soakManifest) {
		if c.pull(m, m.digest, s.rec.mustExist(m), s.rec.mayExist(m)) {
			there.Add(1)
		}
	}, t)
	c := &soakClient{soak: s, t: t, rng: rand.New(rand.NewPCG(0, 0))}
	for _, state := range s.rec.tags {
		if c.pullByTag(state.repo, state.tag) {
			tags.Add(1)
		}
	}
	t.Logf("in the end there are %d of %d manifests and %d of %d tags", there.Load(), len(all), tags.Load(), len(s.rec.tags))
}

// pullByTag pulls the image of a tag, and reports whether it was there.
func (c *soakClient) pullByTag(repo, tag string) bool {
	m, must, may := c.rec.tagOf(repo, tag)
	if m == nil {
		m = &soakManifest{repo: repo} // no answer equals it
	}
	return c.pull(m, tag, must, may)
}

// pull pulls an image by a reference, and compares every byte. It reports whether it was there. must
// and may say whether that was expected before.
func (c *soakClient) pull(m *soakManifest, reference string, must, may bool) (found bool) {
	a := c.request(request{method: "GET", path: "/v2/" + m.repo + "/manifests/" + reference, accept: typeManifest})
	switch {
	case a.status == http.StatusNotFound && must && c.stillMust(m, reference):
		c.t.Errorf("%s:%s is lost", m.repo, reference)
		return false
	case a.status == http.StatusNotFound:
		return false
	case a.status != http.StatusOK || !bytes.Equal(a.body, m.content):
		c.t.Errorf("%s:%s: %d %s, want %s", m.repo, reference, a.status, a.body, m.digest)
		return false
	case !may:
		c.t.Errorf("%s:%s was deleted, and is there", m.repo, reference)
	}
	c.pullBlobs(m)
	return true
}

// stillMust reports whether a reference must lead to a manifest, after an answer that it does not.
func (c *soakClient) stillMust(m *soakManifest, reference string) bool {
	if reference == m.digest {
		return c.rec.mustExist(m)
	}
	_, must, _ := c.rec.tagOf(m.repo, reference)
	return must
}

// pullBlobs pulls the blobs of a manifest, which must be there as long as it is not deleted.
func (c *soakClient) pullBlobs(m *soakManifest) {
	var doc document
	if err := json.Unmarshal(m.content, &doc); err != nil {
		c.t.Error(err)
		return
	}
	for _, blob := range append(doc.Layers, *doc.Config) {
		a := c.request(request{method: "GET", path: "/v2/" + m.repo + "/blobs/" + blob.Digest})
		switch {
		case a.status == http.StatusOK && digestOf(a.body) == blob.Digest:
		case a.status == http.StatusNotFound && !c.rec.mustExist(m):
		default:
			c.t.Errorf("blob %s of %s@%s: %d, %d bytes", blob.Digest, m.repo, m.digest, a.status, len(a.body))
		}
	}
}
