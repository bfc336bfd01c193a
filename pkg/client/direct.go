package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxDirectAnswer is the largest answer of the extension that is read, in bytes: ten
// thousand stored parts, or a thousand signed ones, have less.
const maxDirectAnswer = 4 << 20

// StartDirect offers a blob (docs/direct-uploads.md). Where exists is true, the repository
// has it and there is nothing to send. The error is ErrNotOffered where the registry takes
// no such uploads, DIGEST_INVALID, or SIZE_INVALID.
func (r *Repository) StartDirect(ctx context.Context, o direct.Offer) (u direct.Upload, exists bool, err error) {
	if r.client.noDirect.Load() {
		return direct.Upload{}, false, ErrNotOffered
	}
	k := r.newRequest(http.MethodPost, route.Request{Kind: route.DirectStart}, "pull", "push")
	status, err := r.doDirect(ctx, k, o, &u)
	switch {
	case err != nil:
		return direct.Upload{}, false, r.notOffered(ctx, err)
	case status == http.StatusCreated:
		return direct.Upload{}, true, nil
	case status != http.StatusAccepted || !matches(u, o.Digest, o.Size) || u.Put == nil && u.PartSize <= 0:
		return direct.Upload{}, false, fmt.Errorf("%w: it answers %d with something else", ErrNotOffered, status)
	}
	return u, false, nil
}

// matches tells whether an upload is that of a blob. Where it comes in parts, or is being
// verified, there is no request for the bytes; another size than the blob's is none of it.
func matches(u direct.Upload, d oci.Digest, size int64) bool {
	if u.Put != nil {
		if k, err := storeRequest(*u.Put); err == nil && k.size != size {
			return false
		}
	}
	return u.Digest == d && u.Size == size
}

