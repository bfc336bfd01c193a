package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/pierless/pierless/pkg/oci/direct"
)

const (
	// partsAfterCuts is how many interruptions of a PUT make the client switch to parts, and
	// partsWorth the size in bytes from which parts save something.
	partsAfterCuts = 2
	partsWorth     = 64 << 20
	// maxRestarts limits how often an upload is restarted that the registry has forgotten.
	maxRestarts = 3
	// maxAge is how long a presigned request is used. The registry signs for 15 minutes, and
	// clocks differ.
	maxAge = 12 * time.Minute
	// expectFrom is the size in bytes from which a repeated PUT waits for 100 Continue: the
	// store may reject bytes that it has.
	expectFrom = 1 << 20
)

// errCutOff means that a PUT was interrupted several times.
var errCutOff = errors.New("the upload was interrupted repeatedly")

// pushDirect sends a blob to the store, in one request or in parts. The error is ErrNotOffered
// if the registry does not support that.
func (r *Repository) pushDirect(ctx context.Context, b Blob) (PushMethod, error) {
	if done, err := r.resumeParts(ctx, b); done || err != nil {
		return Direct, err
	}
	threshold := r.client.opts.MultipartThreshold
	offer := direct.Offer{Digest: b.Digest, Size: b.Size, Parts: b.Parts || threshold > 0 && b.Size >= threshold}
	for restart := 0; ; restart++ {
		u, exists, err := r.StartDirect(ctx, offer)
		if err != nil {
			return "", err
		}
		if exists {
			return Existed, nil
		}
		if u.Put == nil {
			err = r.pushParts(ctx, b, u)
		} else if err = r.pushPut(ctx, b, u); err != nil {
			r.abandonDirect(ctx, u.ID)
		}
		switch {
		case errors.Is(err, errCutOff):
			offer.Parts = true
		case ended(err): // it expired, or was cancelled
		default:
			return Direct, err
		}
		if restart >= maxRestarts {
			return "", err
		}
		r.client.opts.Log.LogAttrs(ctx, slog.LevelWarn, "upload is restarted",
			slog.String("digest", string(b.Digest)), slog.String("error", err.Error()))
	}
}

// pushPut sends all bytes in one request, with retries, and completes the upload.
func (r *Repository) pushPut(ctx context.Context, b Blob, u direct.Upload) error {
	k, err := presignedRequest(*u.Put)
	if err != nil {
		return err
	}
	signed, cuts := time.Now(), 0
	for attempt := 1; ; attempt++ {
		k.body, k.progress = b.body(0), b.Progress
		err := r.sendPresigned(ctx, k)
		done, cut := r.arrived(ctx, b, u, err)
		if done {
			return r.FinishDirect(ctx, u.ID)
		}
		if cut {
			cuts++
		}
		if cuts >= partsAfterCuts && b.Size >= partsWorth {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		if err := r.client.retry(ctx, "upload to the store", err, attempt, slog.String("digest", string(b.Digest))); err != nil {
			return err
		}
		// A broken connection may hide that the store refused the request.
		if store, ok := errors.AsType[*StoreError](err); cut || ok && store.expired() || time.Since(signed) > maxAge {
			if k, err = r.signAgain(ctx, b, u.ID); err != nil {
				return err
			}
			signed = time.Now()
		}
		if b.Size >= expectFrom {
			k.header.Set("Expect", "100-continue")
		}
	}
}

// arrived reports, for the error of an attempt, whether the store has the bytes, and whether
// the attempt was interrupted.
func (r *Repository) arrived(ctx context.Context, b Blob, u direct.Upload, err error) (done, cut bool) {
	var store *StoreError
	var network *networkError
	switch {
	case err == nil:
		return true, false
	case errors.As(err, &store):
		if store.Status == http.StatusPreconditionFailed {
			b.Progress(b.Size) // an earlier attempt succeeded
			return true, false
		}
		return false, store.truncated()
	case errors.As(err, &network) && network.sent >= b.Size && ctx.Err() == nil:
		// Only the answer may be lost. A completion can be repeated.
		if _, _, err := r.CompleteDirect(ctx, u.ID); err == nil {
			b.Progress(b.Size)
			return true, true
		}
	}
	return false, network != nil
}

// signAgain returns a fresh request for the bytes.
func (r *Repository) signAgain(ctx context.Context, b Blob, id string) (request, error) {
	u, err := r.statusOf(ctx, b, id)
	if err != nil {
		return request{}, err
	}
	if u.Put == nil {
		return request{}, errors.New("the registry did not presign the request again")
	}
	return presignedRequest(*u.Put)
}

// statusOf returns the state of the upload of a blob.
func (r *Repository) statusOf(ctx context.Context, b Blob, id string) (direct.Upload, error) {
	u, err := r.DirectStatus(ctx, id)
	if err == nil && (u.ID != id || !matches(u, b.Digest, b.Size) || u.Put == nil && u.PartSize <= 0 && u.State != direct.Verifying) {
		return direct.Upload{}, errors.New("the registry returned the state of another upload")
	}
	return u, err
}
