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
	// partsAfterCuts is how often a PUT may be cut off before the blob is offered in parts,
	// and partsWorth the size in bytes from which that keeps something.
	partsAfterCuts = 2
	partsWorth     = 64 << 20
	// maxRestarts is how often an upload is begun anew that the registry has forgotten.
	maxRestarts = 3
	// maxAge is how long a presigned request is believed in; the registry signs for 15
	// minutes, and the clocks need not agree.
	maxAge = 12 * time.Minute
	// expectFrom is the size in bytes from which a repeated PUT waits to be let in first:
	// the store may refuse what it has.
	expectFrom = 1 << 20
)

// errCutOff: little arrives in one piece.
var errCutOff = errors.New("the upload was cut off again and again")

// pushDirect sends a blob to the store, in one piece or in parts. ErrNotOffered: nothing
// was done.
func (r *Repository) pushDirect(ctx context.Context, b Blob) (PushMethod, error) {
	if done, err := r.resumeParts(ctx, b); done || err != nil {
		return Direct, err
	}
	offer := direct.Offer{Digest: b.Digest, Size: b.Size, Parts: b.Parts || r.client.opts.MultipartThreshold > 0 && b.Size >= r.client.opts.MultipartThreshold}
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
			r.abandonDirect(ctx, u.ID) // nothing of it is kept
		}
		switch {
		case errors.Is(err, errCutOff):
			offer.Parts = true
		case ended(err): // it has expired, or was cancelled
		default:
			return Direct, err
		}
		if restart >= maxRestarts {
			return "", err
		}
		r.client.opts.Log.LogAttrs(ctx, slog.LevelWarn, "upload begins anew", slog.String("digest", string(b.Digest)), slog.String("error", err.Error()))
	}
}

// pushPut sends all bytes in one request, again where that failed, and completes.
func (r *Repository) pushPut(ctx context.Context, b Blob, u direct.Upload) error {
	k, err := storeRequest(*u.Put)
	if err != nil {
		return err
	}
	signed, cuts := time.Now(), 0
	for attempt := 1; ; attempt++ {
		k.body, k.progress = b.body(0), b.Progress
		err := r.sendStore(ctx, k)
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
		// A connection that breaks may hide that the store has refused.
		var store *StoreError
		if cut || errors.As(err, &store) && store.expired() || time.Since(signed) > maxAge {
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

// arrived tells whether the store has the bytes after a try, and whether the connection
// broke.
func (r *Repository) arrived(ctx context.Context, b Blob, u direct.Upload, err error) (done, cut bool) {
	var store *StoreError
	var network *networkError
	switch {
	case err == nil:
		return true, false
	case errors.As(err, &store):
		if store.Status == http.StatusPreconditionFailed {
			b.Progress(b.Size) // an earlier try had arrived
			return true, false
		}
		return false, store.truncated()
	case errors.As(err, &network) && network.sent >= b.Size && ctx.Err() == nil:
		// Perhaps only the answer was lost. The same completion again answers the same.
		if _, _, err := r.CompleteDirect(ctx, u.ID); err == nil {
			b.Progress(b.Size)
			return true, true
		}
	}
	return false, network != nil
}

// signAgain gets a fresh request for the bytes.
func (r *Repository) signAgain(ctx context.Context, b Blob, id string) (request, error) {
	u, err := r.statusOf(ctx, b, id)
	if err != nil {
		return request{}, err
	}
	if u.Put == nil {
		return request{}, errors.New("the registry has no request for the bytes any more")
	}
	return storeRequest(*u.Put)
}

// statusOf says where the upload of a blob stands.
func (r *Repository) statusOf(ctx context.Context, b Blob, id string) (direct.Upload, error) {
	u, err := r.DirectStatus(ctx, id)
	if err == nil && (u.ID != id || !matches(u, b.Digest, b.Size) || u.Put == nil && u.PartSize <= 0 && u.State != direct.Verifying) {
		return direct.Upload{}, errors.New("the registry tells of another upload than it was asked for")
	}
	return u, err
}

// FinishDirect says that all bytes are in the store, and has them verified where that is
// needed: then the blob is there. Errors: those of CompleteDirect, ErrContent.
func (r *Repository) FinishDirect(ctx context.Context, id string) error {
	u, done, err := r.CompleteDirect(ctx, id)
	if err != nil || done {
		return err
	}
	return r.verify(ctx, u)
}

// verify asks the registry to read the bytes back until it has read all of them.
func (r *Repository) verify(ctx context.Context, u direct.Upload) error {
	for stuck := 1; ; stuck++ {
		next, done, err := r.VerifyDirect(ctx, u.ID)
		if err != nil || done {
			return err
		}
		if next.Verified > u.Verified {
			stuck = 0
		} else if stuck >= maxStuck {
			return fmt.Errorf("the registry does not get on with verifying the upload: %d of %d bytes", next.Verified, next.Size)
		} else if err := r.client.opts.Sleep(ctx, backoff(nil, stuck)); err != nil {
			return err
		}
		u.Verified = next.Verified
	}
}

// maxStuck is how many verifications in a row may read nothing: another client's may be
// at work.
const maxStuck = 12

// abandonDirect cancels an upload that nobody needs. What stays behind expires.
func (r *Repository) abandonDirect(ctx context.Context, id string) {
	ctx, stop := tidyContext(ctx)
	defer stop()
	_ = r.CancelDirect(ctx, id) // the registry drops it by itself after a day
}
