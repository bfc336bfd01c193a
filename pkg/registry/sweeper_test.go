package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// collector collects again and again, beside the other actors of a simulation.
func collector(ctx context.Context, r *Registry) error {
	for range 6 {
		for _, step := range []func() error{
			func() error { _, err := r.Collect(ctx, 100); return err },
			func() error { _, err := r.ExpireUploads(ctx, 1000); return err },
		} {
			if err := step(); errors.Is(err, errCrashed) {
				return err
			}
		}
		_ = r.opts.Sleep(ctx, simGrace)
	}
	return nil
}

// collectAll ends a run: without faults, it collects until every lease and every upload has
// ended, and demands that nothing is left that no live manifest needs.
func (s *sim) collectAll(t *testing.T) {
	t.Helper()
	for len(s.late) > 0 {
		_ = s.late[0]()
		s.late = s.late[1:]
	}
	s.decide = func(*pending) fate { return lives }
	for range 8 {
		s.advance(sessionLife + 3*simGrace)
		result := s.spawn(0, func(ctx context.Context, r *Registry) error {
			_, err := r.Collect(ctx, MaxPage)
			_, expired := r.ExpireUploads(ctx, MaxPage)
			return errors.Join(err, expired)
		})
		s.run()
		if err := result(); err != nil {
			t.Fatalf("collect without faults: %v", err)
		}
	}
	for _, leak := range s.world.leaks() {
		t.Errorf("left over: %s", leak)
	}
}

// leaks lists what no live manifest needs.
func (w *world) leaks() (leaks []string) {
	needed := map[Key]bool{}
	for key, attrs := range w.rows {
		if row := decode[manifestRow](attrs); strings.HasPrefix(key.PK, "M#") && row.State == manifestLive {
			refs, _ := unpackDigests(row.Refs)
			for _, d := range refs {
				needed[linkKey(key.PK[2:], d)] = true
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.rows), func(a, b Key) int { return strings.Compare(a.PK+a.SK, b.PK+b.SK) }) {
		attrs := w.rows[key]
		switch {
		case strings.HasPrefix(key.SK, linkPrefix) && !needed[key]:
			leaks = append(leaks, "link "+key.PK+" "+key.SK)
		case key.SK == "B" && !w.hasLink(key.PK):
			leaks = append(leaks, "blob without link "+key.PK)
		case key.PK == catalogPartition && len(w.query(Query{PK: manifestPartition(key.SK), Limit: 1}).Rows) == 0:
			leaks = append(leaks, "repository without manifests "+key.SK)
		case strings.HasPrefix(key.PK, "E#"):
			if repo, d := splitKey(key.PK); w.rows[manifestKey(repo, d)] == nil {
				leaks = append(leaks, "edge "+key.PK)
			}
		case strings.HasPrefix(key.PK, "Q#"):
			leaks = append(leaks, "queue "+key.PK+" "+key.SK+" "+attrs.text("y"))
		case strings.HasPrefix(key.PK, "K#") && attrs.text(attrState) == string(objectOpen):
			leaks = append(leaks, "open upload "+key.PK)
		}
	}
	for key := range w.content {
		if state := w.rows[objectKey(key)].text(attrState); state != string(objectLive) {
			leaks = append(leaks, "object "+key+" with the row "+state)
		}
	}
	return leaks
}

func (w *world) hasLink(partition string) bool {
	return len(w.query(Query{PK: partition, Prefix: linkPrefix, Limit: 1}).Rows) > 0
}
