package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// CompleteDirect turns the bytes that are in the store into a blob of the repository,
// without reading them: done. Where the store could check no more than the parts, the
// whole must be verified first: then the upload's state is Verifying. Asked again after
// its answer was lost, it answers the same. Errors: BLOB_UPLOAD_UNKNOWN,
// BLOB_UPLOAD_INVALID where bytes are missing, DIGEST_INVALID and SIZE_INVALID where
// they are others than announced.
func (r *Registry) CompleteDirect(ctx context.Context, repo, id string) (u direct.Upload, done bool, err error) {
	s, err := r.findDirect(ctx, repo, id)
	var ended *endedError
	if errors.As(err, &ended) {
		err = r.checkRepeated(ctx, repo, ended)
		return direct.Upload{ID: id, Digest: ended.digest}, err == nil, err
	}
	if err != nil {
		return direct.Upload{}, false, err
	}
	switch {
	case s.complete():
		return s.upload(), false, nil
	case s.partSize() > 0:
		u, err = r.joinParts(ctx, s)
		return u, false, err
	}
	return r.completePut(ctx, s)
}

// completePut goes by the checksum that the store has computed and compared when it
// took the bytes.
func (r *Registry) completePut(ctx context.Context, s directSession) (direct.Upload, bool, error) {
	d, err := r.lookAt(ctx, s)
	if err != nil {
		return direct.Upload{}, false, err
	}
	if d == "" { // the store does not say: the bytes have to
		u, err := r.awaitVerification(ctx, s)
		return u, false, err
	}
	if d != s.digest() {
		r.spoil(ctx, s.key, s.row)
		return direct.Upload{}, false, errDigest(d, s.digest())
	}
	return s.upload(), true, r.commit(ctx, s.commit(s.row.text(attrWrite)))
}

// lookAt asks the store what it has, for its size and, where the store knows it, its
// digest.
func (r *Registry) lookAt(ctx context.Context, s directSession) (oci.Digest, error) {
	size, d, err := r.stat(ctx, s.key, true)
	switch {
	case errors.Is(err, ErrNoContent) && s.partSize() > 0: // by a lifecycle rule, after days
		return "", oci.NewError(oci.BlobUploadUnknown, "the parts of this upload are gone: start a new one")
	case errors.Is(err, ErrNoContent):
		return "", oci.NewError(oci.BlobUploadInvalid, "the store has no bytes of this upload yet: send them, then complete it")
	case errors.Is(err, ErrEncoded):
		r.spoil(ctx, s.key, s.row)
		return "", oci.NewError(oci.BlobUploadInvalid, "the bytes were sent with a Content-Encoding: start a new upload, and send the headers of its request only")
	case err != nil:
		return "", fmt.Errorf("look at uploaded content: %w", err)
	case size != s.size():
		r.spoil(ctx, s.key, s.row)
		return "", oci.NewError(oci.SizeInvalid, "the blob has %d bytes, %d were announced", size, s.size())
	}
	return d, nil
}

// commit is the blob that a session becomes, if its row is still as it was after the
// write of a nonce.
func (s directSession) commit(nonce string) commit {
	return commit{
		repo: s.row.text(attrRepo), digest: s.digest(), size: s.size(), key: s.key, rowIf: Equal(attrWrite, nonce),
	}
}

// joinParts makes one object of the parts.
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
	return r.awaitVerification(ctx, s)
}

// joined is an upload whose parts are no more: an earlier completion made one object of
// them, and was not recorded, or they were dropped.
func (r *Registry) joined(ctx context.Context, s directSession) (direct.Upload, error) {
	if _, err := r.lookAt(ctx, s); err != nil {
		return direct.Upload{}, err
	}
	return r.awaitVerification(ctx, s)
}

// checkParts names the first part that is missing. Sizes were signed; they are
// compared all the same, for a store may be lax.
func (s directSession) checkParts(parts []direct.Part) error {
	count := direct.PartCount(s.size(), s.partSize())
	for i := range count {
		number := i + 1
		if i >= len(parts) || parts[i].Number != number {
			return oci.NewError(oci.BlobUploadInvalid, "part %d is missing: the upload has %d of %d parts", number, len(parts), count)
		}
		if want := direct.SizeOf(number, s.size(), s.partSize()); parts[i].Size != want {
			return oci.NewError(oci.SizeInvalid, "part %d has %d bytes, not %d: send it again", number, parts[i].Size, want)
		}
	}
	if len(parts) > count {
		return oci.NewError(oci.SizeInvalid, "the upload has %d parts, %d were announced", len(parts), count)
	}
	return nil
}
