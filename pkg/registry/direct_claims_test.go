package registry

import (
	"bytes"
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// TestDirectVerificationLife: an upload under verification does not expire, and uploads of
// other repositories are not verified.
func TestDirectVerificationLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			r.opts.VerifyFor = -1 // one window in each call
			content := parts()
			u := sentInParts(ctx, r, content)
			s.advance(11 * time.Hour) // nothing moves its end so early but what counts
			_, _, _ = r.CompleteDirect(ctx, "r", u.ID)
			for range 2 {
				s.advance(20 * time.Hour)
				_, _, err := r.VerifyDirect(ctx, "other", u.ID)
				wantCode(t, "in another repository", err, oci.BlobUploadUnknown)
				if now, _, err := r.VerifyDirect(ctx, "r", u.ID); err != nil || now.State != direct.Verifying {
					t.Errorf("%+v, %v", now, err)
				}
			}
			s.advance(25 * time.Hour)
			_, _, err := r.VerifyDirect(ctx, "r", u.ID)
			wantCode(t, "expired", err, oci.BlobUploadUnknown)
		})
	})
}

// TestDirectTakenOver: a call that another one has taken the upload from, when its lease
// had run out or by completing it first, changes nothing.
func TestDirectTakenOver(t *testing.T) {
	complete := func(ctx context.Context, r *Registry, id string) { _, _, _ = r.CompleteDirect(ctx, "r", id) }
	verify := func(ctx context.Context, r *Registry, id string) { _, _, _ = r.VerifyDirect(ctx, "r", id) }
	for name, test := range map[string]struct {
		before, act func(context.Context, *Registry, string)
		at          string // the other call comes before this one's next call of that kind
		fate        fate
	}{
		"a completion":                    {func(context.Context, *Registry, string) {}, complete, "write", lives},
		"a verification that comes on":    {complete, verify, "open", lives},
		"a verification that cannot read": {complete, verify, "open", failsBefore},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 1)
				alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
					r.opts.VerifyFor = -1 // one window in each call
					content := parts()
					u := sentInParts(ctx, r, content)
					test.before(ctx, r, u.ID)
					key := objectKey(directKey(u.ID))
					other := Attrs{attrComplete: int64(1), attrVersion: "another", attrHashed: int64(5), attrLease: r.now() + 1e9}
					s.decide = func(p *pending) fate {
						if p.what != test.at {
							return lives
						}
						if row := store.w.rows[key]; row.text(attrVersion) != "another" {
							store.w.rows[key] = Write{Attrs: other}.Apply(row)
						}
						return test.fate
					}
					test.act(ctx, r, u.ID)
					row := maps.Clone(store.w.rows[key])
					maps.DeleteFunc(row, func(name string, _ any) bool { return other[name] == nil })
					if !maps.Equal(row, other) {
						t.Errorf("the upload of the other call has become %v", row)
					}
				})
			})
		})
	}
}

// TestDirectCheckParts: the sizes that were announced hold, whatever a store took.
func TestDirectCheckParts(t *testing.T) {
	const size = 16 << 20
	s := directSession{directRow: directRow{objectRow: objectRow{Size: int64(2 * size)}, PartSize: int64(size)}}
	part := func(number int, size int64) direct.Part {
		return direct.Part{Number: number, Size: size, Digest: oci.SHA256.FromBytes(nil)}
	}
	one, two := part(1, size), part(2, size)
	if err := s.checkParts([]direct.Part{one, two}); err != nil {
		t.Error(err)
	}
	for what, test := range map[string]struct {
		parts []direct.Part
		code  oci.Code
	}{
		"none":             {nil, oci.BlobUploadInvalid},
		"the first only":   {[]direct.Part{one}, oci.BlobUploadInvalid},
		"a gap":            {[]direct.Part{two, part(3, size)}, oci.BlobUploadInvalid},
		"a short one":      {[]direct.Part{one, part(2, size-1)}, oci.SizeInvalid},
		"one more, of any": {[]direct.Part{one, two, part(3, 0)}, oci.SizeInvalid},
	} {
		wantCode(t, what, s.checkParts(test.parts), test.code)
	}
	wantCode(t, "a request for one more", s.checkPart(part(3, 0)), oci.SizeInvalid)
}

// TestMountMeetsDelete: the blob that a mount or an offer finds goes before it is linked,
// and may come again under another key. Neither what is nobody's nor what a sweep has
// dropped is linked.
func TestMountMeetsDelete(t *testing.T) {
	for name, again := range map[string]bool{"it is nobody's": false, "it came again": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 1)
				content := []byte("content")
				d := oci.SHA256.FromBytes(content)
				alone(t, s, func(ctx context.Context, r *Registry, store simBlobs) {
					_ = r.PushBlob(ctx, "q", d, 7, bytes.NewReader(content))
					s.decide = func(p *pending) fate {
						switch {
						case p.what != "write":
						case again:
							store.w.replace("q", d)
						default:
							delete(store.w.rows, linkKey("q", d))
						}
						return lives
					}
					if mounted, err := r.MountBlob(ctx, "r", d, "q", everywhere); mounted || err != nil {
						t.Errorf("mount: %v, %v", mounted, err)
					}
				})
				if s.world.rows[linkKey("r", d)] != nil {
					t.Error("it is linked")
				}
			})
		})
	}
}

// replace is a sweep that dropped a blob, and a push that brought it again.
func (w *world) replace(repo string, d oci.Digest) {
	old, key := w.rows[blobKey(d)].text(attrKey), "new"
	for _, at := range []Key{blobKey(d), linkKey(repo, d)} {
		w.rows[at] = Write{Attrs: Attrs{attrKey: key, attrVersion: "another"}}.Apply(w.rows[at])
	}
	w.rows[objectKey(key)], w.content[key] = w.rows[objectKey(old)], w.content[old]
	w.rows[objectKey(old)] = encode(objectRow{State: objectDead})
	delete(w.content, old)
}
