package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// TestHealEveryWay: each way to push heals each sort of loss, in the repository that is
// pushed to and, in the same request, in all others. A mount of what is lost becomes an upload.
func TestHealEveryWay(t *testing.T) {
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	for way := range ways {
		for how := range 4 {
			way := finds(way, how)
			t.Run(fmt.Sprint("way ", way, " loss ", how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSim(t, 1)
					alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
						if err := r.PushBlob(ctx, "r", d, 7, bytes.NewReader(content)); err != nil {
							t.Fatal(err)
						}
						repos := []string{"r"}
						for i := range 2 * MaxTransact { // more than one transaction can relink
							repos = append(repos, fmt.Sprint("r", i))
							s.world.rows[linkKey(repos[i+1], d)] = s.world.rows[linkKey("r", d)]
						}
						for _, pushed := range []string{"r7", "new"} {
							s.world.loseAll(how)
							if err := pushBy(ctx, r, pushed, d, content, way); err != nil {
								t.Fatal(err)
							}
							for _, repo := range append(repos, pushed) {
								if !s.world.readable(s.world.rows[linkKey(repo, d)], d) {
									t.Fatalf("pushed to %s, and %s is not healed", pushed, repo)
								}
							}
						}
					})
					s.settle(t)
				})
			})
		}
	}
}

// TestHealEveryStepIsACrashPoint ends a push that heals at each of its calls. Another
// process must be able to heal then, and whatever it is told must be true.
func TestHealEveryStepIsACrashPoint(t *testing.T) {
	for way := range ways {
		for _, f := range []fate{crashBefore, crashAfter, losesAnswer, failsBefore, contends, late} {
			for at, more := 0, true; more; at++ {
				synctest.Test(t, func(t *testing.T) { more = healCrashAt(t, way, f, at) })
			}
		}
	}
}

func healCrashAt(t *testing.T, way int, f fate, at int) bool {
	s := newSim(t, uint64(at))
	way = finds(way, at)
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	push := func(repo string) func() error {
		return s.spawn(0, func(ctx context.Context, r *Registry) error { return pushBy(ctx, r, repo, d, content, way) })
	}
	readable := func(repo string) bool {
		return s.world.readable(s.world.rows[linkKey(repo, d)], d)
	}
	for _, repo := range []string{"q", "r"} {
		push(repo)
		s.run()
	}
	s.world.loseAll(at)
	n, met, what := 0, false, ""
	s.decide = func(p *pending) fate {
		n++
		if n-1 != at || (f == contends || f == late) && p.what != "write" {
			return lives
		}
		met, what = true, p.what
		return f
	}
	result := push("r")
	s.run()
	repeated := slices.Contains([]string{"get", "query", "write", "put", "stat"}, what)
	if f != crashBefore && f != crashAfter && repeated && result() != nil {
		t.Errorf("way %d, fate %d at call %d: %v", way, f, at, result())
	}
	if result() == nil && !readable("r") {
		t.Errorf("way %d, fate %d at call %d: answered with success, and not healed", way, f, at)
	}
	s.decide = func(*pending) fate { return lives }
	for _, repo := range []string{"q", "r"} {
		again := push(repo)
		s.run()
		if again() != nil || !readable(repo) {
			t.Errorf("way %d, fate %d at call %d: %s cannot be healed: %v", way, f, at, repo, again())
		}
	}
	s.settle(t)
	return met || n > at
}

// TestHealNothingByMistake: a store that does not say whether it has the object has not
// lost it. The push fails, and all stays as it was.
func TestHealNothingByMistake(t *testing.T) {
	for way := range ways {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			content := []byte("content")
			d := oci.SHA256.FromBytes(content)
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				if err := r.PushBlob(ctx, "r", d, 7, bytes.NewReader(content)); err != nil {
					t.Fatal(err)
				}
				before := maps.Clone(s.world.rows[blobKey(d)])
				s.decide = only(failsBefore, "stat")
				if err := pushBy(ctx, r, "q", d, content, way); !errors.Is(err, errInjected) {
					t.Errorf("way %d: %v", way, err)
				}
				s.decide = func(*pending) fate { return lives }
				if row := s.world.rows[blobKey(d)]; !maps.EqualFunc(row, before, func(a, b any) bool { return a == b }) {
					t.Errorf("way %d: the blob is %v, was %v", way, row, before)
				}
				if _, err := r.FindBlob(ctx, "q", d, false); !errors.Is(err, oci.NewError(oci.BlobUnknown, "")) {
					t.Errorf("way %d: it has a link: %v", way, err)
				}
			})
			s.settle(t)
		})
	}
}

