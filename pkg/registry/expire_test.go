package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestExpireUploads: uploads in use stay, others are ended, in portions, until the queue is
// empty.
func TestExpireUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
			var ids []string
			for i := range 40 {
				u, _, err := r.StartDirect(ctx, "r", offer(fmt.Append(nil, "content", i), i%2 == 0), everywhere)
				if err != nil {
					t.Fatal(err)
				}
				if i%4 < 2 {
					_ = sendAll(ctx, r, "r", u, fmt.Append(nil, "content", i))
				}
				ids = append(ids, u.ID)
			}
			plain, _ := r.StartUpload(ctx, "r", "")
			_, _ = r.AppendUpload(ctx, "r", plain.ID, Chunk{Offset: -1, Length: 1, Body: strings.NewReader("x")})
			if _, done, err := r.CompleteDirect(ctx, "r", ids[1]); !done || err != nil {
				t.Fatal(done, err)
			}
			if err := r.CancelDirect(ctx, "r", ids[5]); err != nil {
				t.Fatal(err)
			}
			s.advance(sessionLife - time.Hour)
			if _, err := r.SignParts(ctx, "r", ids[2], nil); err != nil { // in use
				t.Fatal(err)
			}
			if e, err := r.ExpireUploads(ctx, 100); err != nil || e != (Expired{}) {
				t.Errorf("before anything is due: %+v, %v", e, err)
			}
			s.advance(2 * time.Hour)
			s.decide = only(failsBefore, "delete", "discard") // one entry, or the few behind which the store is down
			if e, err := r.ExpireUploads(ctx, 5); !errors.Is(err, errInjected) || e.Failed+e.Kept+e.Done != 5 || !e.More {
				t.Errorf("while nothing can be dropped: %+v, %v", e, err)
			}
			s.decide = func(*pending) fate { return lives }
			first, err := r.ExpireUploads(ctx, 10)
			if err != nil || first.total() != 10 || !first.More {
				t.Errorf("a portion: %+v, %v", first, err)
			}
			rest, err := r.ExpireUploads(ctx, 100)
			if err != nil || rest.More || first.Kept+rest.Kept > 1 || first.total()+rest.total() < 40 {
				t.Errorf("the rest: %+v, %+v, %v", first, rest, err)
			}
			if _, err := r.DirectStatus(ctx, "r", ids[2]); err != nil {
				t.Errorf("the upload in use: %v", err)
			}
			s.advance(2 * sessionLife)
			if last, err := r.ExpireUploads(ctx, 100); err != nil || last.Ended != 1 || last.Done != first.Ended+rest.Ended+1 { // the second look at each, and the entry that was moved on
				t.Errorf("the last one: %+v, %v", last, err)
			}
			if len(store.w.uploads)+len(store.w.pieces) > 0 {
				t.Errorf("parts are left: %v, %v", store.w.uploads, store.w.pieces)
			}
		})
		s.world.wantNoGarbage(t)
	})
}

// TestExpireMeetsAnother: an upload that another sweep has just made dead is dropped, for
// that one may never come to it.
func TestExpireMeetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
			for _, inParts := range []bool{false, true} {
				content := []byte("content")
				u, _, _ := r.StartDirect(ctx, "r", offer(content, inParts), everywhere)
				if err := sendAll(ctx, r, "r", u, content); err != nil {
					t.Fatal(err)
				}
				s.advance(2 * sessionLife)
				key := objectKey(directKey(u.ID))
				s.decide = func(p *pending) fate {
					if row := store.w.rows[key]; p.what == "write" && row.text(attrState) == string(objectOpen) {
						store.w.rows[key] = stamped(Write{Op: Put, Attrs: encode(r.deadRow(decode[objectRow](row)))}, "another").Attrs
					}
					return lives
				}
				if e, err := r.ExpireUploads(ctx, 100); err != nil || e != (Expired{Done: 1}) {
					t.Errorf("%+v, %v", e, err)
				}
			}
			if len(store.w.uploads) > 0 {
				t.Errorf("parts are left: %v", store.w.uploads)
			}
		})
		s.world.wantNoGarbage(t)
	})
}

// TestClaimMovesTheEnd: a chunk that takes long has the whole life of an upload before it.
func TestClaimMovesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			s.advance(sessionLife - time.Hour)
			if _, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: 0, Length: 1, Body: &sweptReader{s, r}}); err != nil {
				t.Error(err)
			}
		})
	})
}

// sweptReader is a body during which two hours pass, and a sweep.
type sweptReader struct {
	s *sim
	r *Registry
}

func (b *sweptReader) Read(p []byte) (int, error) {
	b.s.advance(2 * time.Hour)
	_, err := b.r.ExpireUploads(context.Background(), 100)
	if err == nil {
		err = io.EOF
	}
	return copy(p, "x"), err
}
