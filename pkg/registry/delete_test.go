package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// manyTags need three transactions to delete.
const manyTags = lastTags + earlierTags + 7

func tagNumber(i int) string { return fmt.Sprintf("n%03d", i) }

// tagAll pushes the manifest of an image that is there under manyTags tags.
func tagAll(ctx context.Context, r *Registry, c client) error {
	if err := c.push(ctx, r); err != nil {
		return err
	}
	for from := 0; from < manyTags; from += MaxTagsPerPush {
		var tags []string
		for i := from; i < min(from+MaxTagsPerPush, manyTags); i++ {
			tags = append(tags, tagNumber(i))
		}
		push := ManifestPush{Tags: tags, ContentType: oci.MediaTypeImageManifest, Content: c.manifest()}
		if _, err := r.PushManifest(ctx, c.repo, push); err != nil {
			return err
		}
	}
	return nil
}

// TestDeleteOfManyTags crashes deletes that take several transactions, beside pushes, moved and deleted tags and
// readers with warm caches. World.check holds that each tag resolves after every step.
func TestDeleteOfManyTags(t *testing.T) {
	for seed := range seeds(120) {
		synctest.Test(t, func(t *testing.T) { deleteManyTags(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func deleteManyTags(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	victim := client{repo: "r", tag: "first", layers: []string{"one"}, big: seed%8 == 0}
	other := client{repo: "r", tag: "other", layers: []string{"two"}}
	again := victim
	again.tag = tagNumber(3)
	d := oci.SHA256.FromBytes(victim.manifest())
	s.spawn(0, func(ctx context.Context, r *Registry) error {
		return errors.Join(tagAll(ctx, r, victim), other.push(ctx, r))
	})
	s.run()

	s.decide = func(p *pending) fate {
		if p.what == "write" {
			return s.sometimes(5, contends, late)
		}
		return s.sometimes(20)
	}
	remove := func(ctx context.Context, r *Registry) error { return r.DeleteManifest(ctx, "r", d) }
	removed := []func() error{s.spawn(0, remove)}
	if seed%2 == 0 {
		removed = append(removed, s.spawn(0, remove))
	}
	moved := func() error { return errCrashed }
	var pushed []func() error
	if seed%3 > 0 {
		for _, tag := range []string{"new", tagNumber(3), tagNumber(150)} {
			c := victim
			c.tag = tag
			pushed = append(pushed, s.spawn(0, c.push))
		}
		move := other
		move.tag = tagNumber(120)
		moved = s.spawn(0, move.push)
		s.spawn(0, func(ctx context.Context, r *Registry) error { return r.DeleteTag(ctx, "r", tagNumber(121)) })
	}
	s.spawn(0, s.readTags(t, s.rng.Uint64(), victim.big))
	s.run()

	if len(pushed) == 0 && removed[0]() == nil && s.world.rows[manifestKey("r", d)] != nil {
		t.Error("a delete was answered with success and the manifest is there")
	}
	if moved() == nil && s.world.rows[tagKey("r", tagNumber(120))].digest(attrDigest) == d {
		t.Error("a tag was moved and points at the old manifest")
	}
	if moved() == nil && s.world.rows[tagKey("r", tagNumber(120))] == nil {
		t.Error("a tag was moved to another manifest and deleted with the old one")
	}
	s.decide = only(lives)
	s.spawn(0, again.push)
	s.run()
	s.applyLate()
	if !s.world.resolves("r", again.tag, again.manifest()) {
		t.Error("a tag was pushed after the deletes ended, and one of them deleted it")
	}
	end := s.spawn(0, remove)
	s.run()
	if err := end(); err != nil && !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
		t.Errorf("the delete cannot be repeated: %v", err)
	}
	for key, row := range s.world.rows {
		if key.PK == tagPartition("r") && row.digest(attrDigest) == d {
			t.Errorf("tag %s is left after the delete", key.SK)
		}
	}
}

// readTags reads tags with a warm cache. A tag that is answered has a visible manifest at that moment (unless its
// bytes took a further call), and one that is there is answered.
func (s *sim) readTags(t *testing.T, seed uint64, big bool) func(context.Context, *Registry) error {
	rng := rand.New(rand.NewPCG(seed, 3))
	return func(ctx context.Context, r *Registry) error {
		for range 40 {
			tag := tagNumber(rng.IntN(manyTags))
			if rng.IntN(2) == 0 {
				tag = tagNumber(120)
			}
			m, err := r.FindManifest(ctx, "r", oci.Reference{Tag: tag})
			switch {
			case errors.Is(err, errCrashed):
				return err
			case err == nil && !big && s.world.rows[contentKey("r", m.Digest)] == nil:
				t.Errorf("tag %s was answered, its manifest is gone", tag)
			case errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) && s.world.rows[tagKey("r", tag)] != nil:
				t.Errorf("tag %s is there and was answered with 404", tag)
			}
		}
		return nil
	}
}

// lateAt has write number n of an actor applied late, and ends the actor there.
func lateAt(actor, n int) func(*pending) fate {
	writes := 0
	return func(p *pending) fate {
		if p.actor.id != actor || p.what != "write" {
			return lives
		}
		if writes++; writes != n+1 {
			return lives
		}
		p.actor.crashed = true
		return late
	}
}

// applyLate applies the delayed writes.
func (s *sim) applyLate() {
	for ; len(s.late) > 0; s.late = s.late[1:] {
		_ = s.late[0]()
		s.world.check(s.fault)
	}
	if s.failure != "" {
		s.t.Fatal(s.failure)
	}
}

// TestLateDeleteSparesLaterTags: a transaction of a delete whose process died is applied after a push of its tags.
func TestLateDeleteSparesLaterTags(t *testing.T) {
	for n := range 3 {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			c := client{repo: "r", tag: "first", layers: []string{"one"}}
			s.spawn(0, func(ctx context.Context, r *Registry) error { return tagAll(ctx, r, c) })
			s.run()
			s.decide = lateAt(s.actors, n)
			s.spawn(0, func(ctx context.Context, r *Registry) error {
				return r.DeleteManifest(ctx, "r", oci.SHA256.FromBytes(c.manifest()))
			})
			s.run()
			if len(s.late) != 1 {
				t.Fatalf("%d late writes", len(s.late))
			}
			held := s.late
			s.late = nil
			s.spawn(0, func(ctx context.Context, r *Registry) error {
				for _, c.tag = range []string{tagNumber(3), tagNumber(150), tagNumber(manyTags - 1)} {
					if err := c.push(ctx, r); err != nil {
						t.Error(err)
					}
				}
				return nil
			})
			s.run()
			s.late = held
			s.applyLate()
			for _, i := range []int{3, 150, manyTags - 1} {
				if !s.world.resolves("r", tagNumber(i), c.manifest()) {
					t.Errorf("write %d of the delete came late and deleted tag %d", n, i)
				}
			}
		})
	}
}

// TestLostManifestBytes: a tag whose manifest bytes are lost is answered with 404 after one more read.
func TestLostManifestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		s.spawn(0, client{repo: "r", tag: "t", big: true}.push)
		s.run()
		clear(s.world.content)
		w, at := s.world, func(_ string, call func() error) error { return call() }
		r := New(simMetadata{w, at}, simBlobs{w, at}, Options{})
		if _, err := r.FindManifest(t.Context(), "r", oci.Reference{Tag: "t"}); !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
			t.Errorf("the tag gives %v", err)
		}
	})
}

