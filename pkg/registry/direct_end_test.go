package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// TestDirectStatusMovesTheEnd: the request that a client is given a minute before the
// upload would expire is of use, or leaves nothing behind.
func TestDirectStatusMovesTheEnd(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
				content := []byte("content")
				u, _, _ := r.StartDirect(ctx, "r", offer(content, false), everywhere)
				s.advance(sessionLife - time.Minute)
				now, err := r.DirectStatus(ctx, "r", u.ID)
				if err != nil || now.Put == nil || !now.Expires.After(u.Expires) {
					t.Fatalf("status: %+v, %v", now, err)
				}
				if cancelled {
					_ = r.CancelDirect(ctx, "r", u.ID)
				}
				s.advance(2 * time.Minute)
				if _, err := r.ExpireUploads(ctx, 100); err != nil {
					t.Fatal(err)
				}
				if err := store.send(*now.Put, content); err != nil {
					t.Fatal(err)
				}
				s.advance(sessionLife - 10*time.Minute) // the completion moves it too
				if _, done, err := r.CompleteDirect(ctx, "r", u.ID); done == cancelled || (err == nil) == cancelled {
					t.Errorf("completion: %v, %v", done, err)
				}
				s.advance(3 * sessionLife)
				_, _ = r.ExpireUploads(ctx, 100)
			})
			s.world.wantNoGarbage(t)
		})
	}
}

// TestDirectEndMeetsRenewal: an upload that is ended while its end is moved has ended.
func TestDirectEndMeetsRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
			u, _, _ := r.StartDirect(ctx, "r", offer([]byte("content"), false), everywhere)
			s.advance(sessionLife - time.Minute)
			key := objectKey(directKey(u.ID))
			s.decide = func(p *pending) fate {
				if row := store.w.rows[key]; p.what == "write" {
					store.w.rows[key] = stamped(Write{Op: Put, Attrs: encode(r.deadRow(decode[objectRow](row)))}, "another").Attrs
				}
				return lives
			}
			_, err := r.DirectStatus(ctx, "r", u.ID)
			wantCode(t, "status", err, oci.BlobUploadUnknown)
		})
	})
}

// TestDirectJoinedUnrecorded: a completion that died after the store had made one object
// of the parts. A client that asks what is stored goes on with the verification, and does
// not send everything again.
func TestDirectJoinedUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		var u direct.Upload
		content := []byte("content")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u = sentInParts(ctx, r, content)
		})
		s.decide = only(crashAfter, "complete")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) { _, _, _ = r.CompleteDirect(ctx, "r", u.ID) })
		s.decide = func(*pending) fate { return lives }
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if now, err := r.DirectStatus(ctx, "r", u.ID); err != nil || now.State != direct.Verifying {
				t.Errorf("status: %+v, %v", now, err)
			}
			if _, done, err := r.VerifyDirect(ctx, "r", u.ID); err != nil || !done {
				t.Errorf("verification: %v, %v", done, err)
			}
		})
	})
}

// TestDirectVerificationCounts: what was read counts, also for a client that is gone by
// then.
func TestDirectVerificationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			r.opts.VerifyFor = -1 // one window in each call
			content := parts()
			u := sentInParts(ctx, r, content)
			_, _, _ = r.CompleteDirect(ctx, "r", u.ID)
			gone, leave := context.WithCancel(ctx)
			writes := 0
			s.decide = func(p *pending) fate {
				if p.what == "write" {
					writes++
				}
				if writes == 2 { // the first one is the claim
					leave()
				}
				return lives
			}
			_, _, _ = r.VerifyDirect(gone, "r", u.ID)
			s.decide = func(*pending) fate { return lives }
			if now, err := r.DirectStatus(ctx, "r", u.ID); err != nil || now.Verified != windowSize {
				t.Errorf("verified: %d, %v", now.Verified, err)
			}
		})
	})
}

// TestDirectVerificationFails: a verification whose last write fails does not keep the client's
// repetition waiting for the end of its lease.
func TestDirectVerificationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u := sentInParts(ctx, r, []byte("content"))
			_, _, _ = r.CompleteDirect(ctx, "r", u.ID)
			writes := 0
			s.decide = func(p *pending) fate {
				if p.what == "write" {
					writes++
				}
				if p.what == "write" && writes > 1 && writes <= 1+maxFaults { // the first one is the claim
					return failsBefore
				}
				return lives
			}
			if _, _, err := r.VerifyDirect(ctx, "r", u.ID); err == nil {
				t.Fatal("a commit that fails succeeds")
			}
			if _, done, err := r.VerifyDirect(ctx, "r", u.ID); err != nil || !done {
				t.Errorf("again: %v, %v", done, err)
			}
		})
	})
}

