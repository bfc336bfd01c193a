package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
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
	if err := upload.CheckDigest(d, s.digest()); err != nil {
		r.spoil(ctx, s.key, s.row)
		return direct.Upload{}, false, err
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
	}
	if err := upload.CheckSize(size, s.size()); err != nil {
		r.spoil(ctx, s.key, s.row)
		return "", err
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
	err := r.uncontended(ctx, func() error {
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

// awaitVerification records that all bytes are in place.
func (r *Registry) awaitVerification(ctx context.Context, s directSession) (direct.Upload, error) {
	attrs := Attrs{attrComplete: int64(1), attrOffset: int64(0), attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := saveHashes(upload.NewHashes(s.digest().Algorithm()), attrs); err != nil {
		return direct.Upload{}, err
	}
	for range maxContended {
		row, err := r.update(ctx, Write{
			Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, s.row.text(attrWrite)), Attrs: attrs,
		})
		var conflict *Conflict
		if !errors.As(err, &conflict) {
			s.row = row.Attrs
			return s.upload(), wrap("record completion", err)
		}
		// A twin of this request did it, a request for parts renewed the upload, or it
		// was ended.
		s.row = conflict.old(0).Attrs
		if err := r.checkDirect(s, s.row.text(attrRepo)); err != nil {
			return direct.Upload{}, err
		}
		if s.complete() {
			return s.upload(), nil
		}
	}
	return direct.Upload{}, fmt.Errorf("record completion: %w", ErrContended)
}

// verifyLease keeps a second verification from doing the same work. It is longer than
// one takes; what crashed is taken over after it.
func (r *Registry) verifyLease() time.Duration { return max(r.opts.VerifyFor, 0) + 5*time.Second }

// VerifyDirect reads the bytes of an upload back for Options.VerifyFor, and remembers
// how far it came; once all were read and have the announced digest they become a
// blob: done. While another call is at it, it only says how far that one came. Errors:
// BLOB_UPLOAD_UNKNOWN, BLOB_UPLOAD_INVALID where there is nothing to verify yet,
// DIGEST_INVALID after which the upload has ended.
func (r *Registry) VerifyDirect(ctx context.Context, repo, id string) (u direct.Upload, done bool, err error) {
	s := directSession{id: id, key: directKey(id)}
	nonce, err := r.claimVerification(ctx, &s, repo)
	var ended *endedError
	if errors.As(err, &ended) {
		err = r.checkRepeated(ctx, repo, ended)
		return direct.Upload{ID: id, Digest: ended.digest}, err == nil, err
	}
	if nonce == "" || err != nil {
		return s.upload(), false, err
	}
	hs, err := loadHashes(s.row)
	if err != nil {
		return direct.Upload{}, false, err
	}
	n, err := r.readBack(ctx, s.key, s.row.number(attrOffset), s.size(), hs)
	if err != nil {
		r.releaseVerification(ctx, s, nonce)
		return direct.Upload{}, false, err
	}
	if offset := s.row.number(attrOffset) + n; offset < s.size() {
		// Also for a client that went: one that never waits so long would never get on.
		u, err = r.recordVerification(context.WithoutCancel(ctx), s, nonce, offset, hs)
		return u, false, err
	}
	got, _ := hs.Digest(s.digest().Algorithm())
	if err := upload.CheckDigest(got, s.digest()); err != nil {
		r.spoil(ctx, s.key, s.row)
		return direct.Upload{}, false, err
	}
	return s.upload(), true, r.commit(ctx, s.commit(nonce))
}

// claimVerification reads the session and, unless another call is at it, makes it this
// call's: nonce is empty where there is nothing to do.
func (r *Registry) claimVerification(ctx context.Context, s *directSession, repo string) (nonce string, err error) {
	nonce = r.nonce()
	// Only an open and complete upload has a lease, 0 where nobody has it.
	row, err := r.updateAs(ctx, nonce, Write{
		Key: objectKey(s.key), Op: Set,
		If: All(Equal(attrState, stateOpen), Equal(attrRepo, repo), Equal(attrComplete, int64(1)),
			Greater(attrExpires, r.now()), Less(attrLease, r.now())),
		Attrs: Attrs{attrLease: r.now() + r.verifyLease().Milliseconds()},
	})
	var conflict *Conflict
	if !errors.As(err, &conflict) {
		if err != nil { // a client that went: the claim may have been written
			r.releaseVerification(ctx, *s, nonce)
		}
		s.row = row.Attrs
		return nonce, wrap("claim verification", err)
	}
	s.row = conflict.old(0).Attrs
	if err := r.checkDirect(*s, repo); err != nil {
		return "", err
	}
	if !s.complete() {
		return "", oci.NewError(oci.BlobUploadInvalid, "this upload is not complete: there is nothing to verify yet")
	}
	return "", nil
}

// releaseVerification lets the next call begin at once, after one that failed.
func (r *Registry) releaseVerification(ctx context.Context, s directSession, nonce string) {
	_, err := r.update(context.WithoutCancel(ctx), Write{
		Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, nonce), Attrs: Attrs{attrLease: int64(0)},
	})
	var conflict *Conflict
	if !errors.As(err, &conflict) { // else it is another call's by now, or was never this one's
		r.cleanUp("lease of a verification", s.key, err)
	}
}

func (r *Registry) recordVerification(ctx context.Context, s directSession, nonce string, offset int64, hs upload.Hashes) (direct.Upload, error) {
	attrs := Attrs{attrOffset: offset, attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := saveHashes(hs, attrs); err != nil {
		return direct.Upload{}, err
	}
	row, err := r.update(ctx, Write{Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, nonce), Attrs: attrs})
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return direct.Upload{}, r.lostClaim(conflict, s.row.text(attrRepo))
	}
	s.row = row.Attrs
	return s.upload(), wrap("record verification", err)
}
