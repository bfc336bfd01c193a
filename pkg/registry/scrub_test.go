package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// setRow changes attributes of a row behind the registry's back.
func (w *world) setRow(key Key, attrs Attrs) {
	w.rows[key] = Write{Op: Set, Attrs: attrs}.Apply(w.rows[key])
	w.rows[key][attrVersion] = "behind the back"
}

// scrubCase is a fault of the rows or objects of an image, which TestScrub pushes to r and q.
type scrubCase struct {
	name  string
	spoil func(w *world, c scrubbedImage)
	want  []Problem
	repos string   // repositories with a broken image
	fixed []Repair // results of a repair; nil: none
	// pushes is true if the image must be pushed again after the repair.
	pushes bool
}

// scrubbedImage names the parts of the image.
type scrubbedImage struct {
	d, manifest           oci.Digest // of the layer "one", which r and q have
	key, link, object     Key
	manifestKey, contents Key
	large                 string // content key of the manifest in r
}

var scrubCases = []scrubCase{
	{name: "nothing", spoil: func(*world, scrubbedImage) {}},
	{
		name: "lost", spoil: func(w *world, c scrubbedImage) { w.lose(w.rows[c.key].text(attrKey), 0) },
		want: []Problem{Lost}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "cut", spoil: func(w *world, c scrubbedImage) { w.lose(w.rows[c.key].text(attrKey), 1) },
		want: []Problem{WrongSize}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "encoded", spoil: func(w *world, c scrubbedImage) { w.lose(w.rows[c.key].text(attrKey), 2) },
		want: []Problem{Damaged}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "flipped", spoil: func(w *world, c scrubbedImage) { w.flip(w.rows[c.key].text(attrKey)) },
		want: []Problem{Damaged}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "lost manifest", spoil: func(w *world, c scrubbedImage) { w.lose(c.large, 0) },
		want: []Problem{Lost}, repos: "r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "flipped manifest", spoil: func(w *world, c scrubbedImage) { w.flip(c.large) },
		want: []Problem{Damaged}, repos: "r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "key without a row",
		spoil: func(w *world, c scrubbedImage) {
			delete(w.rows, c.object)
			w.stored[c.object.PK[2:]] = w.now().Add(-2 * orphanAge)
		},
		want: []Problem{DeadKey}, repos: "q r", fixed: []Repair{RepairDone},
	},
	{
		name: "key without a row or object",
		spoil: func(w *world, c scrubbedImage) {
			w.lose(c.object.PK[2:], 0)
			delete(w.rows, c.object)
		},
		want: []Problem{DeadKey}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "key without a row, and wrong bytes",
		spoil: func(w *world, c scrubbedImage) {
			w.flip(c.object.PK[2:])
			delete(w.rows, c.object)
		},
		want: []Problem{DeadKey}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "dead key",
		spoil: func(w *world, c scrubbedImage) {
			w.lost[c.object.PK[2:]] = true
			w.setRow(c.object, Attrs{attrState: string(objectDead)})
		},
		want: []Problem{DeadKey}, repos: "q r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name:  "manifest key without a row",
		spoil: func(w *world, c scrubbedImage) { delete(w.rows, objectKey(c.large)) },
		want:  []Problem{DeadKey}, repos: "r", fixed: []Repair{RepairDone},
	},
	{
		name: "link to another key",
		spoil: func(w *world, c scrubbedImage) {
			w.lost["gone"] = true
			w.setRow(c.link, Attrs{attrKey: "gone"})
		},
		want: []Problem{WrongLink}, repos: "r", fixed: []Repair{RepairDone},
	},
	{
		name: "links without a blob",
		spoil: func(w *world, c scrubbedImage) {
			delete(w.rows, c.key)
			w.lost[c.object.PK[2:]] = true
		},
		want: []Problem{WrongLink, WrongLink, Unnamed}, repos: "q r", fixed: []Repair{RepairPush, RepairPush, RepairDone}, pushes: true,
	},
	{
		name: "no link",
		spoil: func(w *world, c scrubbedImage) {
			delete(w.rows, c.link)
			w.unlinked[c.link] = true
		},
		want: []Problem{Missing}, repos: "r", fixed: []Repair{RepairDone},
	},
	{
		name: "manifest without bytes", spoil: func(w *world, c scrubbedImage) { delete(w.rows, c.contents) },
		want: []Problem{NoContent}, repos: "r", fixed: []Repair{RepairPush}, pushes: true,
	},
	{
		name: "unnamed key",
		spoil: func(w *world, _ scrubbedImage) {
			key := strings.Repeat("0", 64)
			w.content[key], w.stored[key] = []byte("old"), w.now().Add(-orphanAge-time.Hour)
			w.setRow(objectKey(key), encode(objectRow{State: objectLive, Repo: "r", Digest: oci.SHA256.FromBytes([]byte("old")), Size: 3}))
		},
		want: []Problem{Unnamed}, fixed: []Repair{RepairDone},
	},
	{
		name: "old and young orphans",
		spoil: func(w *world, _ scrubbedImage) {
			for i, content := range []string{"old", `{"created":"2026-01-02T03:04:05Z","rootfs":{}}`} {
				key := fmt.Sprintf("%064d", i)
				w.content[key], w.stored[key] = []byte(content), w.now().Add(time.Duration(i-1)*(orphanAge+time.Hour))
			}
		},
		want: []Problem{Orphan, Orphan}, fixed: []Repair{RepairDone, RepairNone},
	},
	{
		name: "object of a key that died long ago",
		spoil: func(w *world, _ scrubbedImage) {
			key := strings.Repeat("0", 64)
			w.content[key], w.stored[key] = []byte("old"), w.now().Add(-orphanAge-time.Hour)
			w.setRow(objectKey(key), encode(objectRow{State: objectDead, TTL: w.now().Add(deadLife - orphanAge - time.Minute).Unix()}))
		},
		want: []Problem{Orphan}, fixed: []Repair{RepairDone},
	},
	{
		name: "object of a key that died yesterday",
		spoil: func(w *world, _ scrubbedImage) {
			key := strings.Repeat("0", 64)
			w.content[key], w.stored[key] = []byte("old"), w.now().Add(-orphanAge-time.Hour)
			w.setRow(objectKey(key), encode(objectRow{State: objectDead, TTL: w.now().Add(deadLife - 24*time.Hour).Unix()}))
			w.setRow(expiryKey(key, w.now().UnixMilli(), "x"), encode(expiryRow{Key: key}))
		},
	},
}

