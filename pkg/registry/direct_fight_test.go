package registry

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// TestDirectFight: several clients complete, verify, cancel and send on one upload,
// calls fail in every way, sweeps and wrong clocks are about. The world is checked
// after each step; who was told that it is done has the blob.
func TestDirectFight(t *testing.T) {
	for seed := range seeds(1500) {
		synctest.Test(t, func(t *testing.T) { directFight(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func directFight(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	s.world.blind = seed%4 == 0
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	if seed%5 < 2 { // it is there, needed by nobody; a sweep may take it at any time
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			_ = r.PushBlob(ctx, "q", d, 7, bytes.NewReader(content))
			_ = r.DeleteBlob(ctx, "q", d)
		})
		s.spawn(2*simGrace, collector)
	}
	var u direct.Upload
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		u, _, _ = r.StartDirect(ctx, "r", offer(content, seed%2 == 0), everywhere)
	})
	s.decide = func(p *pending) fate {
		if p.what == "send" {
			return s.sometimes(12, late)
		}
		return s.sometimes(12)
	}
	var results []func() error
	for range 3 {
		results = append(results, s.spawn(skew(s), func(ctx context.Context, r *Registry) (err error) {
			for range 3 {
				if err = sendAll(ctx, r, "r", u, content); err == nil {
					if err = finishDirect(ctx, r, "r", u.ID); err == nil {
						return nil
					}
				}
				_ = r.opts.Sleep(ctx, r.verifyLease())
			}
			return err
		}))
	}
	ended := seed%3 == 0
	if ended {
		s.spawn(0, func(ctx context.Context, r *Registry) error { return r.CancelDirect(ctx, "r", u.ID) })
		s.spawn(sessionLife*2, func(ctx context.Context, r *Registry) error {
			_, err := r.ExpireUploads(ctx, 100)
			return err
		})
	}
	s.run()
	for i, result := range results {
		if result() == nil && s.world.rows[linkKey("r", d)] == nil && seed%5 >= 2 { // a sweep takes it again
			t.Errorf("client %d was told that it is done", i)
		}
	}
	// A sweep whose clock is days ahead takes an upload off the list while its requests
	// are still good; the least sweep of these tests has no list at all.
	if !ended && seed%5 >= 2 {
		s.settle(t)
	}
}
