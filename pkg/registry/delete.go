package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// lastTags is the number of tags that fit into the transaction that deletes the
	// manifest. The other six writes are for its manifest row, content row, object row and
	// the expiry of that, referrer row and review.
	lastTags = MaxTransact - 6
	// earlierTags is the number of tags in a transaction before that. The other write
	// checks the manifest's version.
	earlierTags = MaxTransact - 1
)

// DeleteTag deletes a tag but not its manifest. The error is MANIFEST_UNKNOWN if there is no
// such tag.
func (r *Registry) DeleteTag(ctx context.Context, repo, tag string) error {
	for range maxContended {
		rows, err := r.meta.Get(ctx, tagKey(repo, tag))
		if err != nil {
			return fmt.Errorf("read tag: %w", err)
		}
		d := decode[tagRow](rows[0].Attrs).Digest
		if d == "" {
			return errManifestUnknown(repo, oci.Reference{Tag: tag})
		}
		err = r.meta.Transact(ctx, "", deleteTag(repo, d, tag), Write{Key: edgeKey(repo, d, tag), Op: Delete})
		if asConflict(err) == nil {
			return wrap("delete tag", err)
		}
	}
	return fmt.Errorf("delete tag: %w", ErrContended)
}

// DeleteManifest deletes a manifest and all tags that point at it. If a client pushes a tag
// for the manifest at the same time, either the delete removes this tag too, or the push
// stores the manifest again. A delete that fails half-way leaves the manifest and some of its
// tags; a repeated delete removes them. The error is MANIFEST_UNKNOWN if the repository does
// not have the manifest.
func (r *Registry) DeleteManifest(ctx context.Context, repo string, d oci.Digest) error {
	row, err := r.liveManifest(ctx, repo, d)
	if err == nil {
		_, err = r.deleteManifest(ctx, repo, d, row)
	}
	return err
}

// liveManifest returns the row of a manifest, or the error MANIFEST_UNKNOWN.
func (r *Registry) liveManifest(ctx context.Context, repo string, d oci.Digest) (manifestRow, error) {
	rows, err := r.meta.Get(ctx, manifestKey(repo, d))
	if err != nil {
		return manifestRow{}, fmt.Errorf("read manifest: %w", err)
	}
	row := decode[manifestRow](rows[0].Attrs)
	if row.State != manifestLive {
		return manifestRow{}, errManifestUnknown(repo, oci.Reference{Digest: d})
	}
	return row, nil
}

// deleteManifest deletes a manifest whose row was read. It returns the number of tags that the
// last attempt deleted.
func (r *Registry) deleteManifest(ctx context.Context, repo string, d oci.Digest, row manifestRow) (int, error) {
	for try := range maxContended {
		if try > 0 { // the tags must be read after the version that their delete requires
			var err error
			if row, err = r.liveManifest(ctx, repo, d); err != nil {
				return 0, err
			}
		}
		tags, err := r.edges(ctx, repo, d)
		if err == nil && try > 0 {
			// A tag with an edge may point elsewhere, which made the first attempt conflict.
			tags, err = r.pointing(ctx, repo, d, tags)
		}
		if err != nil {
			return 0, err
		}
		deleted, err := r.deleteLive(ctx, repo, d, row, tags)
		if deleted || err != nil {
			return len(tags), err
		}
	}
	return 0, fmt.Errorf("delete manifest: %w", ErrContended)
}

// edges returns the tags that have an edge from a manifest. Some may now point elsewhere.
func (r *Registry) edges(ctx context.Context, repo string, d oci.Digest) ([]string, error) {
	var tags []string
	for row, err := range r.queryAll(ctx, Query{PK: edgePartition(repo, d), Limit: MaxPage}) {
		if err != nil {
			return nil, fmt.Errorf("read tags of manifest: %w", err)
		}
		tags = append(tags, row.Key.SK)
	}
	return tags, nil
}

// pointing returns those of the tags that still point at the manifest.
func (r *Registry) pointing(ctx context.Context, repo string, d oci.Digest, tags []string) ([]string, error) {
	keys := make([]Key, len(tags))
	for i, tag := range tags {
		keys[i] = tagKey(repo, tag)
	}
	rows, err := r.meta.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("read tags of manifest: %w", err)
	}
	var there []string
	for i, tag := range tags {
		if decode[tagRow](rows[i].Attrs).Digest == d {
			there = append(there, tag)
		}
	}
	return there, nil
}

// deleteLive deletes the tags, and deletes the manifest in one transaction with the last
// lastTags of them. So every existing tag resolves, even if deleteLive stops half-way. Every
// transaction requires the manifest's version, so that none is applied after a later push.
// deleted is false without an error if a tag points elsewhere by now, or if the manifest was
// pushed again.
func (r *Registry) deleteLive(ctx context.Context, repo string, d oci.Digest, row manifestRow, tags []string) (deleted bool, err error) {
	for len(tags) > lastTags {
		n := min(len(tags), earlierTags)
		writes := append(deleteTags(repo, d, tags[:n]), Write{Key: manifestKey(repo, d), Op: Check, If: unchanged(row.Version)})
		if applied, err := r.transactUnlessConflict(ctx, writes); !applied {
			return false, wrap("delete tags of manifest", err)
		}
		tags = tags[n:]
	}
	writes := append(r.deleteWrites(repo, d, row), deleteTags(repo, d, tags)...)
	if len(writes)+len(tags) <= MaxTransact {
		// A leftover edge does no harm, but can cost a later delete one more attempt.
		for _, tag := range tags {
			writes = append(writes, Write{Key: edgeKey(repo, d, tag), Op: Delete})
		}
	}
	if applied, err := r.transactUnlessConflict(ctx, writes); !applied {
		return false, wrap("delete manifest", err)
	}
	if row.Key != "" {
		r.cleanUp("manifest bytes", row.Key, r.blobs.Delete(ctx, row.Key))
	}
	return true, nil
}

// transactUnlessConflict applies the writes and reports whether it did. It does not return a
// conflict as an error.
func (r *Registry) transactUnlessConflict(ctx context.Context, writes []Write) (applied bool, err error) {
	err = r.meta.Transact(ctx, "", writes...)
	if asConflict(err) != nil {
		return false, nil
	}
	return err == nil, err
}

// deleteWrites returns the writes that delete a manifest, without its tags, and queue a
// review of its references.
func (r *Registry) deleteWrites(repo string, d oci.Digest, row manifestRow) []Write {
	writes := []Write{
		{Key: manifestKey(repo, d), Op: Delete, If: unchanged(row.Version)},
		{Key: contentKey(repo, d), Op: Delete},
		r.review(repo, reviewRow{Kind: reviewManifest, Repo: repo, Digest: d, Refs: row.Refs}),
	}
	if row.Key != "" {
		writes = append(writes, Write{Key: objectKey(row.Key), Op: Put, Attrs: encode(r.deadRow(objectRow{}))}, r.expiryWrite(row.Key, r.now()))
	}
	if row.Subject != "" {
		at := Key{referrerPartition(repo, row.Subject), row.Referrer}
		writes = append(writes, Write{Key: at, Op: Delete})
	}
	return writes
}

// deleteTags returns the writes that delete the tags, if they still point at the manifest.
func deleteTags(repo string, d oci.Digest, tags []string) []Write {
	writes := make([]Write, len(tags))
	for i, tag := range tags {
		writes[i] = deleteTag(repo, d, tag)
	}
	return writes
}

func deleteTag(repo string, d oci.Digest, tag string) Write {
	return Write{Key: tagKey(repo, tag), Op: Delete, If: Equal(attrDigest, string(d))}
}
