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

// Upload is an upload of the spec that is under way ("Pushing blobs"). It is for one
// goroutine.
type Upload struct {
	Offset int64 // bytes that the registry has
	// MinChunk and MaxChunk are the sizes in bytes that the registry wants chunks to have,
	// the last one apart; 0: it does not say.
	MinChunk, MaxChunk int64

	next *url.URL // where the next request goes; a secret
}

// Errors of chunks that are no answers of the registry.
var (
	// ErrNoChunks: the registry answers a chunk with what makes no sense for one.
	ErrNoChunks = errors.New("the registry takes no chunks")
	// ErrUploadLost: the registry does not know (any more) what it has of an upload.
	ErrUploadLost = errors.New("the registry has lost the upload")
)

// StartUpload opens an upload (spec, end-4a). The algorithm is that of the digest that
// it will be finished with.
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

// newUpload reads the answer to the start of an upload.
func (r *Repository) newUpload(resp *http.Response) (*Upload, error) {
	next, err := r.client.location(resp)
	if err != nil {
		return nil, err
	}
	u := &Upload{next: next}
	u.MinChunk, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64) // 0: as if it were not there
	u.MaxChunk, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Max-Length"), 10, 64)
	return u, nil
}

// uploadRequest is a request to where an upload goes on.
func (r *Repository) uploadRequest(method string, u *Upload) request {
	k := r.newRequest(method, route.Request{Kind: route.Upload}, "pull", "push")
	k.url = u.next
	return k
}

// AppendUpload sends the bytes from u.Offset on (spec, end-5). After an error that may
// pass it asks how many of them arrived and sends the others. The error is ErrNoChunks or
// ErrUploadLost where the upload cannot go on that way.
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
			return fmt.Errorf("%w: it has %d bytes, %d to %d were sent", ErrUploadLost, u.Offset, start, start+int64(len(chunk)))
		}
		if u.Offset > before {
			attempt = 0
		} else if err == nil && attempt >= r.client.opts.Attempts {
			return fmt.Errorf("%w: it says yes to chunks, and stores none", ErrNoChunks)
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
		return fmt.Errorf("%w: it answers %d, which says that the upload is complete", ErrNoChunks, resp.StatusCode)
	}
	u.Offset += int64(len(chunk))
	return r.moved(u, resp)
}

// moved reads where an upload stands. 0-0 is an upload without bytes: chunks are larger.
func (r *Repository) moved(u *Upload, resp *http.Response) error {
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
		return fmt.Errorf("%w: it says that it has the bytes %.40q", ErrNoChunks, spec)
	}
	if u.Offset = end + 1; end <= 0 {
		u.Offset = 0
	}
	return nil
}

// recoverChunk asks where the upload stands after a chunk that failed, and returns the
// error where asking does not help.
func (r *Repository) recoverChunk(ctx context.Context, u *Upload, err error, attempt int) error {
	wait, again := r.client.retryWait(ctx, err, attempt)
	switch {
	case errors.Is(err, ErrNoChunks), ctx.Err() != nil:
		return err
	case attempt < r.client.opts.Attempts && (hasStatus(err, http.StatusRequestedRangeNotSatisfiable) || is(err, oci.BlobUploadInvalid)):
		// The answer to an earlier try was lost, or that try is still being worked on.
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

// UploadStatus asks how many bytes the registry has (spec, end-13), and sets u.Offset.
func (r *Repository) UploadStatus(ctx context.Context, u *Upload) error {
	resp, err := r.client.do(ctx, r.uploadRequest(http.MethodGet, u))
	if err != nil {
		return err
	}
	drain(resp)
	if resp.Header.Get("Range") == "" {
		return errors.New("the registry does not say how much it has of the upload: no Range")
	}
	return r.moved(u, resp)
}

// FinishUpload makes a blob of what was sent (spec, end-6). The error is ErrContent where
// the registry finds that it is not what the digest says.
func (r *Repository) FinishUpload(ctx context.Context, u *Upload, d oci.Digest) error {
	k := r.uploadRequest(http.MethodPut, u).withQuery("digest", string(d))
	k.header.Set("Content-Type", "application/octet-stream")
	for attempt := 1; ; attempt++ {
		err := r.finished(ctx, d, r.client.store(ctx, k))
		// A chunk whose answer was lost may still be worked on.
		if !is(err, oci.BlobUploadInvalid) || attempt >= r.client.opts.Attempts {
			return err
		}
		if err := r.client.opts.Sleep(ctx, backoff(err, attempt)); err != nil {
			return err
		}
	}
}

// finished looks at the end of an upload. Its session may be gone because a first answer
// was lost: then the blob is there.
func (r *Repository) finished(ctx context.Context, d oci.Digest, err error) error {
	var answer *Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound && answer.attempt > 1 {
		if _, headErr := r.blobSize(ctx, d, "pull", "push"); headErr == nil {
			return nil
		}
	}
	return contentError(err)
}

// contentError marks a refusal of what the bytes are.
func contentError(err error) error {
	if is(err, oci.DigestInvalid) || is(err, oci.SizeInvalid) && !hasStatus(err, http.StatusRequestEntityTooLarge) {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	return err
}

// CancelUpload ends an upload without a blob (spec, end-14).
func (r *Repository) CancelUpload(ctx context.Context, u *Upload) error {
	return r.client.remove(ctx, r.uploadRequest(http.MethodDelete, u))
}

// abandon cancels an upload that nobody needs, also where the caller was cancelled. What
// stays behind expires.
func (r *Repository) abandon(ctx context.Context, u *Upload) {
	ctx, stop := tidyContext(ctx)
	defer stop()
	k := r.uploadRequest(http.MethodDelete, u)
	k.noRetry = true
	_ = finish(r.client.do(ctx, k)) // many registries know no such request
}

// tidyContext gives what is left to do a short time of its own.
func tidyContext(ctx context.Context) (context.Context, context.CancelFunc) {
	const limit = 10 * time.Second
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
