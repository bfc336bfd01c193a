package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/upload"
)

const (
	// streamTries is how often a transfer to the store is started. It can start again only
	// as long as the source keeps the bytes that were read.
	streamTries = 4
	// firstWait is the pause before the second try; each further one is twice as long.
	firstWait = 500 * time.Millisecond
)

// completion is one request that completes an upload.
type completion struct {
	proxy  *Proxy
	r      *http.Request
	repo   *client.Repository
	claim  *claim
	finish upload.Finish
}

// send makes the bytes of the session, and those of the request, a blob of the registry.
// ctx ends when a later request takes the session over.
func (c completion) send(ctx context.Context) error {
	chunk := c.finish.Chunk
	if c.streams() {
		src := newSource(c.finish)
		err := c.stream(ctx, src)
		again, ok := src.fromStart()
		if !errors.Is(err, client.ErrNotOffered) || !ok {
			return err
		}
		chunk.Body = again
	}
	if err := c.claim.read(chunk); err != nil {
		return err
	}
	blob, err := c.claim.content(c.finish)
	if err != nil {
		return err
	}
	if _, err = c.repo.PushBlob(ctx, blob); err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (cause: %w)", ctx.Err(), err) // the later request may have closed the file
	}
	return err
}

// streams reports whether the body can go to the store while it arrives: it must be the
// whole blob, and its digest one that the store checks.
func (c completion) streams() bool {
	length := c.finish.Chunk.Length
	return c.claim.size == 0 && length > small && length <= direct.MaxPut && c.finish.Digest.Algorithm() == oci.SHA256
}

// stream sends the body to the store while it arrives. The error is client.ErrNotOffered if
// the registry offers no direct uploads, or only those in parts.
func (c completion) stream(ctx context.Context, src *source) error {
	var failed error
	for try, again := 0, true; again && try < streamTries; try++ {
		if try > 0 {
			if err := c.proxy.sleep(ctx, firstWait<<(try-1)); err != nil {
				failed = errors.Join(err, failed)
				break
			}
		}
		body, ok := src.fromStart()
		if !ok {
			failed = fmt.Errorf("%w; the body cannot be read a second time", failed)
			break
		}
		if again, failed = c.streamOnce(ctx, src, body); failed == nil || errors.Is(failed, client.ErrNotOffered) {
			return failed
		}
	}
	if fault := src.check(); fault != nil {
		return fmt.Errorf("%w (cause: %w)", fault, failed)
	}
	return failed
}

// streamOnce makes one attempt to send body, which reads src from its start. again reports
// whether another attempt may succeed.
func (c completion) streamOnce(ctx context.Context, src *source, body io.Reader) (again bool, err error) {
	u, exists, err := c.repo.StartDirect(ctx, direct.Offer{Digest: c.finish.Digest, Size: c.finish.Chunk.Length})
	if err != nil {
		return false, err
	}
	if exists {
		return false, src.check()
	}
	defer func() {
		if err != nil {
			c.proxy.later(c.r, c.repo.Name(), func(ctx context.Context) error { return c.repo.CancelDirect(ctx, u.ID) })
		}
	}()
	if u.Put == nil {
		return false, fmt.Errorf("%w in one piece", client.ErrNotOffered)
	}
	sent := c.repo.SendDirect(ctx, *u.Put, body)
	if sent != nil && !mayBeStored(sent, src) {
		var refused *client.TargetError
		final := errors.Is(sent, client.ErrContent) || errors.Is(sent, client.ErrSource) || errors.As(sent, &refused)
		return !final && ctx.Err() == nil, sent
	}
	if err = src.check(); err == nil {
		err = c.repo.FinishDirect(ctx, u.ID)
	}
	if err != nil && sent != nil {
		// The transfer failed first: that is the error to answer, and the client may try again.
		return false, fmt.Errorf("%w; and then: %s", sent, err.Error())
	}
	return false, err
}

// mayBeStored reports whether the store may have the content although the transfer failed:
// it has had it before, or it took all bytes and the answer was lost. Completing the upload
// shows which.
func mayBeStored(err error, src *source) bool {
	var answer *client.StoreError
	if errors.As(err, &answer) {
		return answer.Status == http.StatusPreconditionFailed
	}
	return src.complete()
}
