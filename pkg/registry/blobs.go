package registry

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// Blob is a blob of a repository.
type Blob struct {
	Digest oci.Digest
	Size   int64
	key    string
}

// FindBlob returns a blob of the repository, or the error BLOB_UNKNOWN. If renew is set, it
// renews an expired lease of the link, because the client may skip an upload if the blob
// exists.
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

// BlobURL returns a presigned URL that serves the blob's bytes for method, GET or HEAD. It
// returns "" if the store has no URLs; then OpenBlob reads the bytes.
func (r *Registry) BlobURL(ctx context.Context, method string, b Blob) (string, error) {
	url, err := r.blobs.Presign(ctx, method, b.key)
	return url, wrap("presign", err)
}

// OpenBlob returns a reader of length bytes of a blob from offset, or to the end if length
// is negative.
func (r *Registry) OpenBlob(ctx context.Context, b Blob, offset, length int64) (io.ReadCloser, error) {
	content, err := r.blobs.Open(ctx, b.key, offset, length)
	return content, wrap("open blob", err)
}

// DeleteBlob removes a blob from a repository; other repositories keep it. Garbage
// collection deletes the bytes after the last repository has removed the blob. The error is
// BLOB_UNKNOWN if the repository does not have it.
func (r *Registry) DeleteBlob(ctx context.Context, repo string, d oci.Digest) error {
	err := r.meta.Transact(ctx, "",
		Write{Key: linkKey(repo, d), Op: Delete, If: Exists()},
		r.review(string(d), reviewRow{Kind: reviewBlob, Digest: d}))
	if asConflict(err) != nil {
		return errBlobUnknown(repo, d)
	}
	return wrap("delete blob", err)
}

// firstMountSources is the number of links that a mount without from reads first, to find one of a
// repository that the caller may pull. Most callers may pull from the first one.
const firstMountSources = 100

// MountBlob links a repository to a blob of the repository from or, if from is empty, of any
// repository that readable accepts. It reports whether the blob was mounted; if not, the client
// must upload it.
func (r *Registry) MountBlob(
	ctx context.Context, repo string, d oci.Digest, from string, readable func(repo string) bool,
) (mounted bool, err error) {
	source, err := r.mountSource(ctx, d, from, readable)
	if err != nil || source.Attrs == nil {
		return false, err
	}
	// If the store has lost the object, the client uploads the bytes instead, and the upload
	// heals the blob.
	link := decode[linkRow](source.Attrs)
	intact, err := r.intact(ctx, link.Key, d, link.Size, checkSize)
	if !intact || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, d, source)
}

// mountSource returns the link to copy, or a Row with nil Attrs if readable accepts none.
func (r *Registry) mountSource(ctx context.Context, d oci.Digest, from string, readable func(repo string) bool) (Row, error) {
	if from != "" {
		if !readable(from) {
			return Row{}, nil
		}
		rows, err := r.meta.Get(ctx, linkKey(from, d))
		if err != nil {
			return Row{}, fmt.Errorf("read mount source: %w", err)
		}
		return rows[0], nil
	}
	q := Query{PK: blobPartition(d), Prefix: linkPrefix, Limit: firstMountSources}
	for page := (Page{More: true}); page.More; q.Limit = MaxPage {
		var err error
		if page, err = r.meta.Query(ctx, q); err != nil {
			return Row{}, fmt.Errorf("find mount source: %w", err)
		}
		for _, row := range page.Rows {
			if readable(strings.TrimPrefix(row.Key.SK, linkPrefix)) {
				return row, nil
			}
			q.After = row.Key.SK
		}
	}
	return Row{}, nil
}

// mountLink copies the link source to a repository. It reports false if source was deleted,
// or if the blob got another content key, since source was read.
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

// linkOffered links the repository to the offered blob if any repository has it. This is a
// mount without "from", and the same access rules apply.
func (r *Registry) linkOffered(ctx context.Context, repo string, o direct.Offer, readable func(string) bool) (linked bool, err error) {
	source, err := r.mountSource(ctx, o.Digest, "", readable)
	if err != nil || source.Attrs == nil {
		return false, err
	}
	link := decode[linkRow](source.Attrs)
	if link.Size != o.Size {
		return false, oci.NewError(oci.SizeInvalid, "the blob %s has %d bytes, not %d", o.Digest, link.Size, o.Size)
	}
	// See MountBlob. Stores with direct uploads return the checksum without reading the bytes.
	if intact, err := r.intact(ctx, link.Key, o.Digest, o.Size, checkSum); !intact || err != nil {
		return false, err
	}
	return r.mountLink(ctx, repo, o.Digest, source)
}
