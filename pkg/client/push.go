package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

const (
	// smallBlob is the size in bytes up to which a blob is sent in one request: it fits
	// through a Lambda function.
	smallBlob = 4 << 20
	// headThreshold is the size in bytes from which a small blob is looked up before it is
	// sent: below, the lookup costs as much as the upload.
	headThreshold = 64 << 10
)

// Blob is content to push.
type Blob struct {
	Digest oci.Digest
	Size   int64 // in bytes
	// Open returns the bytes from offset to the end. It is called for each attempt, and
	// concurrently if the blob is sent in parts. The kernel sends an *os.File itself.
	Open func(offset int64) (io.ReadCloser, error)
	// MountFrom lists repositories of the registry that may have the blob.
	MountFrom []string
	// Parts requests a direct upload in parts, which can be resumed.
	Parts bool
	// Progress, if non-nil, is called with the bytes sent, with a negative delta if an
	// attempt failed and its bytes are sent again. It is called concurrently.
	Progress func(delta int64)
}

// body returns a function that opens the bytes from offset to the end.
func (b Blob) body(offset int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return b.Open(offset) }
}

// PushMethod is how a blob was put into its repository.
type PushMethod string

// The methods of PushBlob.
const (
	Existed PushMethod = "existed" // the repository had it
	Mounted PushMethod = "mounted" // from another repository of the registry
	Direct  PushMethod = "direct"  // sent to the registry's store
	Chunked PushMethod = "chunked" // sent in chunks
	Whole   PushMethod = "whole"   // sent in one request
)

// PushResult is the result of PushBlob.
type PushResult struct {
	Method PushMethod
	Sent   int64 // bytes of content that were sent and kept
}

// PushBlob puts a blob into the repository with the cheapest method that the registry
// supports: a mount from MountFrom; for a small blob one request; for others a direct upload
// to the store, chunks, or one request, in this order. The error is ErrContent if the bytes
// do not match the digest, ErrSource if they could not be read, among others.
func (r *Repository) PushBlob(ctx context.Context, b Blob) (PushResult, error) {
	if _, err := oci.ParseDigest(string(b.Digest)); err != nil {
		return PushResult{}, err
	}
	if b.Size < 0 || b.Open == nil {
		return PushResult{}, errors.New("Blob needs a Size and Open")
	}
	var sent atomic.Int64
	report := b.Progress
	b.Progress = func(delta int64) {
		sent.Add(delta)
		if report != nil {
			report(delta)
		}
	}
	how, err := r.push(ctx, b)
	if err != nil {
		return PushResult{}, fmt.Errorf("push to %s: %w", r, err)
	}
	return PushResult{Method: how, Sent: sent.Load()}, nil
}

func (r *Repository) push(ctx context.Context, b Blob) (PushMethod, error) {
	if mounted, err := r.mountAny(ctx, b); mounted || err != nil {
		return Mounted, err
	}
	if b.Size <= smallBlob && !b.Parts {
		return r.pushSmall(ctx, b)
	}
	if !r.client.noDirect.Load() {
		how, err := r.pushDirect(ctx, b)
		if !errors.Is(err, ErrNotOffered) {
			return how, err
		}
	}
	if exists, err := r.exists(ctx, b); exists || err != nil {
		return Existed, err
	}
	how, err := r.pushChunks(ctx, b)
	if errors.Is(err, ErrNoChunks) {
		r.client.opts.Log.LogAttrs(ctx, slog.LevelInfo, "chunked upload failed, trying one request", slog.String("error", err.Error()))
		return Whole, r.pushWhole(ctx, b)
	}
	return how, err
}

// mountAny mounts a blob from the first repository that has it. A failed mount is not an
// error: the bytes are sent instead.
func (r *Repository) mountAny(ctx context.Context, b Blob) (mounted bool, err error) {
	for _, from := range b.MountFrom {
		mounted, err := r.Mount(ctx, b.Digest, from)
		if mounted {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, err
		}
		if err != nil { // no permission to pull there, for example
			r.client.opts.Log.LogAttrs(ctx, slog.LevelInfo, "mount failed",
				slog.String("from", from), slog.String("error", err.Error()))
		}
	}
	return false, nil
}

// exists reports whether the repository has the blob. The error is ErrContent if its size
// differs.
func (r *Repository) exists(ctx context.Context, b Blob) (bool, error) {
	size, err := r.blobSize(ctx, b.Digest, "pull", "push")
	switch {
	case err == nil && size != b.Size:
		return false, fmt.Errorf("%w: the registry has it with %d bytes, not %d", ErrContent, size, b.Size)
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, err
	}
	return false, nil // after any other error too, the upload shows whether the blob can be pushed
}

// pushSmall sends a blob with the request that starts the upload (spec, end-4b) or, if the
// registry does not support that, with the request that completes it.
func (r *Repository) pushSmall(ctx context.Context, b Blob) (PushMethod, error) {
	if b.Size >= headThreshold {
		if exists, err := r.exists(ctx, b); exists || err != nil {
			return Existed, err
		}
	}
	if r.client.noSinglePost.Load() {
		return Whole, r.pushWhole(ctx, b)
	}
	k := r.newRequest(http.MethodPost, route.Request{Kind: route.UploadStart}, "pull", "push").withQuery("digest", string(b.Digest))
	k.header.Set("Content-Type", "application/octet-stream")
	var taken atomic.Int64
	k.body, k.size, k.progress = b.body(0), b.Size, func(delta int64) {
		taken.Add(delta)
		b.Progress(delta)
	}
	resp, err := r.client.do(ctx, k)
	switch {
	case err == nil:
		drain(resp)
	case hasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusUnsupportedMediaType, http.StatusNotImplemented),
		hasStatus(err, http.StatusBadRequest) && !is(err, oci.DigestInvalid) && !is(err, oci.SizeInvalid) && !is(err, oci.NameInvalid):
		return Whole, r.pushWhole(ctx, b)
	default:
		return "", contentError(err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return Whole, stored(resp, k)
	}
	r.client.noSinglePost.Store(true)
	b.Progress(-taken.Load()) // the registry ignored the body, perhaps before it had all of it
	u, err := r.newUpload(resp)
	if err != nil {
		return "", err
	}
	if err := r.putWhole(ctx, u, b); err == nil || !temporary(err) {
		return Whole, err
	}
	return Whole, r.pushWhole(ctx, b)
}

// putWhole completes an upload with all of its bytes. It does not retry: after a failure the
// state of the upload is unknown.
func (r *Repository) putWhole(ctx context.Context, u *Upload, b Blob) error {
	k := r.uploadRequest(http.MethodPut, u).withQuery("digest", string(b.Digest))
	k.noRetry = true
	k.header.Set("Content-Type", "application/octet-stream")
	k.body, k.size, k.progress = b.body(0), b.Size, b.Progress
	return contentError(r.client.store(ctx, k))
}

// pushWhole sends a blob in one request, with a new upload for each attempt.
func (r *Repository) pushWhole(ctx context.Context, b Blob) error {
	for attempt := 1; ; attempt++ {
		u, err := r.StartUpload(ctx, b.Digest.Algorithm())
		if err != nil {
			return err
		}
		if err = r.putWhole(ctx, u, b); err == nil {
			return nil
		}
		r.abandon(ctx, u)
		if err := r.client.retry(ctx, "upload", err, attempt, slog.String("digest", string(b.Digest))); err != nil {
			return err
		}
		if there, _ := r.exists(ctx, b); there { // the answer was lost
			b.Progress(b.Size)
			return nil
		}
	}
}
