package registry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// TestCollectRestores: a push begins between the two looks, and ends without a manifest. Its blob is
// restored, and collected later.
func TestCollectRestores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		c := client{repo: "r", tag: "t", layers: []string{"one"}}
		d := oci.SHA256.FromBytes([]byte("one"))
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if err := pushBy(ctx, r, "r", d, []byte("one"), 0); err != nil {
				t.Error(err)
			}
		})
		s.advance(2 * simGrace)
		link := linkKey("r", d)
		s.decide = func(*pending) fate {
			if s.world.rows[link].text(attrState) == string(blobCondemned) && s.world.rows[manifestKey("r", digestOf(c))] == nil {
				row := manifestRow{State: manifestPending, Refs: packDigests([]oci.Digest{d}), Renewed: s.clock.UnixMilli()}
				_ = s.world.apply([]Write{stamped(Write{Key: manifestKey("r", digestOf(c)), Op: Put, Attrs: encode(row)}, "a push")})
			}
			return lives
		}
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if c, err := r.Collect(ctx, MaxPage); err != nil || c.Links != 0 || c.Later != 1 {
				t.Errorf("beside the push: %+v, %v", c, err)
			}
		})
		if state := s.world.rows[link].text(attrState); state != string(blobLive) {
			t.Errorf("the link is %q", state)
		}
		s.collectAll(t)
		if s.world.rows[link] != nil {
			t.Error("the link is left")
		}
	})
}

// TestDeleteEndsHalfway: the process ends after it has deleted a large manifest and before it has
// deleted the bytes.
func TestDeleteEndsHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		c := client{repo: "r", tag: "t", layers: []string{"one"}, big: true}
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if err := c.push(ctx, r); err != nil {
				t.Error(err)
			}
		})
		s.collectAll(t) // the session of the bytes leaves the queue
		s.decide = only(crashBefore, "delete")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			_ = r.DeleteManifest(ctx, "r", digestOf(c))
		})
		if len(s.world.content) != 3 {
			t.Errorf("%d objects, want those of two blobs and of the manifest", len(s.world.content))
		}
		s.collectAll(t)
		if len(s.world.content) != 0 {
			t.Errorf("%d objects are left", len(s.world.content))
		}
	})
}

// TestCollectGoesOn: a review that fails stays, and the others are handled.
func TestCollectGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			for _, repo := range []string{"a", "b", "c"} {
				if err := pushBy(ctx, r, repo, oci.SHA256.FromBytes([]byte(repo)), []byte(repo), 0); err != nil {
					t.Error(err)
				}
			}
		})
		s.advance(2 * simGrace)
		s.world.rows[manifestKey("b", oci.SHA256.FromBytes(nil))] = Attrs{attrState: string(manifestLive), "f": []byte("damaged")}
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if c, err := r.Collect(ctx, MaxPage); err == nil || c.Failed != 1 || c.Links != 2 || c.Oldest == 0 {
				t.Errorf("%+v, %v", c, err)
			}
			plan, err := r.PlanCollect(ctx)
			if err == nil {
				t.Errorf("a plan with a damaged row: %+v", plan)
			}
		})
	})
}

// TestPlanCollect: the plan is what Collect then does, and writes nothing.
func TestPlanCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		c := client{repo: "r", tag: "t", layers: []string{"one", "two"}}
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if err := c.push(ctx, r); err != nil {
				t.Error(err)
			}
			for _, repo := range []string{"r", "q"} {
				if err := pushBy(ctx, r, repo, oci.SHA256.FromBytes([]byte("idle")), []byte("idle"), 0); err != nil {
					t.Error(err)
				}
			}
		})
		s.advance(2 * simGrace)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			rows := len(s.world.rows)
			s.decide = func(p *pending) fate {
				if p.what == "write" {
					t.Error("the plan writes")
				}
				return lives
			}
			plan, err := r.PlanCollect(ctx)
			s.decide = func(*pending) fate { return lives }
			if err != nil || plan.Links != 2 || plan.Blobs != 1 || plan.Bytes != 4 || rows != len(s.world.rows) {
				t.Errorf("plan: %+v, %v", plan, err)
			}
			did, err := r.Collect(ctx, MaxPage)
			again, againErr := r.Collect(ctx, MaxPage)
			if err != nil || againErr != nil || did.Links != plan.Links || did.Blobs+again.Blobs != plan.Blobs || did.Bytes+again.Bytes != plan.Bytes {
				t.Errorf("%+v, %+v, %v, %v", did, again, err, againErr)
			}
			if later := time.UnixMilli(did.Oldest); later.IsZero() {
				t.Error("no age")
			}
		})
	})
}
