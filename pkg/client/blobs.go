package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

func (r *Repository) blobRequest(method string, d oci.Digest, actions ...string) request {
	return r.newRequest(method, route.Request{Kind: route.Blob, Digest: d}, actions...)
}

// BlobSize returns the size of a blob in bytes (spec, end-2). The error is BLOB_UNKNOWN,
// among others.
func (r *Repository) BlobSize(ctx context.Context, d oci.Digest) (int64, error) {
	return r.blobSize(ctx, d, "pull")
}

func (r *Repository) blobSize(ctx context.Context, d oci.Digest, actions ...string) (int64, error) {
	resp, err := r.client.do(ctx, r.blobRequest(http.MethodHead, d, actions...))
	switch {
	case err == nil:
		drain(resp)
		// A proxy that hides the length reports 0.
		if size := contentLength(resp.Header); size > 0 || size == 0 && isEmpty(d) {
			return size, nil
		}
	case !isType[*StoreError](err) && !hasStatus(err, http.StatusMethodNotAllowed, http.StatusNotImplemented):
		return 0, err
	}
	// The answer to a GET has the length too; its body is not read.
	if resp, err = r.client.do(ctx, r.blobRequest(http.MethodGet, d, actions...)); err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.ContentLength < 0 {
		return 0, errors.New("the registry does not report the size of the blob")
	}
	return resp.ContentLength, nil
}

// isEmpty reports whether d is the digest of zero bytes.
func isEmpty(d oci.Digest) bool {
	return d == oci.SHA256.FromBytes(nil) || d == oci.SHA512.FromBytes(nil)
}

// DeleteBlob deletes a blob from the repository (spec, end-10). The error is
// BLOB_UNKNOWN, or UNSUPPORTED, among others.
func (r *Repository) DeleteBlob(ctx context.Context, d oci.Digest) error {
	return r.client.remove(ctx, r.blobRequest(http.MethodDelete, d, "delete"))
}

// Mount links a blob of another repository of the registry (spec, end-11). A registry that
// does not have the blob there, or does not mount, opens an upload instead: Mount cancels it
// and returns false.
func (r *Repository) Mount(ctx context.Context, d oci.Digest, from string) (mounted bool, err error) {
	if err := oci.CheckName(from); err != nil {
		return false, err
	}
	k := r.newRequest(http.MethodPost, route.Request{Kind: route.UploadStart}, "pull", "push").withQuery("mount", string(d), "from", from)
	k.scopes = append(k.scopes, repositoryScope(from, "pull"))
	resp, err := r.client.do(ctx, k)
	if err != nil {
		return false, err
	}
	drain(resp)
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	if u, err := r.newUpload(resp); err == nil {
		r.abandon(ctx, u)
	}
	return false, nil
}
