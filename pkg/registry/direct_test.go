package registry

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// alone runs one actor whose calls all succeed, by a clock of its own.
func alone(t *testing.T, s *sim, act func(ctx context.Context, r *Registry, store simBlobs)) {
	t.Helper()
	s.spawn(0, func(ctx context.Context, r *Registry) error {
		store, _ := r.blobs.(simBlobs)
		act(ctx, r, store)
		return nil
	})
	s.run()
}

func wantCode(t *testing.T, what string, err error, code oci.Code) {
	t.Helper()
	if !errors.Is(err, &oci.Error{Code: code}) {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func offer(content []byte, inParts bool) direct.Offer {
	return direct.Offer{Digest: oci.SHA256.FromBytes(content), Size: int64(len(content)), Parts: inParts}
}

func TestDirectPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone(t, newSim(t, 1), func(ctx context.Context, r *Registry, store simBlobs) {
			content := []byte("content")
			o := offer(content, false)
			u, exists, err := r.StartDirect(ctx, "r", o, everywhere)
			if err != nil || exists || u.State != direct.Open || u.Put == nil || u.PartSize != 0 {
				t.Fatalf("start: %+v, %v, %v", u, exists, err)
			}
			_, _, err = r.CompleteDirect(ctx, "r", u.ID)
			wantCode(t, "completion without bytes", err, oci.BlobUploadInvalid)
			_, _, err = r.VerifyDirect(ctx, "r", u.ID)
			wantCode(t, "verification without bytes", err, oci.BlobUploadInvalid)
			if err := store.send(*u.Put, []byte("Content")); !errors.Is(err, errRefused) {
				t.Errorf("a wrong byte: %v", err)
			}
			if again, err := r.DirectStatus(ctx, "r", u.ID); err != nil || again.Put == nil || again.ID != u.ID {
				t.Errorf("status: %+v, %v", again, err)
			}
			if err := store.send(*u.Put, content); err != nil {
				t.Fatal(err)
			}
			_, err = r.FindBlob(ctx, "r", o.Digest, false)
			wantCode(t, "before the completion", err, oci.BlobUnknown)
			_, _, err = r.CompleteDirect(ctx, "other", u.ID)
			wantCode(t, "completion in another repository", err, oci.BlobUploadUnknown)
			for range 2 {
				if _, done, err := r.CompleteDirect(ctx, "r", u.ID); !done || err != nil {
					t.Errorf("completion: %v, %v", done, err)
				}
			}
			_, _, err = r.CompleteDirect(ctx, "other", u.ID)
			wantCode(t, "the same in another repository", err, oci.BlobUploadUnknown)
			if b, err := r.FindBlob(ctx, "r", o.Digest, false); err != nil || b.Size != o.Size {
				t.Errorf("blob: %+v, %v", b, err)
			}
			if _, exists, err := r.StartDirect(ctx, "q", o, everywhere); !exists || err != nil {
				t.Errorf("offered again: %v, %v", exists, err)
			}
			if _, err := r.FindBlob(ctx, "q", o.Digest, false); err != nil {
				t.Errorf("the offer that was there made no link: %v", err)
			}
			_, _, err = r.StartDirect(ctx, "q", direct.Offer{Digest: o.Digest, Size: o.Size + 1}, everywhere)
			wantCode(t, "offer of what is there with a false size", err, oci.SizeInvalid)
		})
	})
}

// TestDirectOffers: an existing blob is found by its links only. A blob that no repository
// has any more is given to none.
func TestDirectOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone(t, newSim(t, 1), func(ctx context.Context, r *Registry, _ simBlobs) {
			content := []byte("content")
			o := offer(content, false)
			if err := r.PushBlob(ctx, "r", o.Digest, o.Size, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			if err := r.DeleteBlob(ctx, "r", o.Digest); err != nil {
				t.Fatal(err)
			}
			if _, exists, err := r.StartDirect(ctx, "q", o, everywhere); exists || err != nil {
				t.Errorf("a blob without links: %v, %v", exists, err)
			}
			for what, bad := range map[string]direct.Offer{
				"below 0":           {Digest: o.Digest, Size: -1},
				"too large":         {Digest: o.Digest, Size: direct.MaxSize + 1},
				"empty, in parts":   {Digest: oci.SHA256.FromBytes(nil), Size: 0, Parts: true},
				"empty, and sha512": {Digest: oci.SHA512.FromBytes(nil)},
			} {
				_, _, err := r.StartDirect(ctx, "q", bad, everywhere)
				wantCode(t, what, err, oci.SizeInvalid)
			}
			_, _, err := r.StartDirect(ctx, "q", direct.Offer{Digest: o.Digest}, everywhere)
			wantCode(t, "empty, by its size only", err, oci.DigestInvalid)
			if u, _, err := r.StartDirect(ctx, "q", direct.Offer{Digest: oci.SHA256.FromBytes([]byte("x")), Size: direct.MaxPut + 1}, everywhere); err != nil || u.PartSize == 0 {
				t.Errorf("above 5 GiB: %+v, %v", u, err)
			}
			if u, _, err := r.StartDirect(ctx, "q", direct.Offer{Digest: oci.SHA512.FromBytes(content), Size: 7}, everywhere); err != nil || u.PartSize == 0 {
				t.Errorf("sha512: %+v, %v", u, err)
			}
		})
	})
}

