package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// ListObjects implements ObjectLister.
func (b simBlobs) ListObjects(_ context.Context, after string, limit int) (page ObjectPage, err error) {
	err = b.turn("query", func() error {
		for _, key := range slices.Sorted(maps.Keys(b.w.content)) {
			if key <= after {
				continue
			}
			if page.More = len(page.Objects) == limit; page.More {
				break
			}
			page.Objects = append(page.Objects, Object{Key: key, Size: int64(len(b.w.content[key])), Modified: b.w.stored[key]})
		}
		return nil
	})
	return page, err
}

// scanPageRows is the size of a page of the simulated scan: most scans take several.
const scanPageRows = 50

// ScanRows implements RowScanner.
func (n simMetadata) ScanRows(_ context.Context, after Key, limit int) (page Page, err error) {
	limit = min(limit, scanPageRows)
	err = n.turn("query", func() error {
		order := func(a, b Key) int { return cmp.Or(cmp.Compare(a.PK, b.PK), cmp.Compare(a.SK, b.SK)) }
		for _, key := range slices.SortedFunc(maps.Keys(n.w.rows), order) {
			if order(key, after) <= 0 {
				continue
			}
			if page.More = len(page.Rows) == limit; page.More {
				break
			}
			page.Rows = append(page.Rows, Row{Key: key, Attrs: n.w.rows[key]})
		}
		return nil
	})
	return page, err
}

// scrub runs Scrub as a process of the simulation.
func scrub(ctx context.Context, r *Registry, o ScrubOptions) (Scrubbed, error) {
	store, _ := r.blobs.(simBlobs)
	meta, _ := r.meta.(retrying).Metadata.(simMetadata)
	return r.Scrub(ctx, store, meta, o)
}

// repairer scrubs and repairs, beside the other actors of a simulation.
func repairer(ctx context.Context, r *Registry) error {
	for range 3 {
		if _, err := scrub(ctx, r, ScrubOptions{Hash: true, Repair: true}); errors.Is(err, errCrashed) {
			return err
		}
	}
	return nil
}

// scrubAlone scrubs while nothing else happens.
func (s *sim) scrubAlone(t *testing.T, o ScrubOptions) (found Scrubbed) {
	t.Helper()
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		var err error
		if found, err = scrub(ctx, r, o); err != nil || !found.Complete {
			t.Errorf("scrub: %v, complete: %v", err, found.Complete)
		}
	})
	return found
}

func (s *sim) wantClean(t *testing.T) {
	t.Helper()
	if found := s.scrubAlone(t, ScrubOptions{Hash: true}); !found.Clean() || len(found.Images) > 0 {
		t.Errorf("not clean: %+v, %+v", found.Findings, found.Images)
	}
}