// flip changes a byte, in a store that does not know the digest.
func (w *world) flip(key string) {
	w.lose(key, 3)
	w.summed[key] = false
}

// TestScrub: a scrub finds each fault and the images that it breaks, and changes nothing. A repair
// and a push of the image, by a client that sends only what the registry does not have, mend it.
func TestScrub(t *testing.T) {
	for _, c := range scrubCases {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { c.run(t) }) })
	}
}

func (c scrubCase) run(t *testing.T) {
	s := newSim(t, 1)
	images := []client{{repo: "r", tag: "t", layers: []string{"one"}, big: true}, {repo: "q", tag: "t", layers: []string{"one"}}}
	push := func() {
		for _, image := range images {
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				if err := image.push(ctx, r); err != nil {
					t.Errorf("push: %v", err)
				}
			})
		}
	}
	push()
	d, manifest := oci.SHA256.FromBytes([]byte("one")), digestOf(images[0])
	parts := scrubbedImage{
		d: d, manifest: manifest, key: blobKey(d), link: linkKey("r", d), object: objectKey(s.world.rows[blobKey(d)].text(attrKey)),
		manifestKey: manifestKey("r", manifest), contents: contentKey("r", manifest), large: s.world.rows[manifestKey("r", manifest)].text(attrKey),
	}
	if c.name == "manifest without bytes" { // which a large one would leave as an unnamed key
		parts.contents = contentKey("q", digestOf(images[1]))
		c.repos = "q"
	}
	s.unchecked = true
	c.spoil(s.world, parts)
	before := maps.Clone(s.world.rows)
	found := s.scrubAlone(t, ScrubOptions{Hash: true})
	c.check(t, found, nil)
	if !maps.EqualFunc(before, s.world.rows, func(a, b Attrs) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Error("a scrub without repair wrote")
	}
	if len(c.want) == 0 {
		return
	}
	c.check(t, s.scrubAlone(t, ScrubOptions{Hash: true, Repair: true}), c.fixed)
	if c.pushes {
		if again := s.scrubAlone(t, ScrubOptions{Hash: true}); again.Clean() {
			t.Error("the repair has hidden that a push is needed")
		}
		push()
	}
	s.advance(orphanAge + time.Hour)
	s.scrubAlone(t, ScrubOptions{Hash: true, Repair: true}) // young orphans are old now
	s.wantClean(t)
	s.world.check(func(format string, args ...any) { t.Errorf(format, args...) })
	for _, image := range images {
		if !s.world.readable(s.world.rows[linkKey(image.repo, d)], d) || !s.world.resolves(image.repo, "t", image.manifest()) {
			t.Errorf("the image of %s is not healed", image.repo)
		}
	}
	s.collectAll(t)
}