// TestDirectEnds: uploads about to expire, while clients go on with them, complete and
// cancel them, calls fail in every way, and sweeps that crash meet. Requests and
// completions that are under way may take effect after all else. In the end nothing is
// left but blobs.
func TestDirectEnds(t *testing.T) {
	for seed := range seeds(1500) {
		synctest.Test(t, func(t *testing.T) { directEnds(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func directEnds(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	s.world.blind = seed%4 == 0
	content := []byte("content")
	d := oci.SHA256.FromBytes(content)
	left := seed%6 >= 4 // by its client, with all bytes sent
	var u direct.Upload
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
		u, _, _ = r.StartDirect(ctx, "r", offer(content, seed%2 == 0), everywhere)
		if left {
			_ = sendAll(ctx, r, "r", u, content)
		}
		if seed%3 == 0 { // completing it will find the blob there
			_ = r.PushBlob(ctx, "q", d, 7, strings.NewReader("content"))
		}
	})
	s.advance(sessionLife - s.upTo(30*time.Minute))
	s.decide = func(p *pending) fate {
		if p.what == "send" || p.what == "complete" {
			return s.sometimes(10, late, late)
		}
		return s.sometimes(10)
	}
	var results []func() error
	if left {
		s.advance(time.Hour)
	}
	for range 2 {
		s.spawn(s.upTo(time.Minute), repeatedly(s, 4, func(ctx context.Context, r *Registry) error {
			_, err := r.ExpireUploads(ctx, 100)
			return err
		}))
		if left {
			continue
		}
		slow := s.upTo(signedFor)
		results = append(results, s.spawn(s.upTo(time.Minute), repeatedly(s, 3, func(ctx context.Context, r *Registry) error {
			now, err := r.DirectStatus(ctx, "r", u.ID)
			if err != nil {
				return finishDirect(ctx, r, "r", u.ID) // it may be done
			}
			s.advance(slow)
			if err := sendAll(ctx, r, "r", now, content); err != nil {
				return err
			}
			return finishDirect(ctx, r, "r", u.ID)
		})))
	}
	if seed%5 == 0 {
		s.spawn(s.upTo(time.Minute), repeatedly(s, 2, func(ctx context.Context, r *Registry) error { return r.CancelDirect(ctx, "r", u.ID) }))
	}
	s.run()
	for i, result := range results {
		if result() == nil && s.world.rows[linkKey("r", d)] == nil {
			t.Errorf("client %d was told that it is done", i)
		}
	}
	s.settle(t)
	if len(s.world.uploads) > 0 {
		t.Errorf("parts are left: %v", s.world.uploads)
	}
}

// settle lets delayed calls arrive and all uploads expire. Only blobs are left then.
func (s *sim) settle(t *testing.T) {
	t.Helper()
	s.decide = func(*pending) fate { return lives }
	for _, arrives := range s.late {
		_ = arrives()
	}
	s.late = nil
	for range 2 { // the second look is for bytes that come late
		s.advance(3 * sessionLife)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if e, err := r.ExpireUploads(ctx, 1000); err != nil || e.More || e.Kept > 0 {
				t.Errorf("sweep: %+v, %v", e, err)
			}
		})
	}
	s.world.wantNoGarbage(t)
	for key := range s.world.rows {
		if strings.HasPrefix(key.PK, "Q#U") {
			t.Errorf("an upload is still on the list: %v", key)
		}
	}
}

// upTo is a time of at most d, by the scheduler's chance.
func (s *sim) upTo(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

// repeatedly acts several times with some minutes between, and returns the last error.
func repeatedly(s *sim, times int, act func(context.Context, *Registry) error) func(context.Context, *Registry) error {
	pauses := make([]time.Duration, times)
	for i := range pauses {
		pauses[i] = s.upTo(20 * time.Minute)
	}
	return func(ctx context.Context, r *Registry) (err error) {
		for _, pause := range pauses {
			if err = act(ctx, r); errors.Is(err, errCrashed) {
				return err
			}
			s.advance(pause)
		}
		return err
	}
}