// TestScrubBesideRequests: without a loss, a scrub finds nothing, whatever pushes, deletes, sweeps
// and crashes do meanwhile.
func TestScrubBesideRequests(t *testing.T) {
	for seed := range seeds(300) {
		synctest.Test(t, func(t *testing.T) { scrubBeside(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func scrubBeside(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	rate := []int{0, 40, 10}[seed%3]
	s.decide = func(p *pending) fate {
		switch {
		case rate == 0:
			return lives
		case p.what == "write":
			return s.sometimes(rate, contends, late)
		}
		return s.sometimes(rate)
	}
	for i := range 4 {
		c := client{
			repo: []string{"r", "q"}[i%2], tag: "t", layers: []string{"one", fmt.Sprint(s.rng.IntN(2))},
			way: s.rng.IntN(ways), big: s.rng.IntN(2) == 0,
		}
		s.spawn(skew(s), func(ctx context.Context, r *Registry) error {
			for range 2 {
				if err := again(c, 3)(ctx, r); err != nil {
					return err
				}
				if err := r.DeleteManifest(ctx, c.repo, digestOf(c)); errors.Is(err, errCrashed) {
					return err
				}
			}
			return c.push(ctx, r)
		})
	}
	if seed%2 == 1 {
		s.spawn(skew(s), collector)
	}
	for i := range 3 {
		s.spawn(skew(s), func(ctx context.Context, r *Registry) error {
			found, err := scrub(ctx, r, ScrubOptions{Hash: true, Repair: i == 0})
			if err == nil && !found.Clean() || len(found.Findings) > 0 || len(found.Images) > 0 {
				t.Errorf("found %+v, %+v, %v", found.Findings, found.Images, err)
			}
			return err
		})
	}
	s.run()
	s.collectAll(t)
	s.wantClean(t)
}

// lastCalls is the number of calls of a scrub from the first look of the repair on: those before
// only read.
const lastCalls = 12

// TestRepairMeetsOthers stops a repair before each of its last calls, and lets another request run
// from its start to its end there.
func TestRepairMeetsOthers(t *testing.T) {
	image := client{repo: "r", tag: "t", layers: []string{"one", "two"}, big: true}
	content := []byte("one")
	d := oci.SHA256.FromBytes(content)
	others := map[string]func(context.Context, *Registry) error{
		"another repair": repairer,
		"a push":         image.push,
		"a delete": func(ctx context.Context, r *Registry) error {
			small := image
			small.big = false
			return errors.Join(r.DeleteManifest(ctx, "r", digestOf(image)), r.DeleteManifest(ctx, "r", digestOf(small)))
		},
		"a blob's delete": func(ctx context.Context, r *Registry) error {
			return r.DeleteBlob(ctx, "q", d)
		},
		"a collection": func(ctx context.Context, r *Registry) error {
			_, err := r.Collect(ctx, MaxPage)
			_, expireErr := r.ExpireUploads(ctx, MaxPage)
			return errors.Join(err, expireErr)
		},
	}
	for _, way := range []int{0, 1, 2, 4} {
		for _, repo := range []string{"r", "new"} {
			others[fmt.Sprint("way ", way, " to ", repo)] = func(ctx context.Context, r *Registry) error {
				return pushBy(ctx, r, repo, d, content, way)
			}
		}
	}
	for name, other := range others {
		for _, how := range []int{0, 3} {
			for _, many := range []int{0, 2 * MaxTransact} { // links that take more than one transaction
				if many > 0 && how > 0 {
					continue
				}
				var calls int
				synctest.Test(t, func(t *testing.T) { calls = repairMeets(t, image, other, how, many, 1<<30) })
				for at := max(0, calls-lastCalls); at <= calls; at++ {
					synctest.Test(t, func(t *testing.T) { repairMeets(t, image, other, how, many, at) })
					if t.Failed() {
						t.Fatalf("%s before call %d, loss %d, %d links", name, at, how, many)
					}
				}
			}
		}
	}
}

func repairMeets(t *testing.T, image client, other func(context.Context, *Registry) error, how, many, at int) (calls int) {
	s := newSim(t, 1)
	content := []byte("one")
	d := oci.SHA256.FromBytes(content)
	image.big = how%2 == 1 && many == 0
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		for _, repo := range []string{"r", "q"} {
			c := image
			c.repo = repo
			if err := c.push(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
	})
	for i := range many {
		s.world.rows[linkKey(fmt.Sprint("x", i), d)] = s.world.rows[linkKey("q", d)]
	}
	s.world.lose(s.world.rows[blobKey(d)].text(attrKey), how)
	s.world.lose(s.world.rows[manifestKey("r", digestOf(image))].text(attrKey), how)
	s.pick = func(queue []*pending) int {
		first := slices.IndexFunc(queue, func(p *pending) bool { return p.actor.id == 1 })
		second := slices.IndexFunc(queue, func(p *pending) bool { return p.actor.id == 2 })
		if calls >= at && second >= 0 || first < 0 {
			return second
		}
		calls++
		return first
	}
	s.spawn(0, func(ctx context.Context, r *Registry) error {
		_, err := scrub(ctx, r, ScrubOptions{Hash: true, Repair: true})
		return err
	})
	s.spawn(0, other)
	before := s.world.rows[linkKey("r", d)].text(attrKey)
	s.run()
	s.pick = nil
	if after := s.world.rows[linkKey("r", d)]; after != nil && after.text(attrKey) != before && !s.world.readable(after, d) {
		t.Error("a healed blob cannot be read")
	}
	s.healAll(t, image)
	for i := range many {
		key := linkKey(fmt.Sprint("x", i), d)
		if link := s.world.rows[key]; link != nil && !s.world.readable(link, d) {
			t.Error("a blob that was healed cannot be read in another repository")
		}
		delete(s.world.rows, key) // no review leads to it
	}
	s.collectAll(t)
	return calls
}

// healAll pushes an image to r and q by ordinary pushes, after a repair, and demands that all is well.
func (s *sim) healAll(t *testing.T, image client) {
	t.Helper()
	s.scrubAlone(t, ScrubOptions{Hash: true, Repair: true})
	for _, repo := range []string{"r", "q"} {
		c := image
		c.repo = repo
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if err := c.push(ctx, r); err != nil {
				t.Errorf("push to %s: %v", repo, err)
			}
		})
		for _, l := range c.layers {
			d := oci.SHA256.FromBytes([]byte(l))
			if !s.world.readable(s.world.rows[linkKey(repo, d)], d) {
				t.Errorf("%s of %s is not healed", l, repo)
			}
		}
		if d := digestOf(c); !s.world.readable(s.world.rows[contentKey(repo, d)], d) {
			t.Errorf("the manifest of %s is not healed", repo)
		}
	}
	s.wantClean(t)
}

// TestScrubAfterARestore: the rows of an earlier time return, the objects do not. A repair and
// ordinary pushes make every image whole again; what was pushed since is orphaned, and is freed
// when it is old.
func TestScrubAfterARestore(t *testing.T) {
	for seed := range seeds(60) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, seed)
			a := client{repo: "r", tag: "a", layers: []string{"one", "two"}, big: true}
			b := client{repo: "r", tag: "b", layers: []string{"two", "three"}, big: true}
			push := func(c client) {
				alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
					if err := c.push(ctx, r); err != nil {
						t.Error(err)
					}
				})
			}
			push(a)
			s.advance(s.upTo(3 * simGrace))
			restored := map[Key]Attrs{}
			for key, attrs := range s.world.rows {
				restored[key] = maps.Clone(attrs)
			}
			push(b)
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				if err := r.DeleteManifest(ctx, "r", digestOf(a)); err != nil {
					t.Error(err)
				}
			})
			s.collectAll(t)
			s.world.rows = restored
			for key := range liveOf(restored) {
				if s.world.content[key] == nil {
					s.world.lost[key] = true // this is what the restore has done
				}
			}
			found := s.scrubAlone(t, ScrubOptions{Hash: true, Repair: true})
			orphans := slices.DeleteFunc(slices.Clone(found.Findings), func(f Finding) bool { return f.Problem != Orphan })
			if len(orphans) != 2 || len(found.Images) != 1 || found.Images[0].Digest != digestOf(a) || !slices.Equal(found.Images[0].Tags, []string{"a"}) {
				t.Errorf("found %+v, %+v", found.Findings, found.Images)
			}
			for _, o := range orphans {
				if bytes.HasPrefix(s.world.content[o.Key], []byte("{")) != (o.Contains == oci.MediaTypeImageManifest) && o.Contains != "" {
					t.Errorf("orphan %+v", o)
				}
			}
			push(a)
			push(b)
			for _, c := range []client{a, b} {
				if !s.world.resolves("r", c.tag, c.manifest()) {
					t.Errorf("%s is not there again", c.tag)
				}
			}
			s.advance(orphanAge)
			if found = s.scrubAlone(t, ScrubOptions{Hash: true, Repair: true}); !found.Clean() || len(found.Findings) != 2 {
				t.Errorf("old orphans: %+v", found.Findings)
			}
			s.wantClean(t)
			s.collectAll(t)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// liveOf returns the live keys among rows.
