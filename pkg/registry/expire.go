package registry

import (
	"context"
	"errors"
	"fmt"
)

// Expired is the result of ExpireUploads.
type Expired struct {
	Ended  int  `json:"ended"`  // expired uploads, whose bytes were dropped
	Kept   int  `json:"kept"`   // uploads that were used since they were queued
	Done   int  `json:"done"`   // entries of uploads that had been completed or cancelled
	Failed int  `json:"failed"` // entries that stay in the queue after a failure
	More   bool `json:"-"`      // the limit was reached before the end of the queue
}

// ExpireUploads ends expired uploads, direct and other ones, and drops their bytes. It
// looks at no more than limit entries of the queue. Any number of processes may run it at
// once, and any of them may crash: the queue's entry is deleted last. An entry that cannot
// be ended stays and does not block those after it; the error joins all failures.
func (r *Registry) ExpireUploads(ctx context.Context, limit int) (e Expired, err error) {
	var failed []error
	for shard := range queueShards {
		for entry, err := range r.queryAll(ctx, Query{PK: expiryPartition(shard), Limit: min(limit+1, MaxPage)}) {
			if err != nil {
				return e, errors.Join(append(failed, fmt.Errorf("read queue of uploads: %w", err))...)
			}
			if dueOf(entry.Key) > r.now() {
				break // so are all others of this shard
			}
			if e.More = e.total() >= limit; e.More {
				return e, errors.Join(failed...)
			}
			if err := r.expire(ctx, entry, &e); err != nil {
				failed = append(failed, err)
			}
			if ctx.Err() != nil {
				return e, errors.Join(append(failed, context.Cause(ctx))...)
			}
		}
	}
	return e, errors.Join(failed...)
}

func (e Expired) total() int { return e.Ended + e.Kept + e.Done + e.Failed }

// expire handles one due upload and counts the result.
func (r *Registry) expire(ctx context.Context, entry Row, e *Expired) error {
	count, err := r.expireOne(ctx, entry, e)
	if err != nil {
		count = &e.Failed
	}
	*count++
	return err
}

func (r *Registry) expireOne(ctx context.Context, entry Row, e *Expired) (count *int, err error) {
	key := decode[expiryRow](entry.Attrs).Key
	rows, err := r.meta.Get(ctx, objectKey(key))
	if err != nil {
		return nil, fmt.Errorf("read upload session: %w", err)
	}
	row, err := r.endSession(ctx, key, decode[objectRow](rows[0].Attrs), r.checkExpired)
	switch {
	case errors.Is(err, errInUse):
		err = r.meta.Transact(ctx, "", Write{Key: entry.Key, Op: Delete}, r.expiryWrite(key, row.Expires))
		return &e.Kept, wrap("defer expiry", err)
	case errors.Is(err, errEnded):
		count, err = &e.Done, nil
		if row.State == objectDead { // bytes that arrived later, or could not be dropped
			err = r.forget(ctx, key, row)
		}
	case err == nil:
		count, err = &e.Ended, r.forget(ctx, key, row)
	}
	if err != nil {
		return nil, fmt.Errorf("drop the bytes of an upload: %w", err)
	}
	_, err = r.meta.Update(ctx, Write{Key: entry.Key, Op: Delete})
	return count, wrap("take upload off the queue", err)
}

var (
	errEnded = errors.New("the upload has ended")
	errInUse = errors.New("the upload is in use")
)

func (r *Registry) checkExpired(row objectRow) error {
	if row.State != objectOpen {
		return errEnded
	}
	if row.Expires > r.now() {
		return errInUse
	}
	return nil
}