// notOffered tells a registry that does not know the extension from one that refuses
// this offer. Statuses that say nothing about the registry are not remembered.
func (r *Repository) notOffered(ctx context.Context, err error) error {
	var answer *Error
	switch {
	case ctx.Err() != nil, !errors.As(err, &answer):
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

// directRequest is a request for an upload of the extension.
func (r *Repository) directRequest(method string, kind route.Kind, id string) (request, error) {
	req := route.Request{Kind: kind, Name: r.name, Upload: id}
	// The id is the registry's: it must not lead anywhere else.
	if parsed, err := route.Parse(req.Path()); err != nil || parsed != req {
		return request{}, errors.New("the registry gave the upload an id that is none")
	}
	return r.newRequest(method, req, "pull", "push"), nil
}

// DirectStatus says where an upload stands, with a fresh request for the bytes, or the
// parts that are stored. The error is BLOB_UPLOAD_UNKNOWN, among others.
func (r *Repository) DirectStatus(ctx context.Context, id string) (u direct.Upload, err error) {
	k, err := r.directRequest(http.MethodGet, route.Direct, id)
	if err != nil {
		return direct.Upload{}, err
	}
	_, err = r.doDirect(ctx, k, nil, &u)
	return u, err
}

// SignParts returns a request for each part, in the same order; at most direct.MaxSigned
// at once.
func (r *Repository) SignParts(ctx context.Context, id string, parts []direct.Part) ([]direct.SignedPart, error) {
	k, err := r.directRequest(http.MethodPost, route.DirectParts, id)
	if err != nil {
		return nil, err
	}
	var signed direct.SignedParts
	if _, err := r.doDirect(ctx, k, direct.Parts{Parts: parts}, &signed); err != nil {
		return nil, err
	}
	if len(signed.Parts) != len(parts) {
		return nil, fmt.Errorf("the registry signed %d parts of %d", len(signed.Parts), len(parts))
	}
	for i, p := range signed.Parts {
		if p.Number != parts[i].Number {
			return nil, errors.New("the registry signed other parts than those it was asked for")
		}
	}
	return signed.Parts, nil
}

// CompleteDirect says that all bytes are in the store. Unless done, they must be verified
// first. The error is BLOB_UPLOAD_INVALID where bytes are missing, among others.
func (r *Repository) CompleteDirect(ctx context.Context, id string) (u direct.Upload, done bool, err error) {
	return r.advance(ctx, http.MethodPut, route.Direct, id)
}

// VerifyDirect has the registry read some more of the bytes back, for up to 15 seconds;
// done: all were read, and the blob is there. ErrContent: they are others.
func (r *Repository) VerifyDirect(ctx context.Context, id string) (u direct.Upload, done bool, err error) {
	return r.advance(ctx, http.MethodPost, route.Verification, id)
}

func (r *Repository) advance(ctx context.Context, method string, kind route.Kind, id string) (u direct.Upload, done bool, err error) {
	k, err := r.directRequest(method, kind, id)
	if err != nil {
		return direct.Upload{}, false, err
	}
	status, err := r.doDirect(ctx, k, nil, &u)
	return u, err == nil && status == http.StatusCreated, contentError(err)
}

// CancelDirect ends an upload and drops its bytes. The error is BLOB_UPLOAD_UNKNOWN,
// among others.
func (r *Repository) CancelDirect(ctx context.Context, id string) error {
	k, err := r.directRequest(http.MethodDelete, route.Direct, id)
	if err != nil {
		return err
	}
	return r.client.remove(ctx, k)
}

// doDirect makes a request of the extension: in, unless it is nil, is its body, and an
// answer that is no 201 is read into out.
func (r *Repository) doDirect(ctx context.Context, k request, in, out any) (status int, err error) {
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		k.header.Set("Content-Type", "application/json")
		k.body, k.size = bytesBody(body), int64(len(body))
	}
	answer, err := r.client.read(ctx, k, maxDirectAnswer)
	if err != nil {
		return 0, err
	}
	if answer.status == http.StatusCreated {
		return answer.status, nil
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return answer.status, &Error{
			Method: k.method, Path: k.label, Status: answer.status, Excerpt: excerpt(answer.body),
			Errors: oci.Errors{oci.NewError(oci.Unsupported, "the answer is not one of this extension")},
		}
	}
	return answer.status, nil
}

// SendDirect makes a presigned request to the store, once. The body has as many bytes as
// the request says; it is not closed. A *StoreError of status 412 means that they are
// there, 403 that the request has expired, ErrContent that they are others.
func (r *Repository) SendDirect(ctx context.Context, req direct.Request, body io.Reader) error {
	k, err := storeRequest(req)
	if err != nil {
		return err
	}
	opened := false
	k.body = func() (io.ReadCloser, error) {
		if opened {
			return nil, errors.New("the store sends the request on, and the bytes come only once")
		}
		opened = true
		return io.NopCloser(body), nil
	}
	return r.sendStore(ctx, k)
}

// storeRequest is a presigned request: exactly its headers, and nothing of ours.
func storeRequest(req direct.Request) (request, error) {
	u, err := url.Parse(req.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || req.Method != http.MethodPut {
		return request{}, errors.New("the registry gave out a request to its store that is none")
	}
	k := request{method: req.Method, url: u, label: "", header: http.Header{}, size: -1, noRetry: true, store: true}
	for name, value := range req.Headers {
		switch {
		case strings.EqualFold(name, "Content-Length"):
			if k.size, err = strconv.ParseInt(value, 10, 64); err != nil || k.size < 0 {
				return request{}, errors.New("the registry gave out a request to its store without a length")
			}
		case !direct.AllowedHeader(name):
			return request{}, fmt.Errorf("the registry gave out a request to its store with the header %.40q, "+
				"which clients do not send", name)
		case !strings.EqualFold(name, "Host"):
			k.header.Set(name, value)
		}
	}
	if k.size < 0 {
		return request{}, errors.New("the registry gave out a request to its store without a length")
	}
	return k, nil
}

// sendStore makes a request to the store and says what its refusals mean.
func (r *Repository) sendStore(ctx context.Context, k request) error {
	err := finish(r.client.do(ctx, k))
	var store *StoreError
	if errors.As(err, &store) && store.content() {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	return err
}
