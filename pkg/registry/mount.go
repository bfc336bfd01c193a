package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// MountBlob gives a repository a blob that another one has; from may be empty,
// then any repository will do. It reports whether the blob could be had.
func (r *Registry) MountBlob(ctx context.Context, repo string, d oci.Digest, from string) (mounted bool, err error) {
	source, err := r.mountSource(ctx, d, from)
	if err != nil || source.Attrs == nil {
		return false, err
	}
	// The client has the bytes. If the store lost them, it uploads them, which heals.
	there, err := r.there(ctx, source.Attrs.text(attrKey), d, source.Attrs.number(attrSize))
	if !there || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, d, source)
}

// mountSource finds the link to copy; a Row with nil Attrs where there is none.
func (r *Registry) mountSource(ctx context.Context, d oci.Digest, from string) (Row, error) {
	if from != "" {
		rows, err := r.meta.Get(ctx, linkKey(from, d))
		if err != nil {
			return Row{}, fmt.Errorf("read mount source: %w", err)
		}
		return rows[0], nil
	}
	page, err := r.meta.Query(ctx, Query{PK: blobPartition(d), Prefix: linkPrefix, Limit: 1})
	if err != nil {
		return Row{}, fmt.Errorf("find mount source: %w", err)
	}
	if len(page.Rows) == 0 {
		return Row{}, nil
	}
	return page.Rows[0], nil
}

// mountLink copies a link to a repository.
func (r *Registry) mountLink(ctx context.Context, repo string, d oci.Digest, source Row) (mounted bool, err error) {
	if source.Key == linkKey(repo, d) {
		return r.touch(ctx, source.Key)
	}
	key := source.Attrs.text(attrKey)
	err = r.meta.Transact(ctx, "", append(
		r.place(commit{repo: repo, digest: d, size: source.Attrs.number(attrSize)}, key, Equal(attrKey, key)),
		Write{Key: source.Key, Op: Check, If: Exists()})...)
	if asConflict(err) != nil {
		return false, nil // the source has just gone
	}
	return err == nil, wrap("mount blob", err)
}

// linkOffered gives the repository a blob that another one has. That whoever has no
// more than a digest learns of content, or gets at it, is what a mount is for: the
// same rules hold.
func (r *Registry) linkOffered(ctx context.Context, repo string, o direct.Offer) (linked bool, err error) {
	source, err := r.mountSource(ctx, o.Digest, "")
	if err != nil || source.Attrs == nil {
		return false, err
	}
	if size := source.Attrs.number(attrSize); size != o.Size {
		return false, oci.NewError(oci.SizeInvalid, "the blob %s has %d bytes, not %d", o.Digest, size, o.Size)
	}
	// As with a mount; the stores that take direct uploads tell the sum for free.
	if sound, err := r.sound(ctx, source.Attrs.text(attrKey), o.Digest, o.Size); !sound || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, o.Digest, source)
}
