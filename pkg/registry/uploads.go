package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// Upload describes an upload session.
type Upload struct {
	ID     string
	Offset int64 // bytes that are stored
}

// Chunk is the body of one request of an upload.
type Chunk = upload.Chunk

// Finish is the last request of an upload.
type Finish = upload.Finish

// StartUpload opens a session. Its digest is computed by sha256 while the bytes arrive, and
// by algorithm if that is another one.
func (r *Registry) StartUpload(ctx context.Context, repo string, algorithm oci.Algorithm) (Upload, error) {
	id, key := r.newUpload()
	row := r.openRow(repo)
	attrs := encode(row)
	attrs[attrHashed] = int64(0) // claims compare it with the offset of their chunk
	if err := saveHashes(upload.NewHashes(algorithm), attrs); err != nil {
		return Upload{}, err
	}
	if err := r.meta.Transact(ctx, "", r.openWrites(key, attrs, row.Expires)...); err != nil {
		return Upload{}, fmt.Errorf("open upload session: %w", err)
	}
	return Upload{ID: id}, nil
}

// UploadStatus returns the current state of an upload. The error is BLOB_UPLOAD_UNKNOWN.
func (r *Registry) UploadStatus(ctx context.Context, repo, id string) (Upload, error) {
	rows, err := r.meta.Get(ctx, objectKey(uploadKey(id)))
	if err != nil {
		return Upload{}, fmt.Errorf("read upload session: %w", err)
	}
	row := decode[objectRow](rows[0].Attrs)
	if err := r.checkOpen(row, repo); err != nil {
		return Upload{}, err
	}
	return Upload{ID: id, Offset: row.Hashed}, nil
}

// AppendUpload stores a chunk at the end of the upload, all of it or, on error, nothing.
// Errors: BLOB_UPLOAD_UNKNOWN, an *upload.OffsetError, BLOB_UPLOAD_INVALID if the body breaks off
// or another request takes over, SIZE_INVALID.
func (r *Registry) AppendUpload(ctx context.Context, repo, id string, c Chunk) (Upload, error) {
	s, err := r.claim(ctx, repo, id, c)
	if err != nil {
		return Upload{}, err
	}
	if s.Complete {
		return Upload{}, errKept()
	}
	stored, err := r.store(ctx, &s, c)
	if err != nil {
		return Upload{}, err
	}
	attrs := Attrs{attrHashed: stored.Size, attrStored: stored.State, attrExpires: r.sessionEnd()}
	if err := saveHashes(s.hashes, attrs); err != nil {
		return Upload{}, err
	}
	// The condition on the offset rejects a late repetition of this write after one of the
	// claim's write, which restores the version: later chunks would be lost.
	_, err = r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: All(unchanged(s.Version), Equal(attrHashed, s.before.Size)),
		Attrs: attrs, Add: map[string]int64{attrNextPart: -stored.Unused},
	})
	if conflict := asConflict(err); conflict != nil {
		r.cleanUp("chunk that lost its upload", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		return Upload{}, r.lostClaim(conflict, repo)
	}
	if err != nil {
		return Upload{}, fmt.Errorf("record chunk: %w", err)
	}
	return Upload{ID: id, Offset: stored.Size}, nil
}

// store appends the chunk's body and hashes it. On error it gives the claim up, and the
// caller must not record anything.
func (r *Registry) store(ctx context.Context, s *session, c Chunk) (Stored, error) {
	if c.Length == 0 || c.Body == nil {
		stored := s.before
		stored.Unused = s.claim.Count
		return stored, nil
	}
	stored, err := r.appendBody(ctx, s, c)
	if err != nil {
		r.giveBack(ctx, s, stored.Unused)
	}
	return stored, err
}

