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
	// smallBlob is the size in bytes up to which a blob goes in one request: it fits
	// through a Lambda function.
	smallBlob = 4 << 20
	// askFirst is the size in bytes from which a small blob is asked for before it is
	// sent: below, asking costs as much as sending.
	askFirst = 64 << 10
)

// Blob is content to push.
type Blob struct {
	Digest oci.Digest
	Size   int64 // in bytes
	// Open returns the bytes from offset to the end. It is called for each try, and by
	// several goroutines where the blob goes in parts. An *os.File is sent by the kernel.
	Open func(offset int64) (io.ReadCloser, error)
	// MountFrom are repositories of the registry that may have the blob.
	MountFrom []string
	// Parts asks for a direct upload in parts, which goes on where it stopped.
	Parts bool
	// Progress hears of bytes on their way; delta is negative when a try failed and its
	// bytes are sent again. It is called by several goroutines. May be nil.
	Progress func(delta int64)
}

// body opens the bytes from offset on.
func (b Blob) body(offset int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return b.Open(offset) }
}

// PushMethod says in which way a blob came to be in its repository.
type PushMethod string

// The ways of a blob.
const (
	Existed PushMethod = "existed" // it was there
	Mounted PushMethod = "mounted" // taken over from another repository of the registry
	Direct  PushMethod = "direct"  // sent to the registry's store
	Chunked PushMethod = "chunked" // sent in chunks
	Whole   PushMethod = "whole"   // sent in one request
)

// PushResult is what PushBlob did.
type PushResult struct {
	Method  PushMethod
	Sent int64 // bytes of content that were sent and kept
}

// PushBlob sees to it that the repository has a blob, by the cheapest way that the
// registry knows: mounted from MountFrom; else a small one in one request, others straight
// to the store, in chunks, or as a whole, in this order. ErrContent: the bytes are not what the digest
// says; ErrSource: they could not be read.
func (r *Repository) PushBlob(ctx context.Context, b Blob) (PushResult, error) {
	if _, err := oci.ParseDigest(string(b.Digest)); err != nil {
		return PushResult{}, err
	}
	if b.Size < 0 || b.Open == nil {
		return PushResult{}, errors.New("a blob to push has a size and a way to open it")
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
		r.client.opts.Log.LogAttrs(ctx, slog.LevelInfo, "chunks failed, the whole is sent", slog.String("error", err.Error()))
		return Whole, r.pushWhole(ctx, b)
	}
	return how, err
}

// mountAny mounts a blob from the first repository that has it. A mount that fails is no
// error: the bytes are sent then.
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

// exists asks whether the blob is there. A blob of another size is not that blob.
func (r *Repository) exists(ctx context.Context, b Blob) (bool, error) {
	size, err := r.blobSize(ctx, b.Digest, "pull", "push")
	switch {
	case err == nil && size != b.Size:
		return false, fmt.Errorf("%w: the registry has it with %d bytes, not %d", ErrContent, size, b.Size)
	case err == nil:
		return true, nil
	case is(err, oci.BlobUnknown), is(err, oci.NameUnknown), hasStatus(err, http.StatusNotFound):
		return false, nil
	case ctx.Err() != nil:
		return false, err
	}
	// Whether the blob may be pushed is for the upload to find out.
	return false, nil
}

// pushSmall sends a blob with the request that starts the upload (spec, end-4b), or, to
// registries that do not know that, with the one that ends it.
func (r *Repository) pushSmall(ctx context.Context, b Blob) (PushMethod, error) {
	if b.Size >= askFirst {
		if exists, err := r.exists(ctx, b); exists || err != nil {
			return Existed, err
		}
	}
	if r.client.noSinglePost.Load() {
		return Whole, r.pushWhole(ctx, b)
	}
	k := r.newRequest(http.MethodPost, route.Request{Kind: route.UploadStart}, "pull", "push").withQuery("digest", string(b.Digest))
	k.header.Set("Content-Type", "application/octet-stream")
	var taken atomic.Int64 // of the body
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
	b.Progress(-taken.Load()) // the registry threw the body away, perhaps before it had all
	u, err := r.newUpload(resp)
	if err != nil {
		return "", err
	}
	if err := r.putWhole(ctx, u, b); err == nil || !temporary(err) {
		return Whole, err
	}
	return Whole, r.pushWhole(ctx, b)
}

// putWhole ends an upload with all of its bytes, once: what a second request would find
// is not known.
func (r *Repository) putWhole(ctx context.Context, u *Upload, b Blob) error {
	k := r.uploadRequest(http.MethodPut, u).withQuery("digest", string(b.Digest))
	k.noRetry = true
	k.header.Set("Content-Type", "application/octet-stream")
	k.body, k.size, k.progress = b.body(0), b.Size, b.Progress
	return contentError(r.client.store(ctx, k))
}

// pushWhole sends a blob in one request, with an upload of its own for each try.
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
		wait, again := r.client.retryWait(ctx, err, attempt)
		if !again {
			return err
		}
		if err := r.client.opts.Sleep(ctx, wait); err != nil {
			return err
		}
		if there, _ := r.exists(ctx, b); there { // the answer was lost
			b.Progress(b.Size)
			return nil
		}
	}
}
