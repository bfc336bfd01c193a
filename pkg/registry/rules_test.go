package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// client pushes as docker does: it asks for each blob, uploads the missing ones in one of
// several ways, and then puts the manifest.
type client struct {
	repo, tag string
	layers    []string
	way       int
	big       bool // the manifest's bytes are too many for a row
}

func (c client) manifest() []byte {
	var layers []string
	for _, l := range c.layers {
		layers = append(layers, descriptorJSON([]byte(l)))
	}
	pad := ""
	if c.big {
		pad = strings.Repeat("x", inlineManifest)
	}
	return []byte(`{"config":` + descriptorJSON([]byte("config")) + `,"layers":[` + strings.Join(layers, ",") + `],"pad":"` + pad + `"}`)
}

func descriptorJSON(content []byte) string {
	return fmt.Sprintf(`{"mediaType":"x/y","digest":"%s","size":%d}`, oci.SHA256.FromBytes(content), len(content))
}

func (c client) push(ctx context.Context, r *Registry) error { return c.pushSlowly(ctx, r, func() {}) }

// pushSlowly calls pause before each request after the first.
func (c client) pushSlowly(ctx context.Context, r *Registry, pause func()) error {
	for i, l := range append([]string{"config"}, c.layers...) {
		d := oci.SHA256.FromBytes([]byte(l))
		if _, err := r.FindBlob(ctx, c.repo, d, true); err == nil {
			pause()
			continue
		} else if !errors.Is(err, oci.NewError(oci.BlobUnknown, "")) {
			return err
		}
		if err := pushBy(ctx, r, c.repo, d, []byte(l), c.way+i); err != nil {
			return err
		}
		pause()
	}
	_, err := r.PushManifest(ctx, c.repo, ManifestPush{Tags: []string{c.tag}, ContentType: oci.MediaTypeImageManifest, Content: c.manifest()})
	return err
}

// ways is how many ways to upload there are.
const ways = 6

func pushBy(ctx context.Context, r *Registry, repo string, d oci.Digest, content []byte, way int) error {
	if way%ways >= 4 {
		return pushDirect(ctx, r, repo, d, content, way%ways == 5)
	}
	if way%ways == 0 {
		return r.PushBlob(ctx, repo, d, int64(len(content)), bytes.NewReader(content))
	}
	if way%ways == 1 {
		if mounted, err := r.MountBlob(ctx, repo, d, "", everywhere); mounted || err != nil {
			return err
		}
	}
	u, err := r.StartUpload(ctx, repo, "")
	if err != nil {
		return err
	}
	half := len(content) / 2
	last := Finish{Digest: d, Size: -1, Chunk: Chunk{Offset: -1, Length: int64(len(content)), Body: bytes.NewReader(content)}}
	if way%ways >= 2 {
		c := Chunk{Offset: 0, Length: int64(half), Body: bytes.NewReader(content[:half])}
		if u, err = r.AppendUpload(ctx, repo, u.ID, c); err != nil {
			return err
		}
		last.Chunk = Chunk{Offset: u.Offset, Length: int64(len(content) - half), Body: bytes.NewReader(content[half:])}
	}
	return r.CompleteUpload(ctx, repo, u.ID, last)
}

// again repeats a push as a user would, until it succeeds or the process is dead.
func again(c client, tries int) func(context.Context, *Registry) error {
	return func(ctx context.Context, r *Registry) (err error) {
		for range tries {
			if err = c.push(ctx, r); err == nil || errors.Is(err, errCrashed) {
				return err
			}
		}
		return err
	}
}

func (w *world) resolves(repo, tag string, content []byte) bool {
	d := oci.SHA256.FromBytes(content)
	return w.rows[tagKey(repo, tag)].digest(attrDigest) == d && bytes.Equal(w.manifest(w.rows[contentKey(repo, d)]), content)
}

// TestEveryStepIsACrashPoint ends one process at each of its calls, before and
// after it took effect, and loses each answer once. Another process must then be
// able to do the same work.
func TestEveryStepIsACrashPoint(t *testing.T) {
	c := client{repo: "r", tag: "t", layers: []string{"one", "two", "three", "four", "five", "six"}}
	jobs := map[string]func(context.Context, *Registry) error{
		"push": again(c, 1),
		"delete": func(ctx context.Context, r *Registry) error {
			return r.DeleteManifest(ctx, "r", oci.SHA256.FromBytes(c.manifest()))
		},
		"untag": func(ctx context.Context, r *Registry) error { return r.DeleteTag(ctx, "r", "t") },
		"remove": func(ctx context.Context, r *Registry) error {
			_, err := r.DeleteRepository(ctx, "r")
			return err
		},
		"cancel": func(ctx context.Context, r *Registry) error {
			u, err := r.StartUpload(ctx, "r", "")
			if err != nil {
				return err
			}
			if _, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: strings.NewReader("x")}); err != nil {
				return err
			}
			return r.CancelUpload(ctx, "r", u.ID)
		},
	}
	for name, job := range jobs {
		for _, f := range []fate{crashBefore, crashAfter, losesAnswer, failsBefore, contends, late} {
			for at, more := 0, true; more; at++ {
				synctest.Test(t, func(t *testing.T) { more = crashAt(t, name, c, job, f, at) })
			}
		}
	}
}

