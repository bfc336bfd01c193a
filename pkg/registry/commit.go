package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// commit is content that is in place and proven, about to become a blob.
type commit struct {
	repo   string
	digest oci.Digest
	size   int64
	key    string
	// rowIf is what must be true of the key's row for it to end with this commit; the
	// zero Cond where the key has no row yet that could.
	rowIf Cond
}

// keyRow ends the key's row in a state.
func (c commit) keyRow(state string) Write {
	return Write{Key: objectKey(c.key), Op: Put, If: c.rowIf, Attrs: Attrs{
		attrState: state, attrRepo: c.repo, attrDigest: string(c.digest), attrSize: c.size,
	}}
}

// commit names the content. If the digest has a blob already, the repository gets
// a link to that one and the new object is deleted, unless the old object is lost.
func (r *Registry) commit(ctx context.Context, c commit) error {
	for range maxContended {
		err := r.meta.Transact(ctx, "", append(r.place(c, c.key, Absent()), c.keyRow(stateLive))...)
		conflict := asConflict(err)
		if conflict == nil {
			return wrap("commit blob", err)
		}
		if old := conflict.found(placeWrites); old != nil {
			return r.settled(ctx, c, *old)
		}
		done, err := r.commitExisting(ctx, c, conflict.found(0).Attrs.text(attrKey))
		if done || err != nil {
			return err
		}
		// The blob that was there has just gone, or was healed.
	}
	return fmt.Errorf("commit blob: %w", ErrContended)
}

// commitExisting commits content whose digest has a blob under key: of the two objects one
// goes. Not done: the digest no longer has that key.
func (r *Registry) commitExisting(ctx context.Context, c commit, key string) (done bool, err error) {
	sound, err := r.sound(ctx, key, c.digest, c.size)
	if err != nil {
		return false, err
	}
	if !sound {
		return r.heal(ctx, c, key)
	}
	return r.adopt(ctx, c, key, func() {
		r.cleanUp("duplicate blob", c.key, r.blobs.Delete(ctx, c.key))
	})
}

// adopt links the repository to the content that the digest has under another
// key. dropOwn is called once the own key's row is dead by this very write. Not
// done: the digest has that content no longer.
func (r *Registry) adopt(ctx context.Context, c commit, key string, dropOwn func()) (done bool, err error) {
	writes := r.place(c, key, Equal(attrKey, key))
	if c.rowIf.Op != Always {
		writes = append(writes, c.keyRow(stateDead))
	}
	err = r.meta.Transact(ctx, "", writes...)
	conflict := asConflict(err)
	if err == nil {
		dropOwn()
		return true, nil
	}
	if conflict == nil {
		return false, fmt.Errorf("link blob: %w", err)
	}
	if old := conflict.found(placeWrites); old != nil {
		return true, r.settled(ctx, c, *old)
	}
	return false, nil
}

// adoptExisting looks for the digest before anything is stored. The caller has
// proved that it has the content: a link is all that may be missing. Not done: the
// content must be stored.
func (r *Registry) adoptExisting(ctx context.Context, c commit) (done bool, err error) {
	rows, err := r.meta.Get(ctx, blobKey(c.digest))
	if err != nil {
		return false, fmt.Errorf("look for blob: %w", err)
	}
	if rows[0].Attrs == nil {
		return false, nil
	}
	key := rows[0].Attrs.text(attrKey)
	if sound, err := r.sound(ctx, key, c.digest, c.size); !sound || err != nil {
		return false, err
	}
	nothingStored := func() {}
	return r.adopt(ctx, c, key, nothingStored)
}

// placeWrites is how many writes place returns, the blob item's first.
const placeWrites = 3

// place writes blob item and link for content under key, and the link's review.
func (r *Registry) place(c commit, key string, blobItem Cond) []Write {
	live := func() Attrs {
		return Attrs{attrState: stateLive, attrKey: key, attrSize: c.size, attrTouched: r.now()}
	}
	return []Write{
		{Key: blobKey(c.digest), Op: Put, If: blobItem, Attrs: live()},
		{Key: linkKey(c.repo, c.digest), Op: Put, Attrs: live()},
		r.review(reviewLink, string(c.digest), Attrs{attrRepo: c.repo, attrDigest: string(c.digest)}),
	}
}

// settled looks at a key row that is no longer the committer's. Only where it is
// dead may anything be deleted: a live key is somebody else's blob.
func (r *Registry) settled(ctx context.Context, c commit, old Row) error {
	state := old.Attrs.text(attrState)
	if state != stateOpen && old.Attrs.digest(attrDigest) == c.digest {
		return nil // a twin of this request got there first
	}
	if state == stateDead {
		r.cleanUp("ended upload", c.key, r.blobs.Delete(ctx, c.key))
		return oci.NewError(oci.BlobUploadUnknown, "the upload was cancelled, or ended by another request: start a new one")
	}
	return errTakenOver()
}
