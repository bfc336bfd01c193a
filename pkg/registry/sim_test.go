package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// The simulation runs the rules as they are over a world in memory. A scheduler
// with a seed decides whose call comes next and what becomes of it; after each
// call the whole world is checked. The same seed gives the same run.

var (
	errCrashed  = errors.New("this process is dead")
	errInjected = errors.New("no answer came")
)

// fate is the outcome of one call.
type fate int

const (
	lives       fate = iota
	failsBefore      // not applied, no answer
	losesAnswer      // applied, no answer
	contends         // not applied, ErrContended
	crashBefore      // not applied, and the process dies
	crashAfter       // applied, and the process dies
	late             // no answer now, applied at some later time
)

type pending struct {
	actor *actor
	what  string
	call  func() error
	told  chan error
}

// only has the calls of some kinds end in one way, and all others live.
func only(f fate, kinds ...string) func(*pending) fate {
	return func(p *pending) fate {
		if slices.Contains(kinds, p.what) {
			return f
		}
		return lives
	}
}

// sometimes is how one call in n ends: in any of the bad ways that each kind has, and in
// those that this kind has beside them.
func (s *sim) sometimes(n int, others ...fate) fate {
	if s.rng.IntN(n) > 0 {
		return lives
	}
	fates := append([]fate{losesAnswer, failsBefore, crashAfter, crashBefore}, others...)
	return fates[s.rng.IntN(len(fates))]
}

type actor struct {
	id      int
	skew    time.Duration // its clock is wrong by this
	crashed bool
}

type sim struct {
	t      *testing.T
	world  *world
	rng    *rand.Rand
	clock  time.Time
	decide func(p *pending) fate
	pick   func(queue []*pending) int // the next call; nil: any
	// unchecked is set while a test breaks the world on purpose.
	unchecked bool
	mu        sync.Mutex
	queue     []*pending
	late      []func() error
	active    int
	steps     int
	actors    int
	failure   string
}

const simGrace = time.Hour

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: time.Unix(1_000_000, 0), decide: func(*pending) fate { return lives }}
	s.world = newWorld(s.fault)
	s.world.now = s.now
	return s
}

func (s *sim) fault(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf("step %d: ", s.steps) + fmt.Sprintf(format, args...)
	}
}

func (s *sim) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *sim) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// spawn starts an actor with a registry of its own, as another function would be.
func (s *sim) spawn(skew time.Duration, act func(context.Context, *Registry) error) (result func() error) {
	a := &actor{id: s.actors, skew: skew}
	s.actors++
	turn := func(what string, call func() error) error {
		s.mu.Lock()
		if a.crashed {
			s.mu.Unlock()
			return errCrashed
		}
		p := &pending{a, what, call, make(chan error, 1)}
		s.queue = append(s.queue, p)
		s.mu.Unlock()
		return <-p.told
	}
	r := New(simMetadata{s.world, turn}, simBlobs{s.world, turn}, Options{
		Grace: simGrace,
		Log:   slog.New(slog.DiscardHandler),
		Now:   func() time.Time { return s.now().Add(a.skew) },
		Rand:  &randReader{rng: rand.New(rand.NewPCG(s.rng.Uint64(), 2))},
		Sleep: func(_ context.Context, d time.Duration) error {
			return turn("sleep", func() error {
				if d >= simGrace { // a pause of the rules is over within a step
					s.advance(time.Duration(s.rng.Int64N(int64(2 * d))))
				}
				return nil
			})
		},
	})
	var err error
	s.active++
	go func() {
		var e error
		defer func() { // also where a test's Fatal ends the goroutine
			s.mu.Lock()
			defer s.mu.Unlock()
			err = e
			s.active--
		}()
		e = act(context.Background(), r)
	}()
	return func() error { return err }
}

// randReader is an actor's chance; the touches of one push share it.
type randReader struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (r *randReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range p {
		p[i] = byte(r.rng.Uint64())
	}
	return len(p), nil
}

