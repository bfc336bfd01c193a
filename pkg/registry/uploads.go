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
	Offset int64 // number of bytes stored so far
}

// Chunk is the body of one request of an upload.
type Chunk = upload.Chunk

// Finish is the last request of an upload.
type Finish = upload.Finish

// StartUpload opens a session. While the bytes arrive, the registry computes their sha256 and,
// if algorithm is sha512, also their sha512.
func (r *Registry) StartUpload(ctx context.Context, repo string, algorithm oci.Algorithm) (Upload, error) {
	id, key := r.newUpload()
	row := r.openRow(repo)
	attrs := encode(row)
	attrs[attrHashed] = int64(0) // explicitly, because claims compare it with the offset of their chunk
	if err := saveHashes(upload.NewHashes(algorithm), attrs); err != nil {
		return Upload{}, err
	}
	if err := r.meta.Transact(ctx, "", r.openWrites(key, attrs, row.Expires)...); err != nil {
		return Upload{}, fmt.Errorf("open upload session: %w", err)
	}
	return Upload{ID: id}, nil
}

// UploadStatus returns the current state of an upload. The error is BLOB_UPLOAD_UNKNOWN if there
// is no such upload.
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

// AppendUpload appends a chunk to the upload: all of it or, on error, nothing. Errors:
// BLOB_UPLOAD_UNKNOWN; an *upload.OffsetError; BLOB_UPLOAD_INVALID if the body ends early,
// another request takes over, or the upload has all its bytes; SIZE_INVALID if the body differs
// from the announced length or the blob exceeds the store's limit.
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
	// The store may apply a late copy of the claim's write, which restores the version, and
	// then a late copy of this write. The condition on the offset rejects that copy, which
	// would otherwise remove later chunks from the session.
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

// store appends the chunk's body to the store and to the hashes. On error it gives back the
// unused part numbers of the claim, and the caller must not record the chunk.
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

// appendBody appends a body that is not empty. With an error, only Unused of the result is
// valid.
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
			"the blob exceeds the size limit of the store for chunks of this size: %s", oci.UploadAlternatives)
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

// CancelUpload ends a session and deletes its bytes. The error is BLOB_UPLOAD_UNKNOWN if there
// is no such upload, or if it has already become a blob.
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

// PushBlob stores a whole blob from the body of one request. A negative length means that the
// length is unknown. Errors: DIGEST_INVALID, SIZE_INVALID, BLOB_UPLOAD_INVALID if the body ends
// early.
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

// pushSmall opens a session before it stores the content, so that ExpireUploads deletes the
// content after a crash. The transaction that opens the session fails if the blob already
// exists; then pushSmall links to the existing blob, or heals it.
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
			continue // the key exists: an earlier attempt was applied, but its answer was lost
		}
		existing := decode[blobRow](conflict.found(0).Attrs).Key
		intact, err := r.intact(ctx, existing, d, b.size, checkSum)
		if err != nil {
			return err
		}
		if !intact {
			look = nil // store the content even though the blob exists: the commit heals it
			continue
		}
		// The blob is intact. If it is deleted before the link is written, the next
		// iteration stores the content.
		b.version = ""
		done, err := r.linkExisting(ctx, b, existing)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("push blob: %w", ErrContended)
}

// putOnce stores content under a new key, which only this request knows. If the key already has
// content, an earlier attempt of this request stored it and its answer was lost.
func (r *Registry) putOnce(ctx context.Context, key string, content []byte) error {
	if err := r.blobs.Put(ctx, key, content); err != nil && !errors.Is(err, ErrTaken) {
		return err
	}
	return nil
}
