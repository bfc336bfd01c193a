package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxDirectAnswer is the limit for an answer of the extension, in bytes: ten thousand stored
// parts, or a thousand signed ones, take less.
const maxDirectAnswer = 4 << 20

// StartDirect starts a direct upload of a blob (docs/direct-uploads.md), unless the repository
// has it: then exists is true. The error is ErrNotOffered if the registry does not support
// that, DIGEST_INVALID, or SIZE_INVALID, among others.
func (r *Repository) StartDirect(ctx context.Context, o direct.Offer) (u direct.Upload, exists bool, err error) {
	if r.client.noDirect.Load() {
		return direct.Upload{}, false, ErrNotOffered
	}
	status, err := r.doDirect(ctx, http.MethodPost, route.Request{Kind: route.DirectStart}, o, &u)
	switch {
	case err != nil:
		return direct.Upload{}, false, r.notOffered(ctx, err)
	case status == http.StatusCreated:
		return direct.Upload{}, true, nil
	case status != http.StatusAccepted || !matches(u, o.Digest, o.Size) || u.Put == nil && u.PartSize <= 0:
		return direct.Upload{}, false, fmt.Errorf("%w: its answer %d does not match the offer", ErrNotOffered, status)
	}
	return u, false, nil
}

// matches reports whether an upload is that of a blob. It has a request for the bytes unless
// it is in parts or being verified.
func matches(u direct.Upload, d oci.Digest, size int64) bool {
	if u.Put != nil {
		if k, err := presignedRequest(*u.Put); err == nil && k.size != size {
			return false
		}
	}
	return u.Digest == d && u.Size == size
}

// notOffered distinguishes a registry without the extension, which it remembers, from one that
// refuses this offer or is unavailable.
func (r *Repository) notOffered(ctx context.Context, err error) error {
	answer, ok := errors.AsType[*Error](err)
	switch {
	case ctx.Err() != nil, !ok:
		return err
	case is(err, oci.DigestInvalid), is(err, oci.SizeInvalid) && answer.Status == http.StatusBadRequest:
		return err
	case answer.Status == http.StatusNotFound, answer.Status == http.StatusMethodNotAllowed, answer.Status == http.StatusNotImplemented:
		r.client.noDirect.Store(true)
	case answer.Status == http.StatusTooManyRequests, answer.Status == http.StatusServiceUnavailable:
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotOffered, err)
}

// doDirect sends a request of the extension, with in as its body unless that is nil, and parses
// an answer other than 201 into out.
func (r *Repository) doDirect(ctx context.Context, method string, req route.Request, in, out any) (status int, err error) {
	req.Name = r.name
	// The id comes from the registry: it must not change the rest of the path.
	if parsed, err := route.Parse(req.Path()); err != nil || parsed != req {
		return 0, errors.New("the registry gave the upload an invalid id")
	}
	k := r.newRequest(method, req, "pull", "push")
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		k.header.Set("Content-Type", "application/json")
		k.body, k.size = bytesBody(body), int64(len(body))
	}
	answer, err := r.client.read(ctx, k, maxDirectAnswer)
	if err != nil || answer.status == http.StatusCreated || out == nil {
		return answer.status, err
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return answer.status, &Error{
			Method: k.method, Path: k.label, Status: answer.status, Excerpt: excerpt(answer.body),
			Errors: oci.Errors{oci.NewError(oci.Unsupported, "the answer is not one of this extension")},
		}
	}
	return answer.status, nil
}

// DirectStatus returns the state of an upload, with a fresh request for the bytes or the parts
// that are stored. The error is BLOB_UPLOAD_UNKNOWN, among others.
func (r *Repository) DirectStatus(ctx context.Context, id string) (u direct.Upload, err error) {
	_, err = r.doDirect(ctx, http.MethodGet, route.Request{Kind: route.Direct, Upload: id}, nil, &u)
	return u, err
}

// SignParts returns one request for each part, in the same order; at most direct.MaxSigned.
func (r *Repository) SignParts(ctx context.Context, id string, parts []direct.Part) ([]direct.SignedPart, error) {
	var signed direct.SignedParts
	_, err := r.doDirect(ctx, http.MethodPost, route.Request{Kind: route.DirectParts, Upload: id}, direct.Parts{Parts: parts}, &signed)
	if err != nil {
		return nil, err
	}
	ordered := slices.EqualFunc(signed.Parts, parts, func(s direct.SignedPart, p direct.Part) bool { return s.Number == p.Number })
	if !ordered {
		return nil, errors.New("the registry signed other parts than requested")
	}
	return signed.Parts, nil
}