// appendBody does the work of store; with an error, only Unused is valid.
func (r *Registry) appendBody(ctx context.Context, s *session, c Chunk) (Stored, error) {
	claim := s.claim
	claim.More = func(ctx context.Context) (first, count int64, err error) { return r.extend(ctx, s) }
	body := upload.NewBody(c.Body, s.hashes)
	stored, err := r.blobs.Append(ctx, s.key, claim, s.before, body)
	switch {
	case body.Broken() != nil:
		if err == nil {
			r.cleanUp("broken chunk", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		}
		return stored, body.Broken()
	case errors.Is(err, ErrTooLarge):
		return stored, oci.NewError(oci.SizeInvalid,
			"the blob is larger than what the store can hold in pieces of this size: %s", oci.UploadAlternatives)
	case errors.Is(err, ErrBusy):
		return stored, fmt.Errorf("%w (cause: %w)",
			oci.NewError(oci.Unavailable, "too many uploads are in progress: try again later"), err)
	case err != nil:
		return stored, fmt.Errorf("append to upload: %w", err)
	}
	if err := body.Check(c.Length); err != nil {
		r.cleanUp("chunk of wrong length", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		return stored, err
	}
	return stored, nil
}

// CancelUpload ends a session and drops its bytes. It does not undo a completion that was
// faster. The error is BLOB_UPLOAD_UNKNOWN.
func (r *Registry) CancelUpload(ctx context.Context, repo, id string) error {
	key := uploadKey(id)
	ended, err := r.cancel(ctx, repo, key)
	if err != nil {
		return err
	}
	if ended.Complete {
		err = r.drop(ctx, key, ended)
	} else {
		err = r.blobs.Discard(ctx, key, ended.stored(), Stored{})
	}
	r.cleanUp("cancelled upload", key, err)
	return nil
}

// PushBlob stores a whole blob from one request. A negative length means that it is
// unknown. Errors: DIGEST_INVALID, SIZE_INVALID, BLOB_UPLOAD_INVALID.
func (r *Registry) PushBlob(ctx context.Context, repo string, want oci.Digest, length int64, body io.Reader) error {
	if length < 0 || length > smallBlob {
		u, err := r.StartUpload(ctx, repo, want.Algorithm())
		if err != nil {
			return err
		}
		return r.CompleteUpload(ctx, repo, u.ID, Finish{Digest: want, Size: length, Chunk: Chunk{Offset: 0, Length: length, Body: body}})
	}
	content, err := readSmall(Chunk{Length: length, Body: body})
	if err != nil {
		return err
	}
	if err := upload.CheckDigest(want.Algorithm().FromBytes(content), want); err != nil {
		return err
	}
	return r.pushSmall(ctx, repo, want, content)
}

// pushSmall opens a session before it stores anything, so that after a crash the queue of
// uploads leads to the content. The same transaction checks whether the blob exists.
func (r *Registry) pushSmall(ctx context.Context, repo string, d oci.Digest, content []byte) error {
	look := []Write{{Key: blobKey(d), Op: Check, If: Absent()}}
	for range maxContended {
		_, key := r.newUpload()
		nonce := r.nonce()
		b := newBlob{repo: repo, digest: d, size: int64(len(content)), key: key, version: nonce}
		row := r.openRow(repo)
		err := r.meta.Transact(ctx, nonce, slices.Concat(look, r.openWrites(key, encode(row), row.Expires))...)
		conflict := asConflict(err)
		switch {
		case err == nil:
			if err := r.retry(ctx, func() error { return r.putOnce(ctx, key, content) }); err != nil {
				return fmt.Errorf("store blob: %w", err)
			}
			return r.commit(ctx, b)
		case conflict == nil:
			return fmt.Errorf("open upload session: %w", err)
		case look == nil || conflict.found(0) == nil:
			continue // the key is an earlier try's, whose answer was lost
		}
		existing := decode[blobRow](conflict.found(0).Attrs).Key
		intact, err := r.intact(ctx, existing, d, b.size, checkSum)
		if err != nil {
			return err
		}
		if !intact {
			look = nil // store the content: its commit heals the blob
			continue
		}
		// The blob exists. If it is deleted before it is linked, it is stored after all.
		b.version = ""
		done, err := r.linkExisting(ctx, b, existing)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("push blob: %w", ErrContended)
}

// putOnce stores content under a fresh key, which only this request knows: if the key is
// taken, an earlier try of this request stored the content and its answer was lost.
func (r *Registry) putOnce(ctx context.Context, key string, content []byte) error {
	if err := r.blobs.Put(ctx, key, content); err != nil && !errors.Is(err, ErrTaken) {
		return err
	}
	return nil
}
