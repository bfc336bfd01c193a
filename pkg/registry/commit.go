package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// newBlob is content with a verified digest that is about to become a blob of a repository.
type newBlob struct {
	repo    string
	digest  oci.Digest
	size    int64
	key     string
	version string // of the session under key, which the commit replaces; empty if key has no session
	stored  bool   // the store has the content under key
}

// liveWrite replaces the session under the key by the row of a live object.
func (b newBlob) liveWrite() Write {
	return b.objectWrite(objectRow{State: objectLive, Repo: b.repo, Digest: b.digest, Size: b.size})
}

// deadWrite replaces the session under the key by the row of a dead object.
func (r *Registry) deadWrite(b newBlob) Write {
	dead := r.deadRow(objectRow{Repo: b.repo})
	dead.Digest = b.digest
	return b.objectWrite(dead)
}

func (b newBlob) objectWrite(row objectRow) Write {
	return Write{Key: objectKey(b.key), Op: Put, If: unchanged(b.version), Attrs: encode(row)}
}

// objectAt is the index of objectWrite in a transaction, after the linkWrites.
const objectAt = 3

// linkWrites returns three writes: the blob row, which maps the digest to the content key, on
// the condition blobIf; the repository's link; and the link's review.
func (r *Registry) linkWrites(b newBlob, key string, blobIf Cond) []Write {
	row := blobRow{State: blobLive, Key: key, Size: b.size, Renewed: r.now()}
	return []Write{
		{Key: blobKey(b.digest), Op: Put, If: blobIf, Attrs: encode(row)},
		{Key: linkKey(b.repo, b.digest), Op: Put, Attrs: encode(linkRow(row))},
		r.review(b.repo, reviewRow{Kind: reviewLink, Repo: b.repo, Digest: b.digest}),
	}
}

// commit makes stored content a blob. If a blob with this digest already exists, commit links
// the repository to it and deletes the new object. If the existing object is lost or damaged,
// the new one replaces it (see heal).
func (r *Registry) commit(ctx context.Context, b newBlob) error {
	b.stored = true
	for range maxContended {
		err := r.meta.Transact(ctx, "", append(r.linkWrites(b, b.key, Absent()), b.liveWrite())...)
		conflict := asConflict(err)
		if conflict == nil {
			return wrap("commit blob", err)
		}
		if found := conflict.found(objectAt); found != nil {
			return r.resolveConflict(ctx, b, decode[objectRow](found.Attrs))
		}
		done, err := r.commitExisting(ctx, b, decode[blobRow](conflict.found(0).Attrs).Key)
		if done || err != nil {
			return err
		}
		// The existing blob was deleted or healed since the transaction: try again.
	}
	return fmt.Errorf("commit blob: %w", ErrContended)
}

// commitExisting commits content whose digest already has a blob under another key. It keeps
// one of the two objects. done is false if the blob no longer has that key.
func (r *Registry) commitExisting(ctx context.Context, b newBlob, key string) (done bool, err error) {
	intact, err := r.intact(ctx, key, b.digest, b.size, checkSum)
	if err != nil {
		return false, err
	}
	if !intact {
		return r.heal(ctx, b, key)
	}
	return r.linkExisting(ctx, b, key)
}

// linkExisting links the repository to the existing blob, whose content is under key, and
// ends the session of the new content. done is false if the blob no longer has that key.
func (r *Registry) linkExisting(ctx context.Context, b newBlob, key string) (done bool, err error) {
	writes := r.linkWrites(b, key, Equal(attrKey, key))
	if b.version != "" {
		writes = append(writes, r.deadWrite(b))
	}
	err = r.meta.Transact(ctx, "", writes...)
	conflict := asConflict(err)
	switch {
	case conflict == nil && err != nil:
		return false, fmt.Errorf("link blob: %w", err)
	case conflict == nil && b.stored:
		r.cleanUp("duplicate blob", b.key, r.blobs.Delete(ctx, b.key))
	case conflict != nil && conflict.found(objectAt) != nil:
		return true, r.resolveConflict(ctx, b, decode[objectRow](conflict.found(objectAt).Attrs))
	}
	return conflict == nil, nil
}

// linkIfExists links the repository to an intact blob with this digest, before the caller
// stores the content. The client has sent the bytes, so it may have the link. done is false
// if the caller must store the content.
func (r *Registry) linkIfExists(ctx context.Context, b newBlob) (done bool, err error) {
	rows, err := r.meta.Get(ctx, blobKey(b.digest))
	if err != nil {
		return false, fmt.Errorf("look for blob: %w", err)
	}
	if rows[0].Attrs == nil {
		return false, nil
	}
	key := decode[blobRow](rows[0].Attrs).Key
	if intact, err := r.intact(ctx, key, b.digest, b.size, checkSum); !intact || err != nil {
		return false, err
	}
	return r.linkExisting(ctx, b, key)
}

// resolveConflict returns the result of a commit whose session was changed by another
// request, to found. It deletes the content only if found is dead: if found is live, the
// content belongs to the blob that the other request has committed.
func (r *Registry) resolveConflict(ctx context.Context, b newBlob, found objectRow) error {
	if found.State != objectOpen && found.Digest == b.digest {
		return nil // a concurrent repetition of this request has committed the blob
	}
	if found.State == objectDead {
		r.cleanUp("ended upload", b.key, r.blobs.Delete(ctx, b.key))
		return oci.NewError(oci.BlobUploadUnknown, "another request cancelled or ended this upload: start a new one")
	}
	return upload.ErrTakenOver()
}
