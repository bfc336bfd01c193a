package registry

import (
	"context"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// Blob is a blob of a repository.
type Blob struct {
	Digest oci.Digest
	Size   int64
	key    string
}

// FindBlob looks a blob up. With renew it renews the blob's lease if that has expired, for
// a client that may skip an upload because of the answer. The error is BLOB_UNKNOWN.
func (r *Registry) FindBlob(ctx context.Context, repo string, d oci.Digest, renew bool) (Blob, error) {
	rows, err := r.meta.Get(ctx, linkKey(repo, d))
	if err != nil {
		return Blob{}, fmt.Errorf("read blob link: %w", err)
	}
	link, exists := decode[linkRow](rows[0].Attrs), rows[0].Attrs != nil
	if exists && renew && r.mustRenew(link) {
		if exists, err = r.renewLease(ctx, rows[0].Key); err != nil {
			return Blob{}, err
		}
	}
	if !exists {
		return Blob{}, errBlobUnknown(repo, d)
	}
	return Blob{Digest: d, Size: link.Size, key: link.Key}, nil
}

// BlobURL returns a URL that serves the blob's bytes for GET or HEAD, or "" if they must be
// read with OpenBlob.
func (r *Registry) BlobURL(ctx context.Context, method string, b Blob) (string, error) {
	url, err := r.blobs.Presign(ctx, method, b.key)
	return url, wrap("presign", err)
}

// OpenBlob reads length bytes of a blob from offset; a negative length means to the end.
func (r *Registry) OpenBlob(ctx context.Context, b Blob, offset, length int64) (io.ReadCloser, error) {
	content, err := r.blobs.Open(ctx, b.key, offset, length)
	return content, wrap("open blob", err)
}

// DeleteBlob removes a blob from a repository. Other repositories keep it; the sweep
// deletes the bytes once no repository has a link. The error is BLOB_UNKNOWN.
func (r *Registry) DeleteBlob(ctx context.Context, repo string, d oci.Digest) error {
	err := r.meta.Transact(ctx, "",
		Write{Key: linkKey(repo, d), Op: Delete, If: Exists()},
		r.review(string(d), reviewRow{Kind: reviewBlob, Digest: d}))
	if asConflict(err) != nil {
		return errBlobUnknown(repo, d)
	}
	return wrap("delete blob", err)
}

// MountBlob gives a repository a blob that another one has; if from is empty, any
// repository will do. It reports whether the blob could be mounted.
func (r *Registry) MountBlob(ctx context.Context, repo string, d oci.Digest, from string) (mounted bool, err error) {
	source, err := r.mountSource(ctx, d, from)
	if err != nil || source.Attrs == nil {
		return false, err
	}
	// The client has the bytes. If the store lost them, it uploads them, which heals.
	link := decode[linkRow](source.Attrs)
	intact, err := r.intact(ctx, link.Key, d, link.Size, checkSize)
	if !intact || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, d, source)
}

// mountSource finds the link to copy; a Row with nil Attrs if there is none.
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

// mountLink copies a link to a repository, unless the link or its blob has changed
// meanwhile.
func (r *Registry) mountLink(ctx context.Context, repo string, d oci.Digest, source Row) (mounted bool, err error) {
	if source.Key == linkKey(repo, d) {
		return r.renewLease(ctx, source.Key)
	}
	link := decode[linkRow](source.Attrs)
	err = r.meta.Transact(ctx, "", append(
		r.linkWrites(newBlob{repo: repo, digest: d, size: link.Size}, link.Key, Equal(attrKey, link.Key)),
		Write{Key: source.Key, Op: Check, If: Exists()})...)
	if asConflict(err) != nil {
		return false, nil
	}
	return err == nil, wrap("mount blob", err)
}

// linkOffered links the repository to the offered blob if any repository has it. An offer
// links an existing blob exactly as a cross-repository mount does, so the same access
// rules apply.
func (r *Registry) linkOffered(ctx context.Context, repo string, o direct.Offer) (linked bool, err error) {
	source, err := r.mountSource(ctx, o.Digest, "")
	if err != nil || source.Attrs == nil {
		return false, err
	}
	link := decode[linkRow](source.Attrs)
	if link.Size != o.Size {
		return false, oci.NewError(oci.SizeInvalid, "the blob %s has %d bytes, not %d", o.Digest, link.Size, o.Size)
	}
	// As in MountBlob; stores that take direct uploads report the checksum for free.
	if intact, err := r.intact(ctx, link.Key, o.Digest, o.Size, checkSum); !intact || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, o.Digest, source)
}
