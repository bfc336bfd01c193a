package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// PushBlob stores a whole blob that came in one request. length below 0 is
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
	if got := want.Algorithm().FromBytes(content); got != want {
		return errDigest(got, want)
	}
	return r.pushSmall(ctx, repo, want, content)
}

// pushSmall opens a session before it stores anything, and looks for the digest in the
// same write: content that a crash leaves behind has a row, and the list of uploads
// leads to it.
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
		intact, err := r.intact(ctx, existing, d, b.size)
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

// putOnce stores content under a key of our own. A key that is taken was taken
// by an earlier try whose answer was lost: nobody else knows it.
func (r *Registry) putOnce(ctx context.Context, key string, content []byte) error {
	if err := r.blobs.Put(ctx, key, content); err != nil && !errors.Is(err, ErrTaken) {
		return err
	}
	return nil
}
