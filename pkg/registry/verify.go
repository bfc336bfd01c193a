package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// VerifyDirect reads and hashes the bytes of an upload for Options.VerifyFor and saves its
// progress. The call that reads the last bytes compares the digest, makes the bytes a blob and
// returns done. While another call verifies the upload, VerifyDirect only reports the recorded
// progress. Errors: BLOB_UPLOAD_UNKNOWN, BLOB_UPLOAD_INVALID if the upload is not complete yet,
// DIGEST_INVALID, which ends the upload.
func (r *Registry) VerifyDirect(ctx context.Context, repo, id string) (u direct.Upload, done bool, err error) {
	s := directSession{id: id, key: directKey(id)}
	hs, err := r.claimVerification(ctx, &s, repo)
	if ended, found := errors.AsType[*endedError](err); found {
		err = r.checkRepeated(ctx, repo, ended)
		return direct.Upload{ID: id, Digest: ended.digest}, err == nil, err
	}
	if hs == nil || err != nil {
		return s.upload(), false, err
	}
	n, err := r.rehash(ctx, s.key, s.Hashed, s.Size, hs)
	if err != nil {
		r.releaseVerification(ctx, s.key, s.Version)
		return direct.Upload{}, false, err
	}
	if offset := s.Hashed + n; offset < s.Size {
		// Record even if the client has disconnected: otherwise the uploads of clients with a
		// short timeout would never make progress.
		u, err = r.recordVerification(context.WithoutCancel(ctx), s, offset, hs)
		return u, false, err
	}
	if got, _ := hs.Digest(s.Offered.Algorithm()); got != s.Offered {
		r.rejectContent(ctx, s.key, s.objectRow)
		return direct.Upload{}, false, upload.CheckDigest(got, s.Offered)
	}
	if err := r.commit(ctx, s.blob()); err != nil {
		r.releaseVerification(ctx, s.key, s.Version)
		return direct.Upload{}, false, err
	}
	return s.upload(), true, nil
}

// recordComplete records that the store has all bytes, so that VerifyDirect can verify them.
func (r *Registry) recordComplete(ctx context.Context, s directSession) (direct.Upload, error) {
	attrs := Attrs{attrComplete: int64(1), attrHashed: int64(0), attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := saveHashes(upload.NewHashes(s.Offered.Algorithm()), attrs); err != nil {
		return direct.Upload{}, err
	}
	for range maxContended {
		row, err := r.meta.Update(ctx, Write{Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Attrs: attrs})
		conflict := asConflict(err)
		if conflict == nil {
			s.directRow = decode[directRow](row.Attrs)
			return s.upload(), wrap("record completion", err)
		}
		// A concurrent repetition of this request recorded it, a request for parts renewed
		// the upload, or the upload has ended.
		s.directRow = decode[directRow](conflict.found(0).Attrs)
		if err := r.checkOpen(s.objectRow, s.Repo); err != nil {
			return direct.Upload{}, err
		}
		if s.Complete {
			return s.upload(), nil
		}
	}
	return direct.Upload{}, fmt.Errorf("record completion: %w", ErrContended)
}

// verifyLease is the time for which a call of VerifyDirect keeps other calls from verifying the
// same upload. It is longer than a call takes. If the call crashes, another call can take over
// after this time.
func (r *Registry) verifyLease() time.Duration { return max(r.opts.VerifyFor, 0) + 5*time.Second }

// claimVerification reads the session into s and takes its verification lease. The returned
// hashes are nil if another call has the lease.
func (r *Registry) claimVerification(ctx context.Context, s *directSession, repo string) (upload.Hashes, error) {
	nonce := r.nonce()
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set,
		If: All(inState(objectOpen), Equal(attrRepo, repo), Equal(attrComplete, int64(1)),
			Greater(attrExpires, r.now()), Less(attrLease, r.now())), // only complete direct uploads have a lease
		Attrs: Attrs{attrVersion: nonce, attrLease: r.now() + r.verifyLease().Milliseconds()},
	})
	conflict := asConflict(err)
	switch {
	case err == nil:
		s.directRow = decode[directRow](row.Attrs)
		return loadHashes(row.Attrs)
	case conflict == nil: // the write may have been applied: release the lease
		r.releaseVerification(ctx, s.key, nonce)
		return nil, fmt.Errorf("claim verification: %w", err)
	}
	s.directRow = decode[directRow](conflict.found(0).Attrs)
	if err := r.checkOpen(s.objectRow, repo); err != nil {
		return nil, err
	}
	if !s.Complete {
		return nil, oci.NewError(oci.BlobUploadInvalid, "this upload is not complete: there is nothing to verify yet")
	}
	return nil, nil
}

