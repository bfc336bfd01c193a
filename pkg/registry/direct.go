package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// StartDirect opens an upload whose bytes go straight to the store, unless a blob that
// the caller may have is there already: then the repository is given a link to it, and
// exists is true. Errors: DIGEST_INVALID, SIZE_INVALID, ErrNoDirect.
func (r *Registry) StartDirect(ctx context.Context, repo string, o direct.Offer) (u direct.Upload, exists bool, err error) {
	parts := o.Parts || o.Size > direct.MaxPut || o.Digest.Algorithm() != oci.SHA256
	if err := checkOffer(o, parts); err != nil {
		return direct.Upload{}, false, err
	}
	exists, err = r.linkOffered(ctx, repo, o)
	if exists || err != nil {
		return direct.Upload{}, exists, err
	}
	s := directSession{id: r.random(32), row: r.openRow(repo)}
	s.key = directKey(s.id)
	s.row[attrOffered], s.row[attrSize] = string(o.Digest), o.Size
	if parts {
		u, err = r.startParts(ctx, s)
	} else {
		u, err = r.startPut(ctx, s)
	}
	return u, false, wrap("start direct upload", err)
}

func checkOffer(o direct.Offer, parts bool) error {
	switch {
	case o.Size < 0:
		return oci.NewError(oci.SizeInvalid, "the size of a blob is a number of bytes, not below 0")
	case o.Size > direct.MaxSize:
		return oci.NewError(oci.SizeInvalid, "a blob can have at most %d bytes", int64(direct.MaxSize))
	case o.Size == 0 && o.Digest != o.Digest.Algorithm().FromBytes(nil):
		return upload.CheckDigest(o.Digest.Algorithm().FromBytes(nil), o.Digest) // a store cannot sign a length of 0
	case parts && o.Size == 0:
		return oci.NewError(oci.SizeInvalid, "an empty blob has no parts: upload it in one request")
	}
	return nil
}

// linkOffered gives the repository a blob that another one has. That whoever has no
// more than a digest learns of content, or gets at it, is what a mount is for: the
// same rules hold.
func (r *Registry) linkOffered(ctx context.Context, repo string, o direct.Offer) (linked bool, err error) {
	source, err := r.mountSource(ctx, o.Digest, "")
	if err != nil || source.Attrs == nil {
		return false, err
	}
	if size := source.Attrs.number(attrSize); size != o.Size {
		return false, oci.NewError(oci.SizeInvalid, "the blob %s has %d bytes, not %d", o.Digest, size, o.Size)
	}
	// As with a mount; the stores that take direct uploads tell the sum for free.
	if sound, err := r.sound(ctx, source.Attrs.text(attrKey), o.Digest, o.Size); !sound || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, o.Digest, source)
}

// directSession is an upload whose bytes go past the registry.
type directSession struct {
	id, key string
	row     Attrs
}

// directKey is unlike uploadKey, so that the id of such an upload opens no other one.
func directKey(id string) string {
	sum := sha256.Sum256([]byte("direct " + id))
	return hex.EncodeToString(sum[:])
}

func (s directSession) digest() oci.Digest { return s.row.digest(attrOffered) }

func (s directSession) size() int64 { return s.row.number(attrSize) }

// partSize is 0 where the bytes come in one piece.
func (s directSession) partSize() int64 { return s.row.number(attrPartSize) }

// complete says that all bytes are in place, and only their digest is unproven.
func (s directSession) complete() bool { return s.row.number(attrComplete) == 1 }

func (s directSession) stored() Stored {
	return Stored{Size: s.size(), State: s.row.bytes(attrStored)}
}

// upload is what the client is told.
func (s directSession) upload() direct.Upload {
	u := direct.Upload{
		ID: s.id, State: direct.Open, Digest: s.digest(), Size: s.size(), PartSize: s.partSize(),
		Expires: time.UnixMilli(s.row.number(attrExpires)).UTC(),
	}
	if s.complete() {
		u.State, u.Verified = direct.Verifying, s.row.number(attrOffset)
	}
	return u
}

// startPut signs before it writes: a store without URLs is found out for free.
func (r *Registry) startPut(ctx context.Context, s directSession) (direct.Upload, error) {
	put, err := r.blobs.PresignPut(ctx, s.key, s.digest(), s.size())
	if err != nil {
		return direct.Upload{}, err
	}
	u := s.upload()
	u.Put = &put
	return u, r.transact(ctx, r.opening(s.key, s.row)...)
}

func (r *Registry) startParts(ctx context.Context, s directSession) (direct.Upload, error) {
	stored, err := r.blobs.StartParts(ctx, s.key)
	if err != nil {
		return direct.Upload{}, err
	}
	s.row[attrPartSize] = direct.PartSize(s.size())
	s.row[attrStored] = stored.State
	return s.upload(), r.transact(ctx, r.opening(s.key, s.row)...)
}

