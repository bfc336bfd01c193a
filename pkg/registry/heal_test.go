package registry

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// lose deletes or damages the object of a key behind the registry's back: as a wrong
// lifecycle rule, a bad disk or somebody with the store's console does.
func (w *world) lose(key string, how int) {
	content := w.content[key]
	if len(content) == 0 {
		return
	}
	w.lost[key] = true
	switch how % 4 {
	case 0:
		delete(w.content, key)
		delete(w.written, key) // a client may send it once more, by a request signed for it
	case 1:
		w.content[key] = content[:len(content)/2]
	case 2:
		w.encoded[key] = true
	case 3: // the store can tell: it knows the sha256
		flipped := bytes.Clone(content)
		flipped[0] ^= 1
		w.content[key], w.summed[key] = flipped, true
	}
}

// liveKeys lists the keys of blobs and manifests that are there.
func (w *world) liveKeys() (keys []string) {
	for key, row := range w.rows {
		if key.SK == "K" && row.text(attrState) == string(objectLive) {
			keys = append(keys, key.PK[2:])
		}
	}
	slices.Sort(keys)
	return keys
}

func (w *world) loseAll(how int) {
	for _, key := range w.liveKeys() {
		w.lose(key, how)
	}
}

// readable reports whether a reader of a link or a manifest gets bytes with its digest.
func (w *world) readable(row Attrs, d oci.Digest) bool {
	return !w.encoded[row.text(attrKey)] && d.Algorithm().FromBytes(w.manifest(row)) == d
}

// vandal loses some objects of live keys while others work, and remembers when.
type vandal struct {
	s      *sim
	lostAt map[oci.Digest]int
}

// finds is a way to push that finds a loss: a mount does not look at the bytes.
func finds(way, how int) int {
	if way%ways == 1 && how%4 == 3 {
		return 0
	}
	return way
}

func (v *vandal) loses(times, hows int) func(context.Context, *Registry) error {
	return func(_ context.Context, r *Registry) error {
		names, _ := r.meta.(retrying).Metadata.(simMetadata)
		for range times {
			_ = names.turn("lose", func() error {
				keys := v.s.world.liveKeys()
				if len(keys) == 0 {
					return nil
				}
				key := keys[v.s.rng.IntN(len(keys))]
				v.s.world.lose(key, v.s.rng.IntN(hows))
				v.lostAt[v.s.world.rows[objectKey(key)].digest(attrDigest)] = v.s.steps
				return nil
			})
			for range v.s.rng.IntN(30) {
				_ = r.opts.Sleep(context.Background(), 0)
			}
		}
		return nil
	}
}

// check holds the promise: once a push is answered that began after the last loss, the
// content can be read.
func (v *vandal) check(what string, d oci.Digest, began int, row Attrs, mayBeGone bool) {
	if at, lost := v.lostAt[d]; lost && at >= began || row == nil && mayBeGone {
		return
	}
	if row == nil || !v.s.world.readable(row, d) {
		v.s.fault("%s was pushed and answered with success, and cannot be read", what)
	}
}

