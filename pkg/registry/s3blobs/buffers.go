package s3blobs

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pierless/pierless/pkg/registry"
)

// buffers bounds the memory for parts that are being filled or sent. An Append never waits
// for a buffer while it fills another, and buffers that are being sent wait for S3 alone,
// so every waiting Append gets a buffer eventually, unless clients stop sending.
type buffers struct {
	bytes *semaphore.Weighted // that are in use
	wait  time.Duration
	small sync.Pool // of *[]byte, smallPart long
	large sync.Pool // of *[]byte, largePart long
}

func newBuffers(bytes int64, wait time.Duration) *buffers {
	return &buffers{
		bytes: semaphore.NewWeighted(bytes), wait: wait,
		small: sync.Pool{New: func() any { return newBuffer(smallPart) }},
		large: sync.Pool{New: func() any { return newBuffer(largePart) }},
	}
}

func newBuffer(size int) *[]byte {
	buffer := make([]byte, size)
	return &buffer
}

// take returns a buffer of smallPart or largePart bytes, and the function that returns it.
// The error is ErrBusy if no memory became free in time.
func (b *buffers) take(ctx context.Context, size int) (buffer []byte, done func(), err error) {
	waiting, cancel := context.WithTimeoutCause(ctx, b.wait, registry.ErrBusy)
	defer cancel()
	if err := b.bytes.Acquire(waiting, int64(size)); err != nil {
		return nil, nil, context.Cause(waiting)
	}
	pool := &b.small
	if size == largePart {
		pool = &b.large
	}
	taken, _ := pool.Get().(*[]byte)
	return *taken, func() {
		pool.Put(taken)
		b.bytes.Release(int64(size))
	}, nil
}