// crashAt runs one job whose call number at has a fate. It reports whether there
// was such a call.
func crashAt(t *testing.T, name string, c client, job func(context.Context, *Registry) error, f fate, at int) bool {
	s := newSim(t, uint64(at))
	if name != "push" {
		s.spawn(0, again(c, 1))
		s.run()
	}
	n, met, what := 0, false, ""
	s.decide = func(p *pending) fate {
		n++
		if n-1 != at || f == contends && !contended(p.what) || f == late && p.what != "write" {
			return lives
		}
		met, what = true, p.what
		return f
	}
	result := s.spawn(0, job)
	s.run()
	// A row's call is repeated, a body cannot be.
	repeated := what == "get" || what == "query" || what == "write" || what == "put" || what == "stat" || f == contends
	if f != crashBefore && f != crashAfter && repeated && result() != nil {
		t.Errorf("%s, fate %d at call %d: %v", name, f, at, result())
	}
	s.decide = func(*pending) fate { return lives }
	redo := s.spawn(0, again(c, 1))
	s.run()
	if redo() != nil || !s.world.resolves("r", "t", c.manifest()) {
		t.Errorf("%s, fate %d at call %d: the work cannot be done again: %v", name, f, at, redo())
	}
	return met || n > at
}

// contended reports whether calls of a kind may meet another write.
func contended(what string) bool { return what == "write" || what == "put" || what == "complete" }

// TestSimulation lets pushers, deleters and sweepers with wrong clocks meet, while
// calls fail in every way. PIERLESS_SIM_RUNS sets how many runs there are.
func TestSimulation(t *testing.T) {
	runs := uint64(300)
	if n, err := strconv.ParseUint(os.Getenv("PIERLESS_SIM_RUNS"), 10, 32); err == nil {
		runs = n
	}
	end, processors := seeds(runs), uint64(runtime.GOMAXPROCS(0))
	for first := range processors {
		t.Run(fmt.Sprintf("%d of %d", first+1, processors), func(t *testing.T) {
			t.Parallel() // the runs of one processor follow each other, and end at the first that fails
			for seed := first; seed < end && !t.Failed(); seed += processors {
				t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { simulate(t, seed) }) })
			}
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	s.world.blind = seed%7 == 0
	rate := []float64{0, 0.02, 0.15}[seed%3]
	s.decide = func(p *pending) fate {
		if s.rng.Float64() >= rate {
			return lives
		}
		fates := []fate{failsBefore, losesAnswer, crashBefore, crashAfter}
		switch p.what {
		case "write":
			fates = append(fates, contends, contends, late, late)
		case "put", "complete":
			fates = append(fates, contends, contends)
		case "send", "part":
			fates = append(fates, late, late)
		}
		return fates[s.rng.IntN(len(fates))]
	}
	shared := []string{"one", "two", "three"}
	removing, wrong := seed%4 < 2, skew
	if removing {
		wrong = smallSkew
	}
	var pushed []client
	var results []func() error
	removed := removal{s: s, ended: map[string]int{}}
	for i := range 4 {
		c := client{
			repo: []string{"r", "q"}[s.rng.IntN(2)], tag: fmt.Sprint("v", i), way: s.rng.IntN(ways),
			layers: append([]string{shared[s.rng.IntN(3)]}, shared[s.rng.IntN(3)]), big: s.rng.IntN(4) == 0,
		}
		pushed = append(pushed, c)
		push := again(c, 5)
		if removing {
			push = removed.pusher(c)
		}
		results = append(results, s.spawn(wrong(s), push))
	}
	sweeping := seed%2 == 1
	if sweeping {
		for range 2 {
			s.spawn(wrong(s), collector)
		}
		s.spawn(wrong(s)+time.Duration(s.rng.IntN(2))*sessionLife, func(ctx context.Context, r *Registry) error {
			_, err := r.ExpireUploads(ctx, 1000)
			return err
		})
	}
	deleting := seed%5 == 4
	if deleting {
		victim := pushed[0]
		s.spawn(wrong(s), func(ctx context.Context, r *Registry) error {
			return r.DeleteManifest(ctx, victim.repo, oci.SHA256.FromBytes(victim.manifest()))
		})
	}
	if removing {
		s.spawn(wrong(s), removed.remover(s.rng.IntN(50), time.Duration(s.rng.IntN(3)-1)*time.Second))
	}
	s.run()
	for i, result := range results {
		err := result()
		if err == nil && !deleting && !removing && !s.world.resolves(pushed[i].repo, pushed[i].tag, pushed[i].manifest()) {
			t.Errorf("push %d was answered with success and is lost", i)
		}
		if err != nil && rate == 0 && !sweeping && !deleting && !removing {
			t.Errorf("push %d failed without a fault: %v", i, err)
		}
	}
	if removing {
		removed.check(t, !deleting)
	}
	s.collectAll(t)
	s.deleteAll(t, pushed)
}