// TestHealing: objects of live keys are lost or damaged while pushers, deleters and sweepers
// meet, and calls fail in every way.
func TestHealing(t *testing.T) {
	for seed := range seeds(300) {
		synctest.Test(t, func(t *testing.T) { healing(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func healing(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	s.world.blind = seed%7 == 0
	v := &vandal{s: s, lostAt: map[oci.Digest]int{}}
	hows := 3 + int(seed/3%2) // sorts of loss
	blobs := []string{"config", "one", "two"}
	repos := []string{"p", "q", "r"}
	image := client{repo: "r", tag: "t", layers: blobs[1:], big: seed%4 == 1}
	pushAll := func(repo string) func(context.Context, *Registry) error {
		return func(ctx context.Context, r *Registry) error {
			for i, content := range blobs {
				d := oci.SHA256.FromBytes([]byte(content))
				if err := pushBy(ctx, r, repo, d, []byte(content), finds(i+int(seed), hows-1)); err != nil {
					return err
				}
			}
			return pushImage(ctx, r, repo, image)
		}
	}
	for _, repo := range repos {
		s.spawn(0, pushAll(repo))
		s.run()
	}
	rate := []int{0, 40, 10}[seed%3]
	s.decide = func(p *pending) fate {
		if rate == 0 || p.what == "lose" {
			return lives
		}
		if p.what == "write" {
			return s.sometimes(rate, contends, late)
		}
		return s.sometimes(rate)
	}
	if seed%4 == 0 {
		s.world.loseAll(int(seed/4) % hows) // before the first push: everything has to be healed
	}
	s.spawn(0, v.loses(1+s.rng.IntN(4), hows))
	sweeping, deleting := seed%5 == 1, seed%2 == 1
	for range 4 {
		repo := repos[s.rng.IntN(3)]
		content := blobs[s.rng.IntN(3)]
		way := finds(s.rng.IntN(ways), hows-1)
		s.spawn(skew(s), func(ctx context.Context, r *Registry) error {
			d := oci.SHA256.FromBytes([]byte(content))
			return thrice(func() error {
				began := s.steps
				err := pushBy(ctx, r, repo, d, []byte(content), way)
				if err == nil {
					v.check(content, d, began, s.world.rows[linkKey(repo, d)], deleting || sweeping)
				}
				return err
			})
		})
	}
	for range 2 {
		s.spawn(skew(s), func(ctx context.Context, r *Registry) error {
			d := oci.SHA256.FromBytes(image.manifest())
			return thrice(func() error {
				began := s.steps
				err := pushImage(ctx, r, "r", image)
				if err == nil {
					v.check("the manifest", d, began, s.world.rows[contentKey("r", d)], deleting)
				}
				return err
			})
		})
	}
	if deleting {
		s.spawn(skew(s), func(ctx context.Context, r *Registry) error {
			err := r.DeleteManifest(ctx, "r", oci.SHA256.FromBytes(image.manifest()))
			if gone := r.DeleteManifest(ctx, "q", oci.SHA256.FromBytes(image.manifest())); gone == nil {
				err = errors.Join(err, r.DeleteBlob(ctx, "q", oci.SHA256.FromBytes([]byte("two"))))
			}
			return err
		})
	}
	if sweeping {
		s.spawn(skew(s), collector)
		s.spawn(skew(s)+sessionLife, func(ctx context.Context, r *Registry) error {
			_, err := r.ExpireUploads(ctx, 1000)
			return err
		})
	}
	if seed%2 == 0 {
		for range 2 {
			s.spawn(skew(s), repairer)
		}
	}
	s.run()
	healed(t, s, repos, blobs, pushAll, image, rate > 0)
}

func pushImage(ctx context.Context, r *Registry, repo string, c client) error {
	_, err := r.PushManifest(ctx, repo, ManifestPush{Tags: []string{c.tag}, ContentType: oci.MediaTypeImageManifest, Content: c.manifest()})
	return err
}

// thrice does something up to three times, unless the process is dead.
func thrice(act func() error) (err error) {
	for range 3 {
		if err = act(); errors.Is(err, errCrashed) {
			return err
		}
	}
	return err
}

// healed holds that one more push of everything, of which nothing fails, leaves nothing
// that cannot be read, in no repository, and that nothing else is left behind.
func healed(
	t *testing.T, s *sim, repos, blobs []string, pushAll func(string) func(context.Context, *Registry) error,
	image client, leftovers bool,
) {
	t.Helper()
	s.decide = func(*pending) fate { return lives }
	for _, repo := range repos {
		push := s.spawn(0, pushAll(repo))
		s.run()
		if err := push(); err != nil {
			t.Errorf("push to %s: %v", repo, err)
		}
	}
	for _, repo := range repos {
		for _, content := range blobs {
			d := oci.SHA256.FromBytes([]byte(content))
			if !s.world.readable(s.world.rows[linkKey(repo, d)], d) {
				t.Errorf("%s of %s is not healed", content, repo)
			}
		}
		d := oci.SHA256.FromBytes(image.manifest())
		if !s.world.readable(s.world.rows[contentKey(repo, d)], d) {
			t.Errorf("the manifest of %s is not healed", repo)
		}
	}
	s.wantClean(t)
	if leftovers {
		return // a push of a large manifest that crashes leaves its bytes, and has no list of them
	}
	s.settle(t)
}
