package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// Objects can be lost or damaged without the registry's knowledge: by a manual delete, a
// wrong lifecycle rule, a bad disk, or the restore of the table to an earlier time. A push
// that brings the bytes heals them: before it links to an existing object it asks the store
// for that object, and replaces it if it is unusable.

// How intact looks at an object.
const (
	checkSize = false // for requests that should be quick because they bring no bytes
	checkSum  = true
)

// intact reports whether the store still has the content of a digest under a key. Only the
// store's own answer that the object is missing or different makes it false; after any
// other error nothing is known, and the caller must not replace anything.
func (r *Registry) intact(ctx context.Context, key string, d oci.Digest, size int64, sum bool) (bool, error) {
	have, stored, err := r.stat(ctx, key, sum)
	unusable := errors.Is(err, ErrNoContent) || errors.Is(err, ErrEncoded)
	switch {
	case err != nil && !unusable:
		return false, fmt.Errorf("look at stored content: %w", err)
	case err == nil && have == size && (stored == "" || stored == d || stored.Algorithm() != d.Algorithm()):
		return true, nil
	}
	r.opts.Log.Warn("a stored object is lost or damaged; a push of its content replaces it",
		"digest", d, "key", key, "size", have, "expected_size", size, "sha256", stored, "error", err)
	return false, nil
}

// stat is Blobs.Stat, repeated after faults.
func (r *Registry) stat(ctx context.Context, key string, sum bool) (size int64, sha256 oci.Digest, err error) {
	err = r.retry(ctx, func() (err error) {
		size, sha256, err = r.blobs.Stat(ctx, key, sum)
		return err
	})
	return size, sha256, err
}

// heal gives the digest the new object in place of the unusable one under lost, in all
// repositories. Not done: the digest no longer has that key, or the new object's row is no
// longer the caller's.
func (r *Registry) heal(ctx context.Context, b newBlob, lost string) (done bool, err error) {
	writes := append(r.linkWrites(b, b.key, Equal(attrKey, lost)), b.objectWrite(objectLive))
	err = r.meta.Transact(ctx, "", append(writes, r.abandon(lost)...)...)
	if asConflict(err) != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("heal blob: %w", err)
	}
	// The push is done; the other repositories must not depend on its client's patience.
	r.cleanUp("links to a lost object", lost, r.relink(context.WithoutCancel(ctx), b.digest, b.key))
	return true, nil
}

// abandon ends the key of an unusable object, and has the next expiry of uploads delete
// the rest of it. The transaction must also replace the key in the one row that names it:
// that row's condition protects the key.
func (r *Registry) abandon(key string) []Write {
	return []Write{
		{Key: objectKey(key), Op: Set, Attrs: encode(objectRow{State: objectDead})},
		r.expiryWrite(key, r.sessionEnd()),
	}
}

// relink points the links of all repositories at the key of their blob. It stops if the
// blob has another key by now: the request that gave it that key relinks too.
func (r *Registry) relink(ctx context.Context, d oci.Digest, key string) error {
	q := Query{PK: blobPartition(d), Prefix: linkPrefix, Limit: MaxTransact - 1}
	for contended := 0; contended < maxContended; {
		page, err := r.meta.Query(ctx, q)
		if err != nil {
			return fmt.Errorf("read links: %w", err)
		}
		writes := []Write{{Key: blobKey(d), Op: Check, If: Equal(attrKey, key)}}
		for _, row := range page.Rows {
			if replaced := decode[linkRow](row.Attrs).Key; replaced != key {
				writes = append(writes, Write{Key: row.Key, Op: Set, If: Equal(attrKey, replaced), Attrs: encode(linkRow{Key: key})})
			}
		}
		if len(writes) > 1 {
			err = r.meta.Transact(ctx, "", writes...)
		}
		conflict := asConflict(err)
		switch {
		case conflict != nil && conflict.found(0) != nil:
			return nil
		case conflict != nil:
			contended++ // a link was deleted or pushed again: look again
			continue
		case err != nil:
			return fmt.Errorf("relink: %w", err)
		case !page.More:
			return nil
		}
		q.After = page.Rows[len(page.Rows)-1].Key.SK
	}
	return fmt.Errorf("relink: %w", ErrContended)
}
