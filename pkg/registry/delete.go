package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// firstTags go in the transaction that takes the manifest itself: beside them
	// are its row, its bytes, their key row, its referrer and the review.
	firstTags = MaxTransact - 5
	// furtherTags leave room for the manifest's row.
	furtherTags = MaxTransact - 1
)

// DeleteTag takes a tag away, not the manifest. The error is MANIFEST_UNKNOWN.
func (r *Registry) DeleteTag(ctx context.Context, repo, tag string) error {
	for range maxContended {
		rows, err := r.get(ctx, tagKey(repo, tag))
		if err != nil {
			return fmt.Errorf("read tag: %w", err)
		}
		d := rows[0].Attrs.digest(attrDigest)
		if d == "" {
			return errManifestUnknown(repo, oci.Reference{Tag: tag})
		}
		err = r.transact(ctx,
			Write{Key: tagKey(repo, tag), Op: Delete, If: Equal(attrDigest, string(d))},
			Write{Key: edgeKey(repo, d, tag), Op: Delete})
		var conflict *Conflict
		if !errors.As(err, &conflict) {
			return wrap("delete tag", err)
		}
	}
	return fmt.Errorf("delete tag: %w", ErrContended)
}

// DeleteManifest takes a manifest and all tags that point at it away. A tag that
// is pushed meanwhile is either deleted with it, or finds it gone and brings it
// back. The error is MANIFEST_UNKNOWN.
func (r *Registry) DeleteManifest(ctx context.Context, repo string, d oci.Digest) error {
	for try := range maxContended {
		rows, err := r.get(ctx, manifestKey(repo, d))
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		row := rows[0].Attrs
		switch row.text(attrState) {
		case stateDeleting:
			return r.finishDelete(ctx, repo, d, row)
		case stateLive:
		default:
			return errManifestUnknown(repo, oci.Reference{Digest: d})
		}
		tags, err := r.edges(ctx, repo, d)
		if err == nil && try > 0 {
			tags, err = r.pointing(ctx, repo, d, tags) // some have an edge and point elsewhere by now
		}
		if err != nil {
			return err
		}
		deleted, err := r.deleteLive(ctx, repo, d, row, tags)
		if deleted || err != nil {
			return err
		}
	}
	return fmt.Errorf("delete manifest: %w", ErrContended)
}

// edges lists the tags that may point at a manifest.
func (r *Registry) edges(ctx context.Context, repo string, d oci.Digest) ([]string, error) {
	var tags []string
	q := Query{PK: edgePartition(repo, d), Limit: MaxPage}
	for {
		page, err := r.query(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("read tags of manifest: %w", err)
		}
		for _, row := range page.Rows {
			tags = append(tags, row.Key.SK)
		}
		if !page.More {
			return tags, nil
		}
		q.After = page.Rows[len(page.Rows)-1].Key.SK
	}
}

// pointing keeps the tags that point at the manifest.
func (r *Registry) pointing(ctx context.Context, repo string, d oci.Digest, tags []string) ([]string, error) {
	keys := make([]Key, len(tags))
	for i, tag := range tags {
		keys[i] = tagKey(repo, tag)
	}
	rows, err := r.get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("read tags of manifest: %w", err)
	}
	var there []string
	for i, tag := range tags {
		if rows[i].Attrs.digest(attrDigest) == d {
			there = append(there, tag)
		}
	}
	return there, nil
}

// deleteLive deletes a manifest in one transaction if its tags fit in; else that
// transaction hides the manifest and leaves it in the state deleting, which
// anyone can finish. Not deleted and no error: a tag has moved on, or the
// manifest was pushed again.
func (r *Registry) deleteLive(ctx context.Context, repo string, d oci.Digest, row Attrs, tags []string) (deleted bool, err error) {
	first, rest := tags[:min(len(tags), firstTags)], tags[min(len(tags), firstTags):]
	writes := append(r.takeDown(repo, d, row, len(rest) > 0), untag(repo, d, first)...)
	if len(writes)+len(first) <= MaxTransact {
		// Edges that are left behind do no harm, but cost a later delete a try.
		for _, tag := range first {
			writes = append(writes, Write{Key: edgeKey(repo, d, tag), Op: Delete})
		}
	}
	nonce := r.nonce()
	err = r.transactAs(ctx, nonce, writes...)
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete manifest: %w", err)
	}
	if key := row.text(attrKey); key != "" {
		r.cleanUp("manifest bytes", key, r.blobs.Delete(ctx, key))
	}
	if len(rest) > 0 {
		return true, r.deleteRest(ctx, repo, d, nonce, rest)
	}
	return true, nil
}

// takeDown is the writes that hide a manifest, its thin row's first.
func (r *Registry) takeDown(repo string, d oci.Digest, row Attrs, tagsLeft bool) []Write {
	thin := Write{Key: manifestKey(repo, d), Op: Delete, If: Equal(attrWrite, row.text(attrWrite))}
	if tagsLeft {
		thin.Op, thin.Attrs = Put, Attrs{attrState: stateDeleting, attrRefs: row.bytes(attrRefs)}
	}
	writes := []Write{
		thin,
		{Key: contentKey(repo, d), Op: Delete},
		r.review(reviewManifest, repo, Attrs{attrRepo: repo, attrDigest: string(d), attrRefs: row.bytes(attrRefs)}),
	}
	if key := row.text(attrKey); key != "" {
		writes = append(writes, Write{Key: objectKey(key), Op: Put, Attrs: Attrs{attrState: stateDead}})
	}
	if subject := row.digest(attrSubject); subject != "" {
		at := Key{referrerPartition(repo, subject), row.text(attrReferrer)}
		writes = append(writes, Write{Key: at, Op: Delete})
	}
	return writes
}

// untag deletes tags that still point at the manifest.
func untag(repo string, d oci.Digest, tags []string) []Write {
	writes := make([]Write, len(tags))
	for i, tag := range tags {
		writes[i] = Write{Key: tagKey(repo, tag), Op: Delete, If: Equal(attrDigest, string(d))}
	}
	return writes
}

// finishDelete goes on with a delete that somebody else began.
func (r *Registry) finishDelete(ctx context.Context, repo string, d oci.Digest, row Attrs) error {
	tags, err := r.edges(ctx, repo, d)
	if err == nil {
		tags, err = r.pointing(ctx, repo, d, tags)
	}
	if err != nil {
		return err
	}
	return r.deleteRest(ctx, repo, d, row.text(attrWrite), tags)
}

// deleteRest deletes tags of a manifest in the state deleting, the manifest's row
// with the last of them. Several requests may do it at once: the row has one
// generation, and whoever finds it gone is done.
func (r *Registry) deleteRest(ctx context.Context, repo string, d oci.Digest, generation string, tags []string) error {
	for {
		n := min(len(tags), furtherTags)
		thin := Write{Key: manifestKey(repo, d), Op: Check, If: Equal(attrWrite, generation)}
		if n == len(tags) {
			thin.Op = Delete
		}
		err := r.transact(ctx, append(untag(repo, d, tags[:n]), thin)...)
		var conflict *Conflict
		switch {
		case err == nil && n == len(tags):
			return nil
		case err == nil:
			tags = tags[n:]
		case !errors.As(err, &conflict):
			return fmt.Errorf("delete tags of manifest: %w", err)
		case conflict.old(n) != nil:
			return nil
		default:
			var still []string
			for i, tag := range tags {
				if i >= n || conflict.old(i) == nil {
					still = append(still, tag)
				}
			}
			tags = still
		}
	}
}