// TestDeleteOfPendingManifest: a manifest whose push failed was never visible.
func TestDeleteOfPendingManifest(t *testing.T) {
	w := newWorld(t.Errorf)
	at := func(_ string, call func() error) error { return call() }
	r := New(simMetadata{w, at}, simBlobs{w, at}, Options{})
	content := client{}.manifest()
	_, err := r.PushManifest(t.Context(), "r", ManifestPush{ContentType: oci.MediaTypeImageManifest, Content: content})
	if !errors.Is(err, oci.NewError(oci.ManifestBlobUnknown, "")) {
		t.Fatal(err)
	}
	if err := r.DeleteManifest(t.Context(), "r", oci.SHA256.FromBytes(content)); !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
		t.Errorf("its delete gives %v", err)
	}
}

// TestTagMovesWhileRead: a tag always exists, and moves on before its old manifest is deleted. No read misses it.
func TestTagMovesWhileRead(t *testing.T) {
	for seed := range seeds(150) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, seed)
			images := []client{
				{repo: "r", tag: "t", layers: []string{"one"}, big: seed%8 == 0},
				{repo: "r", tag: "t", layers: []string{"two"}},
				{repo: "r", tag: "t", layers: []string{"three"}},
			}
			s.spawn(0, images[0].push)
			s.run()
			s.spawn(0, func(ctx context.Context, r *Registry) error {
				for i, next := range images[1:] {
					err := errors.Join(next.push(ctx, r), r.DeleteManifest(ctx, "r", oci.SHA256.FromBytes(images[i].manifest())))
					if err != nil {
						t.Error(err)
					}
				}
				return nil
			})
			for range 8 {
				steps := s.rng.IntN(40) // each reads at another moment
				s.spawn(0, func(ctx context.Context, r *Registry) error {
					for range steps {
						_ = r.opts.Sleep(ctx, 0)
					}
					if _, err := r.FindManifest(ctx, "r", oci.Reference{Tag: "t"}); err != nil {
						t.Error(err)
					}
					return nil
				})
			}
			s.run()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
