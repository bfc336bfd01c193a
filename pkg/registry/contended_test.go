package registry

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// TestStoreStaysContended: after a number of tries the client is asked to come back, and
// the upload stands where it did.
func TestStoreStaysContended(t *testing.T) {
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	for what, way := range map[string]int{"put": 0, "complete": 2, "complete ": 5} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			s.decide = only(contends, strings.TrimSpace(what))
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				if err := pushBy(ctx, r, "r", d, content, way); !errors.Is(err, ErrContended) {
					t.Errorf("way %d: %v", way, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			last := func() error {
				c := Chunk{Offset: 0, Length: -1, Body: bytes.NewReader(content)}
				return r.CompleteUpload(ctx, "r", u.ID, Finish{Digest: d, Size: -1, Chunk: c})
			}
			s.decide = only(contends, "complete")
			if err := last(); !errors.Is(err, ErrContended) {
				t.Error(err)
			}
			s.decide = func(*pending) fate { return lives }
			if err := last(); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	})
}