// CompleteDirect declares that all bytes are in the store. Unless done, they must be verified
// first. The error is BLOB_UPLOAD_INVALID if bytes are missing, ErrContent, among others.
func (r *Repository) CompleteDirect(ctx context.Context, id string) (u direct.Upload, done bool, err error) {
	return r.advance(ctx, http.MethodPut, route.Request{Kind: route.Direct, Upload: id})
}

// advance sends a request that may complete an upload.
func (r *Repository) advance(ctx context.Context, method string, req route.Request) (u direct.Upload, done bool, err error) {
	status, err := r.doDirect(ctx, method, req, nil, &u)
	return u, err == nil && status == http.StatusCreated, contentError(err)
}

// FinishDirect completes an upload whose bytes are all in the store, and waits until the
// registry has verified them if it needs to. Errors: those of CompleteDirect.
func (r *Repository) FinishDirect(ctx context.Context, id string) error {
	u, done, err := r.CompleteDirect(ctx, id)
	if err != nil || done {
		return err
	}
	return r.verify(ctx, u)
}

// maxStuck limits how many verifications in a row may make no progress: that of another client
// may be running.
const maxStuck = 12

// verify lets the registry read the bytes back, for up to 15 seconds per request, until all are
// verified.
func (r *Repository) verify(ctx context.Context, u direct.Upload) error {
	for stuck := 1; ; stuck++ {
		next, done, err := r.advance(ctx, http.MethodPost, route.Request{Kind: route.Verification, Upload: u.ID})
		if err != nil || done {
			return err
		}
		if next.Verified > u.Verified {
			stuck = 0
		} else if stuck >= maxStuck {
			return fmt.Errorf("the registry makes no progress with the verification: %d of %d bytes", next.Verified, next.Size)
		} else if err := r.client.opts.Sleep(ctx, backoff(nil, stuck)); err != nil {
			return err
		}
		u.Verified = next.Verified
	}
}

// CancelDirect cancels an upload and deletes its bytes. The error is BLOB_UPLOAD_UNKNOWN, among
// others; a 404 to a retry is a success.
func (r *Repository) CancelDirect(ctx context.Context, id string) error {
	_, err := r.doDirect(ctx, http.MethodDelete, route.Request{Kind: route.Direct, Upload: id}, nil, nil)
	return gone(err)
}

// abandonDirect cancels an upload, also if the context was cancelled. If that fails, the upload
// expires after a day.
func (r *Repository) abandonDirect(ctx context.Context, id string) {
	ctx, stop := tidyContext(ctx)
	defer stop()
	_ = r.CancelDirect(ctx, id)
}

// SendDirect sends a presigned request to the store, once. The body has as many bytes as the
// request says; it is not closed. A *StoreError with status 412 means that the store has the
// bytes, 403 that the request has expired; ErrContent that they do not match.
func (r *Repository) SendDirect(ctx context.Context, req direct.Request, body io.Reader) error {
	k, err := presignedRequest(req)
	if err != nil {
		return err
	}
	opened := false
	k.body = func() (io.ReadCloser, error) {
		if opened {
			return nil, errors.New("the store redirects, and the bytes can be read only once")
		}
		opened = true
		return io.NopCloser(body), nil
	}
	return r.sendPresigned(ctx, k)
}

// presignedRequest returns the request that the registry presigned: with exactly its headers.
// It accepts only requests that an upload to a store needs.
func presignedRequest(req direct.Request) (request, error) {
	u, err := url.Parse(req.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || req.Method != http.MethodPut {
		return request{}, errors.New("the registry presigned an invalid request")
	}
	k := request{method: req.Method, url: u, header: http.Header{}, size: -1, noRetry: true, presigned: true}
	for name, value := range req.Headers {
		switch {
		case strings.EqualFold(name, "Content-Length"):
			if k.size, err = strconv.ParseInt(value, 10, 64); err != nil {
				k.size = -1
			}
		case !direct.AllowedHeader(name):
			return request{}, fmt.Errorf("the registry presigned a request with the header %.40q, which clients do not send", name)
		case !strings.EqualFold(name, "Host"):
			k.header.Set(name, value)
		}
	}
	if k.size < 0 {
		return request{}, errors.New("the registry presigned a request without a length")
	}
	return k, nil
}

// sendPresigned sends a request to the store. The error is ErrContent if the store rejects the
// bytes.
func (r *Repository) sendPresigned(ctx context.Context, k request) error {
	err := finish(r.client.do(ctx, k))
	if store, ok := errors.AsType[*StoreError](err); ok && store.isMismatch() {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	return err
}
