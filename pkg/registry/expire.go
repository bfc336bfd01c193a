package registry

import (
	"context"
	"errors"
	"fmt"
)

// Expired is the result of ExpireUploads.
type Expired struct {
	Ended  int  `json:"ended"`  // expired uploads, whose bytes were deleted
	Kept   int  `json:"kept"`   // uploads that were used after they were queued
	Done   int  `json:"done"`   // uploads that had already ended
	Failed int  `json:"failed"` // uploads that stay in the queue because of an error
	More   bool `json:"-"`      // the limit was reached before the end of the queue
}

// ExpireUploads ends expired uploads, chunked and direct, and deletes their bytes. It handles
// at most limit expiries of the queue. Any number of processes may run it at the same time,
// and each may crash at any step, because an expiry is deleted last. If an upload cannot be
// ended, its expiry stays in the queue and ExpireUploads continues with the next one; the
// returned error joins all failures.
func (r *Registry) ExpireUploads(ctx context.Context, limit int) (e Expired, err error) {
	var failed []error
	for shard := range queueShards {
		for entry, err := range r.queryAll(ctx, Query{PK: expiryPartition(shard), Limit: min(limit+1, MaxPage)}) {
			if err != nil {
				return e, errors.Join(append(failed, fmt.Errorf("read queue of uploads: %w", err))...)
			}
			if dueOf(entry.Key) > r.now() {
				break // the later expiries of this shard are not due either
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

// expire handles one due expiry and counts the result in e.
func (r *Registry) expire(ctx context.Context, entry Row, e *Expired) error {
	count, err := r.expireOne(ctx, entry, e)
	if err != nil {
		count = &e.Failed
	}
	*count++
	return err
}

// expireOne returns the counter in e for the result.
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
		if row.State == objectDead { // bytes may have arrived later, or their deletion failed
			err = r.forget(ctx, key, row)
		}
	case err == nil:
		count, err = &e.Ended, r.forget(ctx, key, row)
	}
	if err != nil {
		return nil, fmt.Errorf("delete the bytes of an upload: %w", err)
	}
	if count == &e.Ended { // a request that began before may still store bytes: look again when it must have ended
		err = r.meta.Transact(ctx, "", Write{Key: entry.Key, Op: Delete}, r.expiryWrite(key, r.sessionEnd()))
		return count, wrap("queue another look", err)
	}
	_, err = r.meta.Update(ctx, Write{Key: entry.Key, Op: Delete})
	return count, wrap("delete expiry", err)
}

var (
	errEnded = errors.New("the upload has ended")
	errInUse = errors.New("the upload is in use")
)

// checkExpired returns errEnded or errInUse unless the session is open and has expired.
func (r *Registry) checkExpired(row objectRow) error {
	if row.State != objectOpen {
		return errEnded
	}
	if row.Expires > r.now() {
		return errInUse
	}
	return nil
}
