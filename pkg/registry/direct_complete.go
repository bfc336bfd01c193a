package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// CompleteDirect turns the bytes in the store into a blob of the repository without reading
// them, and returns done. If the store knows only the checksums of the parts, or none, done
// is false and the state of the upload becomes Verifying: VerifyDirect must read the bytes.
// A repeated call returns the same result. Errors: BLOB_UPLOAD_UNKNOWN, BLOB_UPLOAD_INVALID
// if bytes are missing, DIGEST_INVALID and SIZE_INVALID if the bytes differ from the offer.
func (r *Registry) CompleteDirect(ctx context.Context, repo, id string) (u direct.Upload, done bool, err error) {
	s, err := r.findDirect(ctx, repo, id)
	if ended, found := errors.AsType[*endedError](err); found {
		err = r.checkRepeated(ctx, repo, ended)
		return direct.Upload{ID: id, Digest: ended.digest}, err == nil, err
	}
	if err != nil {
		return direct.Upload{}, false, err
	}
	switch {
	case s.Complete:
		return s.upload(), false, nil
	case s.PartSize > 0:
		u, err = r.joinParts(ctx, s)
		return u, false, err
	}
	return r.completePut(ctx, s)
}

// completePut relies on the checksum that the store computed when it received the bytes.
func (r *Registry) completePut(ctx context.Context, s directSession) (direct.Upload, bool, error) {
	d, err := r.statUpload(ctx, s)
	if err != nil {
		return direct.Upload{}, false, err
	}
	if d == "" { // the store has no checksum: VerifyDirect must read the bytes
		u, err := r.recordComplete(ctx, s)
		return u, false, err
	}
	if err := upload.CheckDigest(d, s.Offered); err != nil {
		r.rejectContent(ctx, s.key, s.objectRow)
		return direct.Upload{}, false, err
	}
	return s.upload(), true, r.commit(ctx, s.blob())
}

// statUpload checks the size of the content in the store and returns its digest, or "" if the
// store does not know it. Unusable content ends the upload.
func (r *Registry) statUpload(ctx context.Context, s directSession) (oci.Digest, error) {
	size, d, err := r.stat(ctx, s.key, true)
	switch {
	case errors.Is(err, ErrNoContent) && s.PartSize > 0: // a lifecycle rule has removed the parts, after days
		return "", oci.NewError(oci.BlobUploadUnknown, "the store no longer has the parts of this upload: start a new one")
	case errors.Is(err, ErrNoContent):
		return "", oci.NewError(oci.BlobUploadInvalid, "the store has no bytes of this upload yet: send them, then complete it")
	case errors.Is(err, ErrEncoded):
		r.rejectContent(ctx, s.key, s.objectRow)
		return "", oci.NewError(oci.BlobUploadInvalid, "the bytes were sent with a Content-Encoding: start a new upload, and send the headers of its request only")
	case err != nil:
		return "", fmt.Errorf("look at uploaded content: %w", err)
	}
	if err := upload.CheckSize(size, s.Size); err != nil {
		r.rejectContent(ctx, s.key, s.objectRow)
		return "", err
	}
	return d, nil
}

// blob returns the blob that the session becomes, if its row still has the same version.
func (s directSession) blob() newBlob {
	return newBlob{repo: s.Repo, digest: s.Offered, size: s.Size, key: s.key, version: s.Version}
}

// joinParts joins the parts to one object.
func (r *Registry) joinParts(ctx context.Context, s directSession) (direct.Upload, error) {
	var refused error
	err := r.retryContended(ctx, func() error {
		return r.blobs.CompleteParts(ctx, s.key, s.stored(), func(parts []direct.Part) error {
			refused = s.checkParts(parts)
			return refused
		})
	})
	switch {
	case refused != nil:
		return direct.Upload{}, refused
	case errors.Is(err, ErrTaken):
		return r.joined(ctx, s)
	case err != nil:
		return direct.Upload{}, fmt.Errorf("complete parts: %w", err)
	}
	return r.recordComplete(ctx, s)
}

// joined handles an upload whose parts no longer exist. Either an earlier CompleteParts joined
// them but was not recorded in the session, or a lifecycle rule removed them.
func (r *Registry) joined(ctx context.Context, s directSession) (direct.Upload, error) {
	if _, err := r.statUpload(ctx, s); err != nil {
		return direct.Upload{}, err
	}
	return r.recordComplete(ctx, s)
}

// checkParts rejects missing parts and parts of the wrong size. The presigned requests had
// the size, but a store may not enforce it.
func (s directSession) checkParts(parts []direct.Part) error {
	count := direct.PartCount(s.Size, s.PartSize)
	for i := range count {
		number := i + 1
		if i >= len(parts) || parts[i].Number != number {
			return oci.NewError(oci.BlobUploadInvalid, "part %d is missing: the upload has %d of %d parts", number, len(parts), count)
		}
		if want := direct.SizeOf(number, s.Size, s.PartSize); parts[i].Size != want {
			return oci.NewError(oci.SizeInvalid, "part %d has %d bytes, but must have %d: send it again", number, parts[i].Size, want)
		}
	}
	if len(parts) > count {
		return oci.NewError(oci.SizeInvalid, "the upload has %d parts, but only %d were announced", len(parts), count)
	}
	return nil
}
