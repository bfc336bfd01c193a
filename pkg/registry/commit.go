package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// newBlob is content whose digest is proven, about to become a blob of a repository.
type newBlob struct {
	repo    string
	digest  oci.Digest
	size    int64
	key     string
	version string // of the key's row, which the commit replaces; empty: the key has no row
	stored  bool   // the content is under key
}

// objectWrite ends the key's row in a state.
func (b newBlob) objectWrite(state objectState) Write {
	return Write{
		Key: objectKey(b.key), Op: Put, If: unchanged(b.version),
		Attrs: encode(objectRow{State: state, Repo: b.repo, Digest: b.digest, Size: b.size}),
	}
}

// objectAt is the index of objectWrite in a transaction, after the linkWrites.
const objectAt = 3

// linkWrites give the digest the content under key, and the repository a link with its
// review. The first is the blob's.
func (r *Registry) linkWrites(b newBlob, key string, blobIf Cond) []Write {
	row := blobRow{State: blobLive, Key: key, Size: b.size, Renewed: r.now()}
	return []Write{
		{Key: blobKey(b.digest), Op: Put, If: blobIf, Attrs: encode(row)},
		{Key: linkKey(b.repo, b.digest), Op: Put, Attrs: encode(linkRow(row))},
		r.review(string(b.digest), reviewRow{Kind: reviewLink, Repo: b.repo, Digest: b.digest}),
	}
}

// commit makes stored content a blob. If the digest has a blob already, the repository gets
// a link to that one and the new object is deleted, unless the old object is lost.
func (r *Registry) commit(ctx context.Context, b newBlob) error {
	b.stored = true
	for range maxContended {
		err := r.meta.Transact(ctx, "", append(r.linkWrites(b, b.key, Absent()), b.objectWrite(objectLive))...)
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
		// The existing blob has just been deleted or healed.
	}
	return fmt.Errorf("commit blob: %w", ErrContended)
}

// commitExisting commits content whose digest has a blob under another key, of whose two
// objects one is deleted. Not done: the digest no longer has that key.
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

// linkExisting links the repository to the content that the digest has under another key,
// and ends the new blob's own key. Not done: the digest no longer has that content.
func (r *Registry) linkExisting(ctx context.Context, b newBlob, key string) (done bool, err error) {
	writes := r.linkWrites(b, key, Equal(attrKey, key))
	if b.version != "" {
		writes = append(writes, b.objectWrite(objectDead))
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

// linkIfExists looks for the digest before anything is stored. The caller has proved that
// it has the content: only a link may be missing. Not done: the content must be stored.
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

// resolveConflict decides a commit whose key's row was changed by another request. Only a
// dead key's content may be deleted: that of a live one is another request's blob.
func (r *Registry) resolveConflict(ctx context.Context, b newBlob, found objectRow) error {
	if found.State != objectOpen && found.Digest == b.digest {
		return nil // a concurrent repetition of this request has committed
	}
	if found.State == objectDead {
		r.cleanUp("ended upload", b.key, r.blobs.Delete(ctx, b.key))
		return oci.NewError(oci.BlobUploadUnknown, "the upload was cancelled, or ended by another request: start a new one")
	}
	return upload.ErrTakenOver()
}