// parts is content of several parts and windows, the last ones short.
func parts() []byte {
	content := make([]byte, 3*16<<20+5)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content) // it never fails
	return content
}

func TestDirectParts(t *testing.T) {
	content := parts()
	for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		synctest.Test(t, func(t *testing.T) {
			alone(t, newSim(t, 1), func(ctx context.Context, r *Registry, _ simBlobs) {
				r.opts.VerifyFor = -1 // one window in each call
				o := direct.Offer{Digest: algorithm.FromBytes(content), Size: int64(len(content)), Parts: true}
				u, _, err := r.StartDirect(ctx, "r", o, everywhere)
				if err != nil || u.Put != nil || u.PartSize != 16<<20 {
					t.Fatalf("start: %+v, %v", u, err)
				}
				checkRefusedParts(ctx, t, r, u)
				if err := sendAll(ctx, r, "r", direct.Upload{ID: u.ID, Size: 16 << 20, PartSize: 16 << 20}, content[:16<<20]); err != nil {
					t.Fatal(err)
				}
				_, _, err = r.CompleteDirect(ctx, "r", u.ID)
				wantCode(t, "completion without all parts", err, oci.BlobUploadInvalid)
				if now, err := r.DirectStatus(ctx, "r", u.ID); err != nil || len(now.Stored) != 1 || now.Stored[0].Digest != oci.SHA256.FromBytes(content[:16<<20]) {
					t.Errorf("status: %+v, %v", now, err)
				}
				if err := sendAll(ctx, r, "r", u, content); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					now, done, err := r.CompleteDirect(ctx, "r", u.ID)
					if err != nil || done || now.State != direct.Verifying || now.Verified != 0 {
						t.Fatalf("completion: %+v, %v, %v", now, done, err)
					}
				}
				_, err = r.FindBlob(ctx, "r", o.Digest, false)
				wantCode(t, "before the verification", err, oci.BlobUnknown)
				_, err = r.SignParts(ctx, "r", u.ID, nil)
				wantCode(t, "parts after the completion", err, oci.BlobUploadInvalid)
				for i := range 3 {
					now, done, err := r.VerifyDirect(ctx, "r", u.ID)
					if err != nil || done || now.Verified != int64(i+1)*windowSize {
						t.Fatalf("verification: %+v, %v, %v", now, done, err)
					}
				}
				for range 2 {
					if _, done, err := r.VerifyDirect(ctx, "r", u.ID); err != nil || !done {
						t.Fatalf("last verification: %v, %v", done, err)
					}
				}
				if b, err := r.FindBlob(ctx, "r", o.Digest, false); err != nil || b.Size != o.Size {
					t.Errorf("blob: %+v, %v", b, err)
				}
			})
		})
	}
}

func checkRefusedParts(ctx context.Context, t *testing.T, r *Registry, u direct.Upload) {
	t.Helper()
	sum := oci.SHA256.FromBytes(nil)
	for what, bad := range map[string]direct.Part{
		"number 0":           {Number: 0, Size: u.PartSize, Digest: sum},
		"number too high":    {Number: 5, Size: u.PartSize, Digest: sum},
		"too short":          {Number: 1, Size: u.PartSize - 1, Digest: sum},
		"last one too large": {Number: 4, Size: u.PartSize, Digest: sum},
	} {
		_, err := r.SignParts(ctx, "r", u.ID, []direct.Part{bad})
		wantCode(t, what, err, oci.SizeInvalid)
	}
	_, err := r.SignParts(ctx, "r", u.ID, []direct.Part{{Number: 4, Size: 5, Digest: oci.SHA512.FromBytes(nil)}})
	wantCode(t, "part with a sha512", err, oci.DigestInvalid)
}

