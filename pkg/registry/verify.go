package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

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
	if got, _ := hs.digest(s.digest().Algorithm()); got != s.digest() {
		r.spoil(ctx, s.key, s.row)
		return direct.Upload{}, false, errDigest(got, s.digest())
	}
	return s.upload(), true, r.commit(ctx, s.commit(nonce))
}

// awaitVerification records that all bytes are in place.
func (r *Registry) awaitVerification(ctx context.Context, s directSession) (direct.Upload, error) {
	attrs := Attrs{attrComplete: int64(1), attrOffset: int64(0), attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := newHashes(s.digest().Algorithm()).save(attrs); err != nil {
		return direct.Upload{}, err
	}
	for range maxContended {
		row, err := r.meta.Update(ctx, Write{
			Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, s.row.text(attrWrite)), Attrs: attrs,
		})
		conflict := asConflict(err)
		if conflict == nil {
			s.row = row.Attrs
			return s.upload(), wrap("record completion", err)
		}
		// A twin of this request did it, a request for parts renewed the upload, or it
		// was ended.
		s.row = conflict.found(0).Attrs
		if err := r.checkDirect(s, s.row.text(attrRepo)); err != nil {
			return direct.Upload{}, err
		}
		if s.complete() {
			return s.upload(), nil
		}
	}
	return direct.Upload{}, fmt.Errorf("record completion: %w", ErrContended)
}

// claimVerification reads the session and, unless another call is at it, makes it this
// call's: nonce is empty where there is nothing to do.
func (r *Registry) claimVerification(ctx context.Context, s *directSession, repo string) (nonce string, err error) {
	nonce = r.nonce()
	// Only an open and complete upload has a lease, 0 where nobody has it.
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set,
		If: All(Equal(attrState, stateOpen), Equal(attrRepo, repo), Equal(attrComplete, int64(1)),
			Greater(attrExpires, r.now()), Less(attrLease, r.now())),
		Attrs: Attrs{attrWrite: nonce, attrLease: r.now() + r.verifyLease().Milliseconds()},
	})
	conflict := asConflict(err)
	if conflict == nil {
		if err != nil { // a client that went: the claim may have been written
			r.releaseVerification(ctx, *s, nonce)
		}
		s.row = row.Attrs
		return nonce, wrap("claim verification", err)
	}
	s.row = conflict.found(0).Attrs
	if err := r.checkDirect(*s, repo); err != nil {
		return "", err
	}
	if !s.complete() {
		return "", oci.NewError(oci.BlobUploadInvalid, "this upload is not complete: there is nothing to verify yet")
	}
	return "", nil
}

func (r *Registry) recordVerification(ctx context.Context, s directSession, nonce string, offset int64, hs hashes) (direct.Upload, error) {
	attrs := Attrs{attrOffset: offset, attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := hs.save(attrs); err != nil {
		return direct.Upload{}, err
	}
	row, err := r.meta.Update(ctx, Write{Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, nonce), Attrs: attrs})
	if conflict := asConflict(err); conflict != nil {
		return direct.Upload{}, r.lostClaim(conflict, s.row.text(attrRepo))
	}
	s.row = row.Attrs
	return s.upload(), wrap("record verification", err)
}

// releaseVerification lets the next call begin at once, after one that failed.
func (r *Registry) releaseVerification(ctx context.Context, s directSession, nonce string) {
	_, err := r.meta.Update(context.WithoutCancel(ctx), Write{
		Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, nonce), Attrs: Attrs{attrLease: int64(0)},
	})
	if asConflict(err) == nil { // else it is another call's by now, or was never this one's
		r.cleanUp("lease of a verification", s.key, err)
	}
}

// verifyLease keeps a second verification from doing the same work. It is longer than
// one takes; what crashed is taken over after it.
func (r *Registry) verifyLease() time.Duration { return max(r.opts.VerifyFor, 0) + 5*time.Second }