// findDirect reads a session that is open. It moves its end where that is near: what
// is signed, or begun in the store, for the caller is over long before a sweep looks.
func (r *Registry) findDirect(ctx context.Context, repo, id string) (directSession, error) {
	s := directSession{id: id, key: directKey(id)}
	rows, err := r.get(ctx, objectKey(s.key))
	if err != nil {
		return s, fmt.Errorf("read upload session: %w", err)
	}
	s.row = rows[0].Attrs
	err = r.checkDirect(s, repo)
	if err == nil && s.row.number(attrExpires) <= r.now()+sessionLife.Milliseconds()/2 {
		err = r.renewDirect(ctx, &s, repo)
	}
	return s, err
}

// renewDirect moves the end of an upload that takes long. The list of uploads gets an
// entry for it too: one that is cancelled now must still be on it when the requests that
// were signed for it have expired.
func (r *Registry) renewDirect(ctx context.Context, s *directSession, repo string) error {
	nonce, end := r.nonce(), r.sessionEnd()
	err := r.transactAs(ctx, nonce,
		Write{Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, s.row.text(attrWrite)), Attrs: Attrs{attrExpires: end}},
		r.sessionReview(s.key, end))
	var conflict *Conflict
	if errors.As(err, &conflict) { // another request moved it on, or ended it
		s.row = conflict.old(0).Attrs
		return r.checkDirect(*s, repo)
	}
	s.row = maps.Clone(s.row)
	s.row[attrExpires], s.row[attrWrite] = end, nonce
	return wrap("renew upload", err)
}

// checkDirect says why a session cannot be used. One that ended as a blob is an
// *endedError.
func (r *Registry) checkDirect(s directSession, repo string) error {
	err := r.checkOpen(s.row, repo)
	if done := s.row.digest(attrDigest); err != nil && done != "" && s.row.text(attrRepo) == repo {
		return &endedError{digest: done, error: err}
	}
	return err
}

// DirectStatus says where an upload stands, with a fresh request for the bytes, or the
// parts that are stored. The error is BLOB_UPLOAD_UNKNOWN.
func (r *Registry) DirectStatus(ctx context.Context, repo, id string) (direct.Upload, error) {
	s, err := r.findDirect(ctx, repo, id)
	if err != nil {
		return direct.Upload{}, err
	}
	u := s.upload()
	switch {
	case s.complete():
	case s.partSize() == 0:
		put, err := r.blobs.PresignPut(ctx, s.key, s.digest(), s.size())
		if err != nil {
			return direct.Upload{}, fmt.Errorf("presign: %w", err)
		}
		u.Put = &put
	default:
		u.Stored, err = r.blobs.ListParts(ctx, s.key, s.stored())
		if errors.Is(err, ErrNoContent) {
			return r.joined(ctx, s)
		}
		return u, wrap("list parts", err)
	}
	return u, nil
}

// SignParts returns a request for each part. Errors: BLOB_UPLOAD_UNKNOWN, SIZE_INVALID
// for a part that is none of this upload's, DIGEST_INVALID, BLOB_UPLOAD_INVALID where
// the upload takes no parts (any more).
func (r *Registry) SignParts(ctx context.Context, repo, id string, parts []direct.Part) ([]direct.SignedPart, error) {
	s, err := r.findDirect(ctx, repo, id)
	if err != nil {
		return nil, err
	}
	switch {
	case s.partSize() == 0:
		return nil, oci.NewError(oci.BlobUploadInvalid, "this upload comes in one request: offer the blob again, with parts")
	case s.complete():
		return nil, oci.NewError(oci.BlobUploadInvalid, "this upload has all its parts: ask for its verification")
	}
	signed := make([]direct.SignedPart, len(parts))
	for i, p := range parts {
		if err := s.checkPart(p); err != nil {
			return nil, err
		}
		request, err := r.blobs.PresignPart(ctx, s.key, s.stored(), p)
		if err != nil {
			return nil, fmt.Errorf("presign part: %w", err)
		}
		signed[i] = direct.SignedPart{Number: p.Number, Request: request}
	}
	return signed, nil
}

func (s directSession) checkPart(p direct.Part) error {
	count := direct.PartCount(s.size(), s.partSize())
	if p.Number < 1 || p.Number > count {
		return oci.NewError(oci.SizeInvalid, "there is no part %d: this upload has the parts 1 to %d", p.Number, count)
	}
	if want := direct.SizeOf(p.Number, s.size(), s.partSize()); p.Size != want {
		return oci.NewError(oci.SizeInvalid, "part %d has %d bytes, not %d", p.Number, want, p.Size)
	}
	if p.Digest.Algorithm() != oci.SHA256 {
		return oci.NewError(oci.DigestInvalid, "the digest of a part is a sha256")
	}
	return nil
}

// CancelDirect ends an upload and drops its bytes. The error is BLOB_UPLOAD_UNKNOWN.
func (r *Registry) CancelDirect(ctx context.Context, repo, id string) error {
	key := directKey(id)
	ended, err := r.cancel(ctx, repo, key)
	if err == nil {
		r.cleanUp("cancelled upload", key, r.drop(ctx, key, ended))
	}
	return err
}