// deleteAll deletes all images after their reviews have found them in use: the deletes must lead
// to the end of all that is left.
func (s *sim) deleteAll(t *testing.T, pushed []client) {
	t.Helper()
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		for _, c := range pushed {
			err := r.DeleteManifest(ctx, c.repo, digestOf(c))
			if err != nil && !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
				t.Errorf("delete: %v", err)
			}
		}
	})
	s.collectAll(t)
	for key, attrs := range s.world.rows {
		if !strings.HasPrefix(key.PK, "K#") {
			t.Errorf("left when all is deleted: %v %v", key, attrs)
		}
	}
}

// TestDeleteMeetsPushes: one manifest, pushed under several tags while it is deleted.
func TestDeleteMeetsPushes(t *testing.T) {
	for seed := range seeds(400) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, seed)
			c := client{repo: "r", tag: "first", layers: []string{"one"}, big: seed%4 < 2}
			s.spawn(0, again(c, 1))
			s.run()
			s.decide = func(*pending) fate {
				if seed%2 == 0 {
					return lives
				}
				return s.sometimes(15)
			}
			for i := range 3 {
				c.tag = fmt.Sprint("t", i)
				s.spawn(0, again(c, 3))
			}
			s.spawn(0, func(ctx context.Context, r *Registry) error {
				return r.DeleteManifest(ctx, "r", oci.SHA256.FromBytes(c.manifest()))
			})
			s.run()
			s.collectAll(t)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestFightOverAnUpload: several requests with other bytes of the same length on
// one upload, and one that cancels it. Whatever wins, no digest gets wrong bytes,
// and who was answered with success has its blob.
func TestFightOverAnUpload(t *testing.T) {
	for seed := range seeds(1500) {
		synctest.Test(t, func(t *testing.T) { fight(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func fight(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	var u Upload
	s.spawn(0, func(ctx context.Context, r *Registry) (err error) {
		if u, err = r.StartUpload(ctx, "r", ""); err != nil || seed%2 == 0 {
			return err
		}
		u, err = r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: 2, Body: strings.NewReader("ab")})
		return err
	})
	s.run()
	before := "ab"[:u.Offset]
	if seed%5 < 2 {
		// The digest has a blob already, which is unused and a sweep removes.
		s.spawn(0, func(ctx context.Context, r *Registry) error {
			content := before + "two"
			d := oci.SHA256.FromBytes([]byte(content))
			return errors.Join(r.PushBlob(ctx, "q", d, int64(len(content)), strings.NewReader(content)), r.DeleteBlob(ctx, "q", d))
		})
		s.run()
		s.spawn(2*simGrace, collector)
	}
	s.decide = func(*pending) fate { return s.sometimes(12) }
	bodies := []string{"one", "two", "two", "six"}
	var results []func() error
	for _, body := range bodies {
		finish := Finish{Digest: oci.SHA256.FromBytes([]byte(before + body)), Size: -1}
		results = append(results, s.spawn(0, func(ctx context.Context, r *Registry) (err error) {
			for range 3 {
				finish.Chunk = Chunk{Offset: u.Offset, Length: 3, Body: strings.NewReader(body)}
				if err = r.CompleteUpload(ctx, "r", u.ID, finish); err == nil {
					return nil
				}
			}
			return err
		}))
	}
	if seed%3 == 0 {
		s.spawn(0, func(ctx context.Context, r *Registry) error { return r.CancelUpload(ctx, "r", u.ID) })
	}
	s.run()
	for i, result := range results {
		d := oci.SHA256.FromBytes([]byte(before + bodies[i]))
		if result() == nil && s.world.rows[linkKey("r", d)] == nil && seed%5 >= 2 { // a sweep takes it again
			t.Errorf("%q was accepted and is not there", bodies[i])
		}
	}
}

// skew is a clock's error: mostly small, at times more than the grace.
func skew(s *sim) time.Duration {
	if s.rng.IntN(4) == 0 {
		return time.Duration(s.rng.IntN(6)-3) * simGrace
	}
	return time.Duration(s.rng.IntN(2000)-1000) * time.Millisecond
}