func (c scrubCase) check(t *testing.T, found Scrubbed, fixed []Repair) {
	t.Helper()
	var problems []Problem
	var repairs []Repair
	findings := slices.Clone(found.Findings)
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(string(a.Problem), string(b.Problem)) })
	for _, f := range findings {
		problems, repairs = append(problems, f.Problem), append(repairs, f.Repair)
	}
	if !slices.Equal(problems, c.want) {
		t.Errorf("found %v, want %v", problems, c.want)
	}
	if fixed != nil && !slices.Equal(repairs, fixed) {
		t.Errorf("repairs %v, want %v", repairs, fixed)
	}
	var repos []string
	for _, image := range found.Images {
		repos = append(repos, image.Repository)
		if !slices.Equal(image.Tags, []string{"t"}) || len(image.Broken) != 1 {
			t.Errorf("image %+v", image)
		}
	}
	want := c.repos
	if fixed != nil && !c.pushes {
		want = ""
	}
	if strings.Join(repos, " ") != want {
		t.Errorf("broken images in %q, want %q", repos, want)
	}
	if found.Clean() != (len(c.want) == 0 || fixed != nil && !slices.ContainsFunc(fixed, func(r Repair) bool { return r != RepairDone })) {
		t.Errorf("clean: %v", found.Clean())
	}
}

// TestRepairDropsAllLinks: a blob that is lost goes with all of its links, more than one transaction can
// delete, so that every repository gets it again.
func TestRepairDropsAllLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, client{repo: "r", tag: "t", layers: []string{"one"}}.mustPush(t))
		d := oci.SHA256.FromBytes([]byte("one"))
		for i := range 2 * MaxTransact {
			s.world.rows[linkKey(fmt.Sprint("x", i), d)] = s.world.rows[linkKey("r", d)]
		}
		s.world.lose(s.world.rows[blobKey(d)].text(attrKey), 0)
		found := s.scrubAlone(t, ScrubOptions{Repair: true})
		if len(found.Findings) != 1 || found.Findings[0].Repair != RepairPush {
			t.Errorf("findings %+v", found.Findings)
		}
		for key := range s.world.rows {
			if key.PK == blobPartition(d) {
				t.Errorf("%s is left", key.SK)
			}
		}
	})
}

// TestRepairLeavesAHealedBlob: a push gives the blob another key between the scrub and its repair.
func TestRepairLeavesAHealedBlob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, client{repo: "r", tag: "t", layers: []string{"one"}}.mustPush(t))
		d := oci.SHA256.FromBytes([]byte("one"))
		old := Finding{Problem: DeadKey, Key: strings.Repeat("0", 64), Digest: d, row: Row{Key: blobKey(d)}}
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if did, err := (&scrubber{Registry: r}).dropBlob(ctx, old); did != RepairNone || err != nil {
				t.Errorf("repair %q, %v", did, err)
			}
		})
		if !s.world.readable(s.world.rows[linkKey("r", d)], d) {
			t.Error("the blob is gone")
		}
	})
}