// releaseVerification ends the lease of a call that failed, so that the next call can begin at
// once. version is the version of the session that the failed call has claimed.
func (r *Registry) releaseVerification(ctx context.Context, key, version string) {
	_, err := r.meta.Update(context.WithoutCancel(ctx), Write{
		Key: objectKey(key), Op: Set, If: unchanged(version), Attrs: Attrs{attrLease: int64(0)},
	})
	if asConflict(err) == nil { // a conflict means that this call does not have the lease
		r.cleanUp("lease of a verification", key, err)
	}
}

// recordVerification saves the number of hashed bytes and the hash states, and ends the lease.
func (r *Registry) recordVerification(ctx context.Context, s directSession, offset int64, hs upload.Hashes) (direct.Upload, error) {
	attrs := Attrs{attrHashed: offset, attrLease: int64(0), attrExpires: r.sessionEnd()}
	if err := saveHashes(hs, attrs); err != nil {
		return direct.Upload{}, err
	}
	row, err := r.meta.Update(ctx, Write{Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Attrs: attrs})
	if conflict := asConflict(err); conflict != nil {
		return direct.Upload{}, r.lostClaim(conflict, s.Repo)
	}
	s.directRow = decode[directRow](row.Attrs)
	return s.upload(), wrap("record verification", err)
}

const (
	// windowSize is the number of bytes of one read from the store.
	windowSize = 16 << 20
	// readAhead is the number of windows that are being read, or are read and not yet hashed.
	// Concurrent reads are faster than sequential ones.
	readAhead = 4
)

// rehash hashes the content of a key from offset to size, but stops after VerifyFor. It returns
// the number of bytes hashed: at least one window, for which it may take until the end of the
// lease.
func (r *Registry) rehash(ctx context.Context, key string, offset, size int64, hs upload.Hashes) (n int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := r.opts.Now()
	var ahead []chan window
	next := offset
	for {
		for ; len(ahead) < readAhead && next < size; next += windowSize {
			ahead = append(ahead, r.readWindow(ctx, key, next, min(windowSize, size-next)))
		}
		if len(ahead) == 0 {
			return n, nil
		}
		until := began.Add(r.opts.VerifyFor)
		if n == 0 { // so that each call makes some progress
			until = began.Add(r.verifyLease())
		}
		p, inTime := r.waitFor(ctx, ahead[0], until)
		switch {
		case !inTime && n == 0:
			return 0, oci.NewError(oci.Unavailable, "the store is too slow to read this upload: try again")
		case !inTime:
			return n, nil
		}
		if p.err != nil && n > 0 {
			return n, nil // keep the progress; the next call returns the error
		}
		if p.err != nil {
			return 0, p.err
		}
		hs.Add(p.content)
		n += int64(len(p.content))
		ahead = ahead[1:]
	}
}

type window struct {
	content []byte
	err     error
}

// waitFor waits for the next window. inTime is false if it does not arrive before until.
func (r *Registry) waitFor(ctx context.Context, next chan window, until time.Time) (p window, inTime bool) {
	left := until.Sub(r.opts.Now())
	if left <= 0 {
		return window{}, false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case p := <-next:
		return p, true
	case <-timer.C:
		return window{}, false
	case <-ctx.Done():
		return window{err: context.Cause(ctx)}, true
	}
}

// readWindow starts to read a window in the background. The channel is buffered, so the
// goroutine ends even if its result is never received.
func (r *Registry) readWindow(ctx context.Context, key string, offset, length int64) chan window {
	done := make(chan window, 1)
	go func() {
		var p window
		p.err = r.retry(ctx, func() (err error) {
			p.content, err = r.readOnce(ctx, key, offset, length)
			return err
		})
		done <- p
	}()
	return done
}

func (r *Registry) readOnce(ctx context.Context, key string, offset, length int64) ([]byte, error) {
	content, err := r.blobs.Open(ctx, key, offset, length)
	if errors.Is(err, ErrNoContent) {
		return nil, oci.NewError(oci.BlobUploadUnknown, "another request ended this upload: start a new one")
	}
	if err != nil {
		return nil, fmt.Errorf("read back upload: %w", err)
	}
	defer content.Close()
	buffer := make([]byte, length)
	if _, err := io.ReadFull(content, buffer); err != nil {
		return nil, fmt.Errorf("read back upload: %w", err)
	}
	return buffer, nil
}