// run lets the actors act until all have ended. Time passes with each step.
func (s *sim) run() {
	for {
		synctest.Wait()
		if len(s.queue) == 0 {
			break
		}
		slices.SortStableFunc(s.queue, func(a, b *pending) int { return a.actor.id - b.actor.id })
		i := s.rng.IntN(len(s.queue))
		if s.pick != nil {
			i = s.pick(s.queue)
		}
		p := s.queue[i]
		s.queue = slices.Delete(s.queue, i, i+1)
		told := s.runOne(p)
		s.advance(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
		s.steps++
		if !s.unchecked && !slices.Contains([]string{"get", "query", "open", "sleep"}, p.what) { // reads change nothing
			s.world.check(s.fault)
		}
		p.told <- told // the actor continues only now
		if s.failure != "" {
			s.drain()
			s.t.Fatal(s.failure)
		}
		if s.steps > 200_000 {
			s.drain()
			s.t.Fatal("no end")
		}
	}
	if s.active != 0 {
		s.t.Fatalf("%d actors hang", s.active)
	}
}

// drain ends all actors, so that the bubble can end.
func (s *sim) drain() {
	for synctest.Wait(); s.active > 0; synctest.Wait() {
		for _, p := range s.queue {
			p.actor.crashed = true
			p.told <- errCrashed
		}
		s.queue = nil
	}
}

// runOne runs a call, or does not, and returns the result that the actor sees.
func (s *sim) runOne(p *pending) (told error) {
	if p.actor.crashed {
		return errCrashed
	}
	if len(s.late) > 0 && s.rng.IntN(4) == 0 {
		_ = s.late[0]() // its result is lost
		s.late = s.late[1:]
		s.world.check(s.fault)
	}
	f := lives
	if p.what != "sleep" {
		f = s.decide(p)
	}
	switch f {
	case lives:
		told = p.call()
	case failsBefore:
		told = errInjected
	case contends:
		told = ErrContended
	case losesAnswer:
		if told = p.call(); told == nil {
			told = errInjected
		}
	case late:
		s.late = append(s.late, p.call)
		told = errInjected
	case crashBefore:
		p.actor.crashed, told = true, errCrashed
	case crashAfter:
		_ = p.call()
		p.actor.crashed, told = true, errCrashed
	}
	return told
}

// check verifies the invariants between any two calls.
func (w *world) check(fault func(string, ...any)) {
	for key, attrs := range w.rows {
		switch key.PK[0] {
		case 'C': // a visible manifest
			repo, d := splitKey(key.PK)
			thin := w.rows[manifestKey(repo, d)]
			if w.rows[repositoryKey(repo)] == nil {
				fault("manifest %.12s is visible in a repository that the catalog lacks", d)
			}
			if thin.text(attrState) != string(objectLive) {
				fault("manifest %.12s is visible, its row is %q", d, thin.text(attrState))
			}
			w.checkTypes(fault, repo, d, attrs, thin)
			if !w.lost[attrs.text(attrKey)] && d.Algorithm().FromBytes(w.manifest(attrs)) != d {
				fault("manifest %.16s has other bytes", d)
			}
			if key := attrs.text(attrKey); key != thin.text(attrKey) || key != "" && !w.lost[key] && w.rows[objectKey(key)].text(attrState) != string(objectLive) {
				fault("the bytes of manifest %.16s have no live key, or one that a delete will not end", d)
			}
			refs, err := unpackDigests(decode[manifestRow](thin).Refs)
			if err != nil {
				fault("%v", err)
			}
			for _, ref := range refs {
				w.checkBlob(fault, repo, ref)
			}
		case 'B':
			if key.SK != "B" {
				_, d := splitKey("B##" + key.PK[2:])
				if key := attrs.text(attrKey); w.rows[blobKey(d)].text(attrKey) != key && !w.lost[key] {
					fault("a link of %.16s names another key than the blob", d)
				}
			} else if w.rows[objectKey(attrs.text(attrKey))].text(attrState) != string(objectLive) {
				fault("blob %.16s has a key that is not live", key.PK)
			} else if _, named := splitKey("B##" + key.PK[2:]); !w.lost[attrs.text(attrKey)] && named.Algorithm().FromBytes(w.content[attrs.text(attrKey)]) != named {
				fault("blob %.16s holds other bytes", key.PK)
			}
		case 'K':
			if attrs.text(attrState) == string(objectLive) && !w.named(key.PK[2:], attrs) {
				fault("the key %.8s is live, and nothing names it", key.PK[2:])
			}
			w.checkParts(fault, attrs)
		case 'T':
			d := attrs.digest(attrDigest)
			if w.rows[edgeKey(key.PK[2:], d, key.SK)] == nil {
				fault("tag %s has no edge", key.SK)
			}
			if w.rows[contentKey(key.PK[2:], d)] == nil {
				fault("tag %s points at a manifest that is not visible", key.SK)
			}
		}
	}
}

// named reports whether a blob or a manifest has the key of this row.
func (w *world) named(key string, row Attrs) bool {
	d := row.digest(attrDigest)
	return w.rows[blobKey(d)].text(attrKey) == key || w.rows[contentKey(row.text(attrRepo), d)].text(attrKey) == key
}

// checkParts holds that the parts an open upload names are those that it recorded.
func (w *world) checkParts(fault func(string, ...any), row Attrs) {
	if row.text(attrState) != string(objectOpen) {
		return
	}
	for _, p := range decodePieces(Stored{State: row.bytes(attrStored)}) {
		if part, there := w.pieces[p.Name]; there && part.writer != p.Writer {
			fault("part %.8s...%s was recorded by claim %.8s, and overwritten by %.8s",
				p.Name, p.Name[64:], p.Writer, part.writer)
		}
	}
}

// manifest returns the bytes that a content row holds or points at.
func (w *world) manifest(row Attrs) []byte {
	if key := row.text(attrKey); key != "" {
		return w.content[key]
	}
	return decode[contentRow](row).Bytes
}

func splitKey(pk string) (repo string, d oci.Digest) {
	rest := pk[2:]
	for i := range rest {
		if rest[i] == '#' {
			return rest[:i], oci.Digest(rest[i+1:])
		}
	}
	return rest, ""
}

// checkBlob holds that a blob which a manifest needs can be pulled, and is right.
func (w *world) checkBlob(fault func(string, ...any), repo string, d oci.Digest) {
	link := w.rows[linkKey(repo, d)]
	if link == nil && w.unlinked[linkKey(repo, d)] {
		return
	}
	if link == nil {
		fault("a visible manifest lacks the link of %.16s", d)
		return
	}
	content, there := w.content[link.text(attrKey)]
	if w.lost[link.text(attrKey)] {
		return
	}
	if !there || oci.SHA256.FromBytes(content) != d {
		fault("a visible manifest lacks the bytes of %.16s (there: %t)", d, there)
	}
}
