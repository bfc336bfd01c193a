package registry

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// TestPromiseToClients: a push whose requests follow each other within half a grace is never
// refused, whatever garbage collection does beside it: neither for a blob that it has found, nor
// for one that it has sent.
func TestPromiseToClients(t *testing.T) {
	for seed := range seeds(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { promise(t, seed) }) })
		if t.Failed() {
			return
		}
	}
}

func promise(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	first := client{repo: "r", tag: "old", layers: []string{"one", "two"}, big: seed%3 == 0}
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		if err := first.push(ctx, r); err != nil {
			t.Error(err)
		}
		if seed%4 > 0 { // its blobs are garbage from now on
			if err := r.DeleteManifest(ctx, first.repo, digestOf(first)); err != nil {
				t.Error(err)
			}
		}
	})
	s.advance(s.upTo(4 * simGrace))
	for range 2 {
		s.spawn(time.Duration(s.rng.IntN(2000)-1000)*time.Millisecond, func(ctx context.Context, r *Registry) error {
			for range 12 {
				_, _ = r.Collect(ctx, MaxPage)
				_, _ = r.ExpireUploads(ctx, MaxPage)
				_ = r.opts.Sleep(ctx, time.Second)
			}
			return nil
		})
	}
	var results []func() error
	for i := range 2 {
		c := client{repo: []string{"r", "q"}[i*s.rng.IntN(2)], tag: fmt.Sprint("v", i), layers: []string{"two", fmt.Sprint(i)}, way: s.rng.IntN(ways)}
		results = append(results, s.spawn(0, func(ctx context.Context, r *Registry) error {
			return c.pushSlowly(ctx, r, func() { s.advance(s.upTo(simGrace / 8)) })
		}))
	}
	s.run()
	for _, result := range results {
		if err := result(); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	s.collectAll(t)
}

func digestOf(c client) oci.Digest { return oci.SHA256.FromBytes(c.manifest()) }