// TestHealRepeats: the answer to a repeated last request is no promise that cannot be
// kept. Where the blob was deleted since, or its object lost, the upload is over.
func TestHealRepeats(t *testing.T) {
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	repeat := map[string]func(context.Context, *Registry, string) error{
		"last PUT": func(ctx context.Context, r *Registry, id string) error {
			return r.CompleteUpload(ctx, "r", id, Finish{Digest: d, Size: -1, Chunk: Chunk{Offset: -1, Length: 7, Body: bytes.NewReader(content)}})
		},
		"direct completion": func(ctx context.Context, r *Registry, id string) error {
			_, done, err := r.CompleteDirect(ctx, "r", id)
			if err == nil && !done {
				t.Error("a completion that was done is not done")
			}
			return err
		},
		"verification": func(ctx context.Context, r *Registry, id string) error {
			_, _, err := r.VerifyDirect(ctx, "r", id)
			return err
		},
	}
	for name, again := range repeat {
		for _, lost := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 1)
				alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
					id := begun(ctx, t, r, name, content)
					first := again
					if name == "verification" {
						first = func(ctx context.Context, r *Registry, id string) error { return finishDirect(ctx, r, "r", id) }
					}
					for _, act := range []func(context.Context, *Registry, string) error{first, again} {
						if err := act(ctx, r, id); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
					}
					s.decide = only(failsBefore, "get")
					if err := again(ctx, r, id); !errors.Is(err, errInjected) {
						t.Errorf("%s without an answer of the store: %v", name, err)
					}
					s.decide = func(*pending) fate { return lives }
					if lost {
						s.world.loseAll(0)
					} else if err := r.DeleteBlob(ctx, "r", d); err != nil {
						t.Fatal(err)
					}
					wantCode(t, name, again(ctx, r, id), oci.BlobUploadUnknown)
				})
			})
		}
	}
}

// begun is an upload of which only the last request is missing.
func begun(ctx context.Context, t *testing.T, r *Registry, name string, content []byte) string {
	t.Helper()
	if name == "last PUT" {
		u, err := r.StartUpload(ctx, "r", "")
		if err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	u, _, err := r.StartDirect(ctx, "r", offer(content, name == "verification"), everywhere)
	if err == nil {
		err = sendAll(ctx, r, "r", u, content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// TestHealManifests: the bytes of a large manifest are an object too. Pushing it again
// heals, and a delete of it then leaves nothing.
func TestHealManifests(t *testing.T) {
	m := []byte(`{"layers":[],"pad":"` + strings.Repeat("x", inlineManifest) + `"}`)
	d := oci.SHA256.FromBytes(m)
	for how := range 4 {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				push := func() {
					p := ManifestPush{Tags: []string{"t"}, ContentType: oci.MediaTypeImageIndex, Content: m}
					if _, err := r.PushManifest(ctx, "r", p); err != nil {
						t.Fatal(err)
					}
				}
				push()
				s.world.loseAll(how)
				push()
				found, err := r.FindManifest(ctx, "r", oci.Reference{Digest: d})
				if err != nil || !bytes.Equal(found.Content, m) || found.MediaType != oci.MediaTypeImageIndex {
					t.Errorf("loss %d: %d bytes, %q, %v", how, len(found.Content), found.MediaType, err)
				}
				if err := r.DeleteManifest(ctx, "r", d); err != nil {
					t.Error(err)
				}
			})
			s.settle(t)
		})
	}
}

// TestRelinkMeetsOthers: links that are deleted while a push heals stay deleted, and a slow
// push that heals takes no link back from one that healed after it.
func TestRelinkMeetsOthers(t *testing.T) {
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	repos := []string{"p", "q", "r"}
	for _, meets := range []string{"delete", "another heal"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
				for _, repo := range repos {
					if err := r.PushBlob(ctx, repo, d, 7, bytes.NewReader(content)); err != nil {
						t.Fatal(err)
					}
				}
				s.world.loseAll(0)
				at, rows := 0, s.world.rows
				s.decide = func(p *pending) fate {
					switch {
					case p.what == "query":
						at++
						if meets == "another heal" && at == 1 {
							s.world.loseAll(0)
							healedBy(s.world, store, d, "another")
						}
					case p.what == "write" && meets == "delete" && at == 1:
						at++
						delete(rows, linkKey("q", d))
					}
					return lives
				}
				if err := r.PushBlob(ctx, "r", d, 7, bytes.NewReader(content)); err != nil || at == 0 {
					t.Fatalf("%v, %d queries", err, at)
				}
				s.decide = func(*pending) fate { return lives }
				if link := rows[linkKey("q", d)]; (link == nil) != (meets == "delete") {
					t.Errorf("beside %s: the link is %v", meets, link)
				}
				for _, repo := range repos {
					if link := rows[linkKey(repo, d)]; link != nil && !s.world.readable(link, d) {
						t.Errorf("beside %s: the blob of %s cannot be read", meets, repo)
					}
				}
			})
		})
	}
}

// healedBy applies the effect of another process's heal at once.
func healedBy(w *world, store simBlobs, d oci.Digest, key string) {
	lost := w.rows[blobKey(d)].text(attrKey)
	_ = store.write(key, []byte("content")) // it is free
	set := func(k Key, attrs Attrs) { w.rows[k] = Write{Op: Set, Attrs: attrs}.Apply(w.rows[k]) }
	set(objectKey(key), w.rows[objectKey(lost)])
	set(objectKey(lost), encode(objectRow{State: objectDead}))
	for _, k := range []Key{blobKey(d), linkKey("p", d), linkKey("q", d), linkKey("r", d)} {
		set(k, Attrs{attrKey: key})
	}
}
