package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// StartDirect opens an upload whose bytes the client sends straight to the store. If a
// repository that readable accepts already has the blob, StartDirect links the repository to it
// instead and returns exists. Errors: DIGEST_INVALID, SIZE_INVALID, ErrNoDirect.
func (r *Registry) StartDirect(
	ctx context.Context, repo string, o direct.Offer, readable func(repo string) bool,
) (u direct.Upload, exists bool, err error) {
	parts := o.Parts || o.Size > direct.MaxPut || o.Digest.Algorithm() != oci.SHA256
	if err := checkOffer(o, parts); err != nil {
		return direct.Upload{}, false, err
	}
	exists, err = r.linkOffered(ctx, repo, o, readable)
	if exists || err != nil {
		return direct.Upload{}, exists, err
	}
	s := directSession{id: r.random(32), directRow: directRow{objectRow: r.openRow(repo), Offered: o.Digest}}
	s.key, s.Size = directKey(s.id), o.Size
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
		return oci.NewError(oci.SizeInvalid, "the size of a blob must be a number of bytes, 0 or more")
	case o.Size > direct.MaxSize:
		return oci.NewError(oci.SizeInvalid, "a blob can have at most %d bytes", int64(direct.MaxSize))
	case o.Size == 0 && o.Digest != o.Digest.Algorithm().FromBytes(nil):
		return upload.CheckDigest(o.Digest.Algorithm().FromBytes(nil), o.Digest) // a presigned URL cannot enforce a length of 0
	case parts && o.Size == 0:
		return oci.NewError(oci.SizeInvalid, "an empty blob has no parts: upload it in one request")
	}
	return nil
}

// directSession is an upload whose bytes go straight to the store.
type directSession struct {
	id, key string
	directRow
}

// directKey returns the content key of a direct upload. It differs from uploadKey, so that the
// id of a direct upload gives no access to a chunked one, or the reverse.
func directKey(id string) string {
	sum := sha256.Sum256([]byte("direct " + id))
	return hex.EncodeToString(sum[:])
}

// stored describes the multipart upload of a session in parts.
func (s directSession) stored() Stored { return Stored{Size: s.Size, State: s.Stored} }

// upload describes the session to the client.
func (s directSession) upload() direct.Upload {
	u := direct.Upload{
		ID: s.id, State: direct.Open, Digest: s.Offered, Size: s.Size, PartSize: s.PartSize,
		Expires: time.UnixMilli(s.Expires).UTC(),
	}
	if s.Complete {
		u.State, u.Verified = direct.Verifying, s.Hashed
	}
	return u
}

// startPut presigns before it writes the session, so that a store without URLs fails before
// any call.
func (r *Registry) startPut(ctx context.Context, s directSession) (direct.Upload, error) {
	put, err := r.blobs.PresignPut(ctx, s.key, s.Offered, s.Size)
	if err != nil {
		return direct.Upload{}, err
	}
	u := s.upload()
	u.Put = &put
	return u, r.meta.Transact(ctx, "", r.openWrites(s.key, encode(s.directRow), s.Expires)...)
}

func (r *Registry) startParts(ctx context.Context, s directSession) (direct.Upload, error) {
	stored, err := r.blobs.StartParts(ctx, s.key)
	if err != nil {
		return direct.Upload{}, err
	}
	s.PartSize, s.Stored = direct.PartSize(s.Size), stored.State
	return s.upload(), r.meta.Transact(ctx, "", r.openWrites(s.key, encode(s.directRow), s.Expires)...)
}

// findDirect reads an open session. It renews the session if less than half of sessionLife is
// left, so that every request that is presigned now expires long before the session does.
func (r *Registry) findDirect(ctx context.Context, repo, id string) (directSession, error) {
	s := directSession{id: id, key: directKey(id)}
	rows, err := r.meta.Get(ctx, objectKey(s.key))
	if err != nil {
		return s, fmt.Errorf("read upload session: %w", err)
	}
	s.directRow = decode[directRow](rows[0].Attrs)
	err = r.checkOpen(s.objectRow, repo)
	if err == nil && s.Expires <= r.now()+sessionLife.Milliseconds()/2 {
		err = r.renewDirect(ctx, &s, repo)
	}
	return s, err
}

// renewDirect extends a session by sessionLife, and adds another expiry for the new time. The
// second expiry is needed even if the client cancels the upload now: a presigned request may
// still store bytes, and ExpireUploads must delete these after the request has expired.
func (r *Registry) renewDirect(ctx context.Context, s *directSession, repo string) error {
	nonce, end := r.nonce(), r.sessionEnd()
	err := r.meta.Transact(ctx, nonce,
		Write{Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Attrs: encode(objectRow{Expires: end})},
		r.expiryWrite(s.key, end))
	if conflict := asConflict(err); conflict != nil { // another request has renewed or ended the session
		s.directRow = decode[directRow](conflict.found(0).Attrs)
		return r.checkOpen(s.objectRow, repo)
	}
	s.Expires, s.Version = end, nonce
	return wrap("renew upload", err)
}

// DirectStatus describes an upload, with a new presigned request for the bytes or with the
// list of stored parts. The error is BLOB_UPLOAD_UNKNOWN if there is no such upload.
func (r *Registry) DirectStatus(ctx context.Context, repo, id string) (direct.Upload, error) {
	s, err := r.findDirect(ctx, repo, id)
	if err != nil {
		return direct.Upload{}, err
	}
	u := s.upload()
	switch {
	case s.Complete:
	case s.PartSize == 0:
		put, err := r.blobs.PresignPut(ctx, s.key, s.Offered, s.Size)
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

// SignParts returns a presigned request for each part. Errors: BLOB_UPLOAD_UNKNOWN;
// BLOB_UPLOAD_INVALID if the upload is not in parts, or is complete; SIZE_INVALID if a part's
// number or size does not fit the upload; DIGEST_INVALID if a part's digest is not a sha256.
func (r *Registry) SignParts(ctx context.Context, repo, id string, parts []direct.Part) ([]direct.SignedPart, error) {
	s, err := r.findDirect(ctx, repo, id)
	if err != nil {
		return nil, err
	}
	switch {
	case s.PartSize == 0:
		return nil, oci.NewError(oci.BlobUploadInvalid, "this upload is one PUT without parts: start a new one with parts")
	case s.Complete:
		return nil, oci.NewError(oci.BlobUploadInvalid, "this upload already has all its parts: request its verification")
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
	count := direct.PartCount(s.Size, s.PartSize)
	if p.Number < 1 || p.Number > count {
		return oci.NewError(oci.SizeInvalid, "there is no part %d: this upload has the parts 1 to %d", p.Number, count)
	}
	if want := direct.SizeOf(p.Number, s.Size, s.PartSize); p.Size != want {
		return oci.NewError(oci.SizeInvalid, "part %d must have %d bytes, not %d", p.Number, want, p.Size)
	}
	if p.Digest.Algorithm() != oci.SHA256 {
		return oci.NewError(oci.DigestInvalid, "the digest of a part must be a sha256")
	}
	return nil
}

// CancelDirect ends an upload and deletes its bytes. The error is BLOB_UPLOAD_UNKNOWN if there
// is no such upload.
func (r *Registry) CancelDirect(ctx context.Context, repo, id string) error {
	key := directKey(id)
	ended, err := r.cancel(ctx, repo, key)
	if err == nil {
		r.cleanUp("cancelled upload", key, r.drop(ctx, key, ended))
	}
	return err
}
