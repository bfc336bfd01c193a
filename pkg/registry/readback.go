package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

const (
	// readLength is read in one request: a store sends several of them faster than one
	// after the other.
	readLength = 16 << 20
	// readAhead is how many stretches are on their way or waiting, in memory each.
	readAhead = 4
)

// readBack hashes the content of a key from offset on, until size or for VerifyFor,
// and returns how far it came: at least one stretch.
func (r *Registry) readBack(ctx context.Context, key string, offset, size int64, hs upload.Hashes) (n int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := r.opts.Now()
	var ahead []chan stretch
	next := offset
	for {
		for ; len(ahead) < readAhead && next < size; next += readLength {
			ahead = append(ahead, r.readAt(ctx, key, next, min(readLength, size-next)))
		}
		if len(ahead) == 0 {
			return n, nil
		}
		until := began.Add(r.opts.VerifyFor)
		if n == 0 { // a call that never comes further would be of no use
			until = began.Add(r.verifyLease())
		}
		p, inTime := r.await(ctx, ahead[0], until)
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
		hs.Add(p.content)
		n += int64(len(p.content))
		ahead = ahead[1:]
	}
}

type stretch struct {
	content []byte
	err     error
}

// await returns the next stretch, unless it takes longer than the time that is left.
func (r *Registry) await(ctx context.Context, next chan stretch, until time.Time) (p stretch, inTime bool) {
	left := until.Sub(r.opts.Now())
	if left <= 0 {
		return stretch{}, false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case p := <-next:
		return p, true
	case <-timer.C:
		return stretch{}, false
	case <-ctx.Done():
		return stretch{err: context.Cause(ctx)}, true
	}
}

// readAt begins to read; the channel takes what was read whether anyone waits or not.
func (r *Registry) readAt(ctx context.Context, key string, offset, length int64) chan stretch {
	done := make(chan stretch, 1)
	go func() {
		var p stretch
		p.err = r.try(ctx, func() (err error) {
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
