package registry

import (
	"context"
	"crypto/sha512"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

func sha512Of(content string) oci.Digest {
	return oci.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(content))))
}

// sentFirst is an upload of which the first bytes are stored, and no sha512 was announced.
func sentFirst(ctx context.Context, r *Registry, first string) (Upload, error) {
	u, err := r.StartUpload(ctx, "r", "")
	if err != nil {
		return u, err
	}
	return r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: 0, Length: int64(len(first)), Body: strings.NewReader(first)})
}

// finishWith is the last request of an upload, with the last bytes of it.
func finishWith(ctx context.Context, r *Registry, u Upload, d oci.Digest, size int64, last string) error {
	return r.CompleteUpload(ctx, "r", u.ID, Finish{Digest: d, Size: size, Chunk: Chunk{
		Offset: -1, Length: int64(len(last)), Body: strings.NewReader(last),
	}})
}

// TestSurprisingDigest: a sha512 that was not announced at the start can be compared only
// once the content is in place. Even so, a refusal leaves the upload as it was.
func TestSurprisingDigest(t *testing.T) {
	for _, last := range []string{"", "cd"} {
		whole := "ab" + last
		right := sha512Of(whole)
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				u, err := sentFirst(ctx, r, "ab")
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					wantCode(t, "wrong digest", finishWith(ctx, r, u, sha512Of("other"), -1, last), oci.DigestInvalid)
					if now, err := r.UploadStatus(ctx, "r", u.ID); err != nil || now.Offset != 2 {
						t.Errorf("status: %+v, %v", now, err)
					}
				}
				_, err = r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: 2, Length: 1, Body: strings.NewReader("x")})
				wantCode(t, "one more chunk", err, oci.BlobUploadInvalid)
				wantCode(t, "wrong size", finishWith(ctx, r, u, right, 9, last), oci.SizeInvalid)
				wantCode(t, "other last bytes", finishWith(ctx, r, u, right, -1, "xx"), oci.BlobUploadInvalid)
				wantCode(t, "more last bytes", finishWith(ctx, r, u, right, -1, last+"x"), oci.BlobUploadInvalid)
				if err := finishWith(ctx, r, u, right, int64(len(whole)), last); err != nil {
					t.Fatalf("right digest: %v", err)
				}
				if b, err := r.FindBlob(ctx, "r", right, false); err != nil || b.Size != int64(len(whole)) {
					t.Errorf("blob: %+v, %v", b, err)
				}
			})
			s.settle(t)
		})
	}
}

// TestSurprisingDigestEnds: a client that gives up leaves nothing.
func TestSurprisingDigestEnds(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
				u, _ := sentFirst(ctx, r, "ab")
				wantCode(t, "wrong digest", finishWith(ctx, r, u, sha512Of("other"), -1, ""), oci.DigestInvalid)
				if !cancelled {
					return
				}
				if err := r.CancelUpload(ctx, "r", u.ID); err != nil {
					t.Error(err)
				}
				s.world.wantNoGarbage(t) // at once
			})
			s.settle(t)
		})
	}
}

// TestSurprisingDigestMeetsOthers: bytes of another request are never kept as this one's, and
// an upload that another request has taken over is left to that one.
func TestSurprisingDigestMeetsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		var u Upload
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) { u, _ = sentFirst(ctx, r, "ab") })
		s.decide = only(crashAfter, "complete")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			_ = finishWith(ctx, r, u, sha512Of("abxx"), -1, "xx")
		})
		s.decide = func(*pending) fate { return lives }
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			wantCode(t, "after other bytes", finishWith(ctx, r, u, sha512Of("abcd"), -1, "cd"), oci.BlobUploadInvalid)
		})
		s.settle(t)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
			u, _ := sentFirst(ctx, r, "ab")
			key := objectKey(uploadKey(u.ID))
			s.decide = func(p *pending) fate {
				if p.what == "open" {
					row := store.w.rows[key]
					store.w.rows[key] = stamped(Write{Op: Set, Attrs: row}, "another").Attrs
				}
				return lives
			}
			wantCode(t, "wrong digest", finishWith(ctx, r, u, sha512Of("other"), -1, ""), oci.DigestInvalid)
			if row := store.w.rows[key]; row.text(attrVersion) != "another" {
				t.Errorf("the upload was taken back: %v", row)
			}
		})
	})
}

// TestFightOverASurprisingDigest: several requests with right and wrong digests, and others
// that bring other bytes, on one upload, while calls fail in every way.
func TestFightOverASurprisingDigest(t *testing.T) {
	for seed := range seeds(1000) {
		synctest.Test(t, func(t *testing.T) { surprisingFight(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func surprisingFight(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	var u Upload
	alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) { u, _ = sentFirst(ctx, r, "ab") })
	failing, fighting := seed%2 == 0, seed%3 == 0
	last := []string{"", "cd"}[seed/2%2]
	right := sha512Of("ab" + last)
	s.decide = func(*pending) fate {
		if !failing {
			return lives
		}
		return s.sometimes(12)
	}
	try := func(d oci.Digest, last string) func() error {
		return s.spawn(0, func(ctx context.Context, r *Registry) (err error) {
			for range 3 {
				if err = finishWith(ctx, r, u, d, -1, last); err == nil {
					return nil
				}
			}
			return err
		})
	}
	results := []func() error{try(sha512Of("other"), last), try(right, last), try(sha512Of("wrong"), last)}
	if fighting {
		try(sha512Of("abxx"), "xx")
	}
	s.run()
	s.decide = func(*pending) fate { return lives }
	again := try(right, last)
	s.run()
	for i, result := range []func() error{results[1], again} {
		if result() == nil && !s.world.readable(s.world.rows[linkKey("r", right)], right) {
			t.Errorf("request %d was told that it is done", i)
		}
	}
	if results[0]() == nil || results[2]() == nil {
		t.Error("a wrong digest was accepted")
	}
	if !failing && !fighting && again() != nil {
		t.Errorf("the upload did not survive: %v", again())
	}
	s.settle(t)
}