func liveOf(rows map[Key]Attrs) map[string]bool {
	keys := map[string]bool{}
	for key, attrs := range rows {
		if key.SK == "K" && attrs.text(attrState) == string(objectLive) {
			keys[key.PK[2:]] = true
		}
	}
	return keys
}

// TestScrubMeetsAPushAndADelete: an image that appears before one call of a scrub, and is gone before
// a later one, is no finding.
func TestScrubMeetsAPushAndADelete(t *testing.T) {
	for appears := range 20 {
		for goes := appears; goes < appears+12; goes++ {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 1)
				alone(t, s, client{repo: "r", tag: "t", layers: []string{"one"}, big: true}.mustPush(t))
				s.unchecked = true
				rows, content := s.world.rows, s.world.content
				s.world.rows, s.world.content = map[Key]Attrs{}, map[string][]byte{}
				call := 0
				s.pick = func([]*pending) int {
					if call == appears {
						s.world.rows, s.world.content = rows, content
					}
					if call == goes {
						s.world.rows, s.world.content = map[Key]Attrs{}, map[string][]byte{}
					}
					call++
					return 0
				}
				if found := s.scrubAlone(t, ScrubOptions{}); !found.Clean() {
					t.Errorf("from call %d to call %d: %+v", appears, goes, found.Findings)
				}
			})
		}
	}
}

func (c client) mustPush(t *testing.T) func(context.Context, *Registry, simBlobs) {
	t.Helper()
	return func(ctx context.Context, r *Registry, _ simBlobs) {
		if err := c.push(ctx, r); err != nil {
			t.Error(err)
		}
	}
}

// TestScrubWaitsForARelink: a link that a push is about to change is no finding.
func TestScrubWaitsForARelink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, client{repo: "r", tag: "t", layers: []string{"one"}}.mustPush(t))
		link := linkKey("r", oci.SHA256.FromBytes([]byte("one")))
		key := s.world.rows[link].text(attrKey)
		s.world.lost["old"] = true
		s.world.setRow(link, Attrs{attrKey: "old"})
		s.pick = func(queue []*pending) int {
			if queue[0].what == "sleep" {
				s.world.setRow(link, Attrs{attrKey: key})
			}
			return 0
		}
		if found := s.scrubAlone(t, ScrubOptions{}); !found.Clean() {
			t.Errorf("%+v", found.Findings)
		}
	})
}

// TestRepairFindsAnObjectAgain: an object that an operator puts back before the repair stays in use.
func TestRepairFindsAnObjectAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, client{repo: "r", tag: "t", layers: []string{"one"}}.mustPush(t))
		d := oci.SHA256.FromBytes([]byte("one"))
		key := s.world.rows[blobKey(d)].text(attrKey)
		content := s.world.content[key]
		s.world.lose(key, 0)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			found, err := scrub(ctx, r, ScrubOptions{Repair: true, Progress: func(found Scrubbed) {
				if len(found.Images) > 0 { // before the repair
					s.world.content[key] = content
					delete(s.world.lost, key)
				}
			}})
			if err != nil || len(found.Findings) != 1 || found.Findings[0].Repair != RepairNone {
				t.Errorf("%+v, %v", found.Findings, err)
			}
		})
		if !s.world.readable(s.world.rows[linkKey("r", d)], d) {
			t.Error("the blob was dropped")
		}
	})
}
