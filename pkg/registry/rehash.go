package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// windowSize is read in one request, in bytes. Concurrent requests are faster than one
	// after the other.
	windowSize = 16 << 20
	// readAhead is how many windows are being read or waiting in memory.
	readAhead = 4
)

// rehash hashes the content of a key from offset on, until size or for VerifyFor, and
// returns the number of bytes: at least one window.
func (r *Registry) rehash(ctx context.Context, key string, offset, size int64, hs hashes) (n int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := r.opts.Now()
	var ahead []chan window
	next := offset
	for {
		for ; len(ahead) < readAhead && next < size; next += windowSize {
			ahead = append(ahead, r.readWindow(ctx, key, next, min(windowSize, size-next)))
		}
		if len(ahead) == 0 {
			return n, nil
		}
		until := began.Add(r.opts.VerifyFor)
		if n == 0 { // each call makes some progress
			until = began.Add(r.verifyLease())
		}
		p, inTime := r.waitFor(ctx, ahead[0], until)
		switch {
		case !inTime && n == 0:
			return 0, oci.NewError(oci.Unavailable, "the store does not hand out the bytes of this upload in time: try again")
		case !inTime:
			return n, nil
		}
		if p.err != nil && n > 0 {
			return n, nil // what was read counts; the next call begins with the fault
		}
		if p.err != nil {
			return 0, p.err
		}
		hs.add(p.content)
		n += int64(len(p.content))
		ahead = ahead[1:]
	}
}

type window struct {
	content []byte
	err     error
}

// waitFor returns the next window, unless it is not read in time.
func (r *Registry) waitFor(ctx context.Context, next chan window, until time.Time) (p window, inTime bool) {
	left := until.Sub(r.opts.Now())
	if left <= 0 {
		return window{}, false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case p := <-next:
		return p, true
	case <-timer.C:
		return window{}, false
	case <-ctx.Done():
		return window{err: context.Cause(ctx)}, true
	}
}

// readWindow starts a read. The channel has room for the result, so the read ends even if
// nothing receives it.
func (r *Registry) readWindow(ctx context.Context, key string, offset, length int64) chan window {
	done := make(chan window, 1)
	go func() {
		var p window
		p.err = r.retry(ctx, func() (err error) {
			p.content, err = r.readOnce(ctx, key, offset, length)
			return err
		})
		done <- p
	}()
	return done
}

func (r *Registry) readOnce(ctx context.Context, key string, offset, length int64) ([]byte, error) {
	content, err := r.blobs.Open(ctx, key, offset, length)
	if errors.Is(err, ErrNoContent) {
		return nil, oci.NewError(oci.BlobUploadUnknown, "the upload was ended: start a new one")
	}
	if err != nil {
		return nil, fmt.Errorf("read back upload: %w", err)
	}
	defer content.Close()
	buffer := make([]byte, length)
	if _, err := io.ReadFull(content, buffer); err != nil {
		return nil, fmt.Errorf("read back upload: %w", err)
	}
	return buffer, nil
}
