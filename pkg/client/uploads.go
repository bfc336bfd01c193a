package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Upload is an open upload of the spec ("Pushing blobs"), for one goroutine.
type Upload struct {
	Offset int64 // bytes that the registry has
	// MinChunk and MaxChunk are the limits of the registry for the size of a chunk in bytes,
	// except the last one; 0: no limit.
	MinChunk, MaxChunk int64

	next *url.URL // of the next request; a secret
}

// Errors of chunked uploads.
var (
	// ErrNoChunks means that the registry does not support chunks.
	ErrNoChunks = errors.New("the registry does not support chunks")
	// ErrUploadLost means that the registry no longer knows the state of an upload.
	ErrUploadLost = errors.New("the registry has lost the upload")
)

// StartUpload opens an upload (spec, end-4a) of a blob whose digest has the algorithm.
func (r *Repository) StartUpload(ctx context.Context, a oci.Algorithm) (*Upload, error) {
	k := r.newRequest(http.MethodPost, route.Request{Kind: route.UploadStart}, "pull", "push")
	if a != oci.SHA256 {
		k = k.withQuery("digest-algorithm", string(a))
	}
	resp, err := r.client.do(ctx, k)
	if err != nil {
		return nil, err
	}
	drain(resp)
	return r.newUpload(resp)
}

// newUpload returns the upload that an answer opens.
func (r *Repository) newUpload(resp *http.Response) (*Upload, error) {
	next, err := r.client.location(resp)
	if err != nil {
		return nil, err
	}
	u := &Upload{next: next}
	u.MinChunk, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64) // 0 without the header
	u.MaxChunk, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Max-Length"), 10, 64)
	return u, nil
}

// uploadRequest returns the next request of an upload.
func (r *Repository) uploadRequest(method string, u *Upload) request {
	k := r.newRequest(method, route.Request{Kind: route.Upload}, "pull", "push")
	k.url = u.next
	return k
}

// AppendUpload sends a chunk at u.Offset (spec, end-5). After a temporary error it asks how
// many of the bytes arrived, and sends the others. The error is ErrNoChunks or ErrUploadLost,
// among others.
func (r *Repository) AppendUpload(ctx context.Context, u *Upload, chunk []byte) error {
	start := u.Offset
	for attempt := 1; u.Offset < start+int64(len(chunk)); attempt++ {
		before := u.Offset
		err := r.patch(ctx, u, chunk[before-start:])
		if err != nil {
			if err = r.recoverChunk(ctx, u, err, attempt); err != nil {
				return err
			}
		}
		if u.Offset < start || u.Offset > start+int64(len(chunk)) {
			return fmt.Errorf("%w: it reports %d bytes, although %d to %d were sent", ErrUploadLost, u.Offset, start, start+int64(len(chunk)))
		}
		if u.Offset > before {
			attempt = 0
		} else if err == nil && attempt >= r.client.opts.Attempts {
			return fmt.Errorf("%w: it accepts chunks without storing them", ErrNoChunks)
		}
	}
	return nil
}

// patch sends a chunk once.
func (r *Repository) patch(ctx context.Context, u *Upload, chunk []byte) error {
	k := r.uploadRequest(http.MethodPatch, u)
	k.noRetry = true
	k.header.Set("Content-Type", "application/octet-stream")
	k.header.Set("Content-Range", fmt.Sprintf("%d-%d", u.Offset, u.Offset+int64(len(chunk))-1))
	k.body, k.size = bytesBody(chunk), int64(len(chunk))
	resp, err := r.client.do(ctx, k)
	if err != nil {
		return err
	}
	drain(resp)
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%w: it answers a chunk with %d, as if the upload were complete", ErrNoChunks, resp.StatusCode)
	}
	u.Offset += int64(len(chunk))
	return r.update(u, resp)
}

// update reads location and offset of an upload from an answer. The range 0-0 means 0 bytes:
// chunks are larger than one.
func (r *Repository) update(u *Upload, resp *http.Response) error {
	if resp.Header.Get("Location") != "" {
		next, err := r.client.location(resp)
		if err != nil {
			return err
		}
		u.next = next
	}
	spec := strings.TrimPrefix(resp.Header.Get("Range"), "bytes=")
	if spec == "" {
		return nil
	}
	first, last, found := strings.Cut(spec, "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if !found || first != "0" || err != nil {
		return fmt.Errorf("%w: it reports the range %.40q", ErrNoChunks, spec)
	}
	if u.Offset = end + 1; end <= 0 {
		u.Offset = 0
	}
	return nil
}