// TestDirectPartsOfOtherContent: each part has its digest, the whole does not. Nothing
// becomes visible, and nothing stays.
func TestDirectPartsOfOtherContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			d := oci.SHA256.FromBytes([]byte("abc"))
			u, _, err := r.StartDirect(ctx, "r", direct.Offer{Digest: d, Size: 3, Parts: true}, everywhere)
			if err != nil {
				t.Fatal(err)
			}
			if err := sendAll(ctx, r, "r", u, []byte("xyz")); err != nil {
				t.Fatal(err)
			}
			wantCode(t, "other content", finishDirect(ctx, r, "r", u.ID), oci.DigestInvalid)
			wantCode(t, "the same again", finishDirect(ctx, r, "r", u.ID), oci.BlobUploadUnknown)
			_, err = r.FindBlob(ctx, "r", d, false)
			wantCode(t, "the blob", err, oci.BlobUnknown)
		})
		s.world.wantNoGarbage(t)
	})
}

// TestDirectPartsAreGone: a lifecycle rule has dropped them.
func TestDirectPartsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone(t, newSim(t, 1), func(ctx context.Context, r *Registry, store simBlobs) {
			u := sentInParts(ctx, r, []byte("content"))
			clear(store.w.uploads)
			_, err := r.DirectStatus(ctx, "r", u.ID)
			wantCode(t, "status", err, oci.BlobUploadUnknown)
			_, _, err = r.CompleteDirect(ctx, "r", u.ID)
			wantCode(t, "completion", err, oci.BlobUploadUnknown)
		})
	})
}

// TestDirectStoreIsLax: a store that took other bytes than it was told to, or a header
// that makes something else of them, is found out at the completion, and nothing becomes
// visible.
func TestDirectStoreIsLax(t *testing.T) {
	for taken, code := range map[string]oci.Code{
		"Content": oci.DigestInvalid, "content!": oci.SizeInvalid, "content": oci.BlobUploadInvalid, // encoded
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 1)
			alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
				o := offer([]byte("content"), false)
				u, _, _ := r.StartDirect(ctx, "r", o, everywhere)
				key := directKey(u.ID)
				store.w.content[key], store.w.summed[key] = []byte(taken), true
				store.w.encoded[key] = taken == "content"
				_, _, err := r.CompleteDirect(ctx, "r", u.ID)
				wantCode(t, taken, err, code)
				_, err = r.FindBlob(ctx, "r", o.Digest, false)
				wantCode(t, "the blob", err, oci.BlobUnknown)
				_, err = r.DirectStatus(ctx, "r", u.ID)
				wantCode(t, "the upload", err, oci.BlobUploadUnknown)
			})
			s.world.wantNoGarbage(t)
		})
	}
}

// TestDirectVerificationLease: a second call does not repeat the work of the first,
// and one that crashed is taken over.
func TestDirectVerificationLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		var u direct.Upload
		content := []byte("content")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u = sentInParts(ctx, r, content)
			_, _, _ = r.CompleteDirect(ctx, "r", u.ID)
		})
		s.decide = only(crashBefore, "open")
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) { _, _, _ = r.VerifyDirect(ctx, "r", u.ID) })
		s.decide = func(*pending) fate { return lives }
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			if now, done, err := r.VerifyDirect(ctx, "r", u.ID); done || err != nil || now.State != direct.Verifying {
				t.Errorf("beside another call: %+v, %v, %v", now, done, err)
			}
			s.advance(r.verifyLease())
			fates := []fate{losesAnswer, failsBefore, failsBefore} // the claim is written, and never answered
			s.decide = func(p *pending) fate {
				if p.what != "write" || len(fates) == 0 {
					return lives
				}
				f := fates[0]
				fates = fates[1:]
				return f
			}
			if _, _, err := r.VerifyDirect(ctx, "r", u.ID); !errors.Is(err, errInjected) {
				t.Errorf("without an answer: %v", err)
			}
			if _, done, err := r.VerifyDirect(ctx, "r", u.ID); !done || err != nil {
				t.Errorf("after a crash, and a claim that was given back: %v, %v", done, err)
			}
		})
	})
}

// TestDirectIDs: the id of one sort of upload opens none of the other.
func TestDirectIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone(t, newSim(t, 1), func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _, _ := r.StartDirect(ctx, "r", offer([]byte("content"), false), everywhere)
			plain, _ := r.StartUpload(ctx, "r", "")
			_, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: 1, Body: strings.NewReader("x")})
			wantCode(t, "a chunk", err, oci.BlobUploadUnknown)
			wantCode(t, "a cancel", r.CancelUpload(ctx, "r", u.ID), oci.BlobUploadUnknown)
			_, _, err = r.CompleteDirect(ctx, "r", plain.ID)
			wantCode(t, "a completion", err, oci.BlobUploadUnknown)
			if _, err := r.DirectStatus(ctx, "r", u.ID); err != nil {
				t.Errorf("the upload did not survive: %v", err)
			}
		})
	})
}