// TestScrubNamesIndexes: an index of a broken image is broken, and an image that shares no layer
// with it is not.
func TestScrubNamesIndexes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		s.unchecked = true // the checks take children for blobs
		child := client{repo: "r", tag: "child", layers: []string{"one"}}
		index := fmt.Appendf(nil, `{"manifests":[%s]}`, descriptorJSON(child.manifest()))
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			err := errors.Join(child.push(ctx, r), client{repo: "r", tag: "other", layers: []string{"two"}}.push(ctx, r))
			_, indexErr := r.PushManifest(ctx, "r", ManifestPush{Tags: []string{"i1", "i2"}, ContentType: oci.MediaTypeImageIndex, Content: index})
			if err := errors.Join(err, indexErr); err != nil {
				t.Fatal(err)
			}
		})
		one := oci.SHA256.FromBytes([]byte("one"))
		s.world.lose(s.world.rows[blobKey(one)].text(attrKey), 0)
		found := s.scrubAlone(t, ScrubOptions{})
		tags := map[oci.Digest][]string{}
		for _, image := range found.Images {
			tags[image.Digest] = image.Tags
			if !slices.Equal(image.Broken, []oci.Digest{one}) {
				t.Errorf("%+v", image)
			}
		}
		want := map[oci.Digest][]string{digestOf(child): {"child"}, oci.SHA256.FromBytes(index): {"i1", "i2"}}
		if !maps.EqualFunc(tags, want, slices.Equal) {
			t.Errorf("broken %v, want %v", tags, want)
		}
	})
}

// TestScrubIgnoresForeignLayers: a manifest may name non-distributable layers that were never
// pushed, and a repair must not link a repository to them.
func TestScrubIgnoresForeignLayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		s.unchecked = true // the checks want the foreign layer
		secret := []byte("secret")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			image := client{repo: "private", tag: "t", layers: []string{"secret"}}
			foreign := strings.Replace(descriptorJSON(secret), "x/y", "application/vnd.oci.image.layer.nondistributable.v1.tar", 1)
			manifest := fmt.Appendf(nil, `{"config":%s,"layers":[%s]}`, descriptorJSON([]byte("config")), foreign)
			config := oci.SHA256.FromBytes([]byte("config"))
			err := errors.Join(image.push(ctx, r), pushBy(ctx, r, "r", config, []byte("config"), 0))
			_, pushErr := r.PushManifest(ctx, "r", ManifestPush{Tags: []string{"t"}, ContentType: oci.MediaTypeImageManifest, Content: manifest})
			if err := errors.Join(err, pushErr); err != nil {
				t.Fatal(err)
			}
		})
		if found := s.scrubAlone(t, ScrubOptions{Repair: true}); len(found.Findings) > 0 {
			t.Errorf("found %+v", found.Findings)
		}
		if s.world.rows[linkKey("r", oci.SHA256.FromBytes(secret))] != nil {
			t.Error("the repository was linked to a blob of another one")
		}
	})
}

// TestScrubContinues: an interrupted scrub says where it stopped, and the next one reads only what
// is left.
func TestScrubContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			for i := range 3 * hashBatch {
				content := []byte(fmt.Sprint("blob ", i))
				if err := pushBy(ctx, r, "r", oci.SHA256.FromBytes(content), content, 0); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(ctx)
			stopped, err := scrub(ctx, r, ScrubOptions{Hash: true, Rate: 1, Progress: func(s Scrubbed) {
				if s.Hashed > 0 {
					cancel()
				}
			}})
			if err != nil && !errors.Is(err, context.Canceled) || stopped.Complete || stopped.After == "" || stopped.Hashed != hashBatch {
				t.Errorf("%+v, %v", stopped, err)
			}
			rest, err := scrub(context.Background(), r, ScrubOptions{Hash: true, After: stopped.After})
			if err != nil || rest.Hashed != 2*hashBatch || !rest.Complete || rest.After != "" || rest.Objects != 3*hashBatch {
				t.Errorf("%+v, %v", rest, err)
			}
		})
	})
}

// TestPace: readers together stay at the rate.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 1000, clock: time.Now, sleep: Sleep}
		began := time.Now()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for range 10 {
					_ = p.wait(t.Context(), 250)
				}
			})
		}
		readers.Wait()
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("40 reads of 250 bytes took %v at 1000 bytes a second", took)
		}
	})
}

// TestObjectIndex: keys with the same first bits are told apart by their sizes.
func TestObjectIndex(t *testing.T) {
	var x objectIndex
	for i, key := range []string{"00", "0fffffffffffffff0", "0fffffffffffffff1", "ff"} {
		x.add(Object{Key: key + strings.Repeat("0", 64-len(key)), Size: int64(i)})
	}
	for key, sizes := range map[string][]int64{"00": {0}, "0fffffffffffffff": {1, 2}, "ff": {3}, "f0": nil} {
		for size := range int64(5) {
			if x.has(key+strings.Repeat("0", 64-len(key)), size) != slices.Contains(sizes, size) {
				t.Errorf("key %s with %d bytes", key, size)
			}
		}
	}
}
