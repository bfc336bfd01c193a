package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// Objects can be lost or damaged without the registry's knowledge: by a manual delete, a
// wrong lifecycle rule, a bad disk, or a table that was restored to an earlier time. A push
// that sends the bytes heals the blob: before it links to an existing object, it asks the
// store for the object, and replaces the object if it is unusable.

// Values of intact's parameter sum.
const (
	checkSize = false // size only, for requests without bytes, which should be quick
	checkSum  = true  // size and, if the store knows it, checksum
)

// intact reports whether the store still has the content of a digest under a key. It is false
// only if the store itself reports that the object is missing or different. Any other error
// proves nothing about the object: the caller must not replace it.
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

// stat calls Blobs.Stat, and repeats it after faults but not after ErrNoContent or ErrEncoded.
func (r *Registry) stat(ctx context.Context, key string, sum bool) (size int64, sha256 oci.Digest, err error) {
	err = r.retry(ctx, func() (err error) {
		size, sha256, err = r.blobs.Stat(ctx, key, sum)
		return err
	})
	return size, sha256, err
}

// heal replaces the unusable object under the key lost by the new object b, in all
// repositories that have the blob. done is false if the blob no longer has that key, or if
// another request has changed the session of b.
func (r *Registry) heal(ctx context.Context, b newBlob, lost string) (done bool, err error) {
	writes := append(r.linkWrites(b, b.key, Equal(attrKey, lost)), b.liveWrite())
	err = r.meta.Transact(ctx, "", append(writes, r.abandon(lost)...)...)
	if asConflict(err) != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("heal blob: %w", err)
	}
	// The push has succeeded. The other repositories must be relinked even if its client
	// disconnects now.
	r.cleanUp("links to a lost object", lost, r.relink(context.WithoutCancel(ctx), b.digest, b.key))
	return true, nil
}

// abandon returns the writes that make the key of an unusable object dead and queue it for
// ExpireUploads, which deletes any rest of the object. They have no condition: the same
// transaction must replace the key in the row that refers to it, on condition that this row
// still has the key.
func (r *Registry) abandon(key string) []Write {
	return []Write{
		{Key: objectKey(key), Op: Set, Attrs: encode(r.deadRow(objectRow{}))},
		r.expiryWrite(key, r.sessionEnd()),
	}
}

// relink sets the content key in the links of all repositories to key, the current key of
// their blob. It stops if the blob has another key by now: the request that set that key
// relinks as well.
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