// recoverChunk synchronizes the offset of an upload after a chunk that failed. It returns an
// error if the upload cannot continue.
func (r *Repository) recoverChunk(ctx context.Context, u *Upload, err error, attempt int) error {
	wait, again := r.client.retryWait(ctx, err, attempt)
	switch {
	case errors.Is(err, ErrNoChunks), ctx.Err() != nil:
		return err
	case attempt < r.client.opts.Attempts && (hasStatus(err, http.StatusRequestedRangeNotSatisfiable) || is(err, oci.BlobUploadInvalid)):
		// The answer to an earlier attempt was lost, or the registry still works on it.
		wait = backoff(err, attempt)
	case is(err, oci.BlobUploadUnknown):
		return fmt.Errorf("%w: %w", ErrUploadLost, err)
	case hasStatus(err, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusUnsupportedMediaType, http.StatusNotImplemented) && !is(err, oci.DigestInvalid):
		return fmt.Errorf("%w: %w", ErrNoChunks, err)
	case !again:
		return err
	}
	if err := r.client.opts.Sleep(ctx, wait); err != nil {
		return err
	}
	if statusErr := r.UploadStatus(ctx, u); statusErr != nil {
		if ctx.Err() != nil {
			return statusErr
		}
		return fmt.Errorf("%w: %w", ErrUploadLost, errors.Join(err, statusErr))
	}
	return nil
}

// UploadStatus sets u.Offset to the bytes that the registry has (spec, end-13).
func (r *Repository) UploadStatus(ctx context.Context, u *Upload) error {
	resp, err := r.client.do(ctx, r.uploadRequest(http.MethodGet, u))
	if err != nil {
		return err
	}
	drain(resp)
	if resp.Header.Get("Range") == "" {
		return errors.New("the registry reports the state of the upload without a Range")
	}
	return r.update(u, resp)
}

// FinishUpload completes an upload as a blob (spec, end-6). The error is ErrContent if the
// registry finds that the bytes do not match the digest.
func (r *Repository) FinishUpload(ctx context.Context, u *Upload, d oci.Digest) error {
	k := r.uploadRequest(http.MethodPut, u).withQuery("digest", string(d))
	k.header.Set("Content-Type", "application/octet-stream")
	for attempt := 1; ; attempt++ {
		err := r.finished(ctx, d, r.client.store(ctx, k))
		// The registry may still work on a chunk whose answer was lost.
		if !is(err, oci.BlobUploadInvalid) || attempt >= r.client.opts.Attempts {
			return err
		}
		if err := r.client.opts.Sleep(ctx, backoff(err, attempt)); err != nil {
			return err
		}
	}
}

// finished interprets the error of a completion. A 404 to a retry is a success if the blob
// exists: the answer to the first attempt was lost.
func (r *Repository) finished(ctx context.Context, d oci.Digest, err error) error {
	if isRepeated404(err) {
		if _, headErr := r.blobSize(ctx, d, "pull", "push"); headErr == nil {
			return nil
		}
	}
	return contentError(err)
}

// contentError adds ErrContent to an error of the registry about digest or size.
func contentError(err error) error {
	if is(err, oci.DigestInvalid) || is(err, oci.SizeInvalid) && !hasStatus(err, http.StatusRequestEntityTooLarge) {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	return err
}

// abandon cancels an upload (spec, end-14), also if the context was cancelled. If that fails,
// as in registries without this request, the upload expires.
func (r *Repository) abandon(ctx context.Context, u *Upload) {
	ctx, stop := tidyContext(ctx)
	defer stop()
	k := r.uploadRequest(http.MethodDelete, u)
	k.noRetry = true
	_ = finish(r.client.do(ctx, k))
}

// tidyContext returns a context for cleaning up after ctx, with a short timeout.
func tidyContext(ctx context.Context) (context.Context, context.CancelFunc) {
	const limit = 10 * time.Second
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
