package registry

import (
	"context"
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

// DeleteBlob takes a blob from a repository. Other repositories keep theirs; the
// bytes go when the sweep finds that nobody has a link. The error is BLOB_UNKNOWN.
func (r *Registry) DeleteBlob(ctx context.Context, repo string, d oci.Digest) error {
	err := r.meta.Transact(ctx, "",
		Write{Key: linkKey(repo, d), Op: Delete, If: Exists()},
		r.review(string(d), reviewRow{Kind: reviewBlob, Digest: d}))
	if asConflict(err) != nil {
		return errBlobUnknown(repo, d)
	}
	return wrap("delete blob", err)
}
