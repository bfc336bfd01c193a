package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
)

// Blob is a blob of a repository.
type Blob struct {
	Digest oci.Digest
	Size   int64
	key    string
}

// FindBlob looks a blob up. A caller who may push can be about to skip an upload
// because of the answer; for it the blob's lease is renewed where it is old. The
// error is BLOB_UNKNOWN.
func (r *Registry) FindBlob(ctx context.Context, repo string, d oci.Digest, mayPush bool) (Blob, error) {
	rows, err := r.get(ctx, linkKey(repo, d))
	if err != nil {
		return Blob{}, fmt.Errorf("read blob link: %w", err)
	}
	link := rows[0]
	if link.Attrs == nil {
		return Blob{}, errBlobUnknown(repo, d)
	}
	if mayPush && r.stale(link.Attrs) {
		there, err := r.touch(ctx, link.Key)
		if err != nil {
			return Blob{}, err
		}
		if !there {
			return Blob{}, errBlobUnknown(repo, d)
		}
	}
	return Blob{Digest: d, Size: link.Attrs.number(attrSize), key: link.Attrs.text(attrKey)}, nil
}

func errBlobUnknown(repo string, d oci.Digest) error {
	return oci.NewError(oci.BlobUnknown, "repository %s has no blob %s", repo, d)
}

// stale reports whether a link must be touched before anyone may rely on it.
func (r *Registry) stale(link Attrs) bool {
	return link.text(attrState) != stateLive || r.old(link)
}

// old reports whether a row was touched so long ago that its lease needs renewal.
func (r *Registry) old(row Attrs) bool {
	return row.number(attrTouched) < r.now()-r.opts.Grace.Milliseconds()/2
}

// touch renews the lease of a link, if it is still there.
func (r *Registry) touch(ctx context.Context, link Key) (there bool, err error) {
	_, err = r.update(ctx, Write{Key: link, Op: Set, If: Exists(), Attrs: Attrs{attrState: stateLive, attrTouched: r.now()}})
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return false, nil
	}
	return err == nil, wrap("touch blob link", err)
}

// BlobURL returns where the blob's bytes can be had with method GET or HEAD, or
// "" where they must be read with OpenBlob.
func (r *Registry) BlobURL(ctx context.Context, method string, b Blob) (string, error) {
	url, err := r.blobs.Presign(ctx, method, b.key)
	return url, wrap("presign", err)
}

// OpenBlob reads length bytes of a blob from offset; below 0 means to the end.
func (r *Registry) OpenBlob(ctx context.Context, b Blob, offset, length int64) (io.ReadCloser, error) {
	content, err := r.blobs.Open(ctx, b.key, offset, length)
	return content, wrap("open blob", err)
}

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

// mountLink copies a link to a repository.
func (r *Registry) mountLink(ctx context.Context, repo string, d oci.Digest, source Row) (mounted bool, err error) {
	if source.Key == linkKey(repo, d) {
		return r.touch(ctx, source.Key)
	}
	key := source.Attrs.text(attrKey)
	err = r.transact(ctx, append(
		r.place(commit{repo: repo, digest: d, size: source.Attrs.number(attrSize)}, key, Equal(attrKey, key)),
		Write{Key: source.Key, Op: Check, If: Exists()})...)
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return false, nil // the source has just gone
	}
	return err == nil, wrap("mount blob", err)
}

// mountSource finds the link to copy; a Row with nil Attrs where there is none.
func (r *Registry) mountSource(ctx context.Context, d oci.Digest, from string) (Row, error) {
	if from != "" {
		rows, err := r.get(ctx, linkKey(from, d))
		if err != nil {
			return Row{}, fmt.Errorf("read mount source: %w", err)
		}
		return rows[0], nil
	}
	page, err := r.query(ctx, Query{PK: blobPartition(d), Prefix: linkPrefix, Limit: 1})
	if err != nil {
		return Row{}, fmt.Errorf("find mount source: %w", err)
	}
	if len(page.Rows) == 0 {
		return Row{}, nil
	}
	return page.Rows[0], nil
}

// DeleteBlob takes a blob from a repository. Other repositories keep theirs; the
// bytes go when the sweep finds that nobody has a link. The error is BLOB_UNKNOWN.
func (r *Registry) DeleteBlob(ctx context.Context, repo string, d oci.Digest) error {
	err := r.transact(ctx,
		Write{Key: linkKey(repo, d), Op: Delete, If: Exists()},
		r.review(reviewBlob, string(d), Attrs{attrDigest: string(d)}))
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return errBlobUnknown(repo, d)
	}
	return wrap("delete blob", err)
}
