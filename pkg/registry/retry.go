package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Tries of one write. With the pauses of pause, contention has about two seconds
// to pass; another fault is the adapter's to retry first. If that took patience, the
// store is not tried again: a client waits for the answer.
const (
	maxContended = 12
	maxFaults    = 3
	patience     = 2 * time.Second
)

// try repeats f while the store says that another write is in the way, and a few
// times after faults. f must be safe to repeat.
func (r *Registry) try(ctx context.Context, f func() error) error {
	contended, faults := 0, 0
	began := r.opts.Now()
	for {
		err := f()
		var conflict *Conflict
		switch {
		case err == nil, errors.As(err, &conflict):
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case errors.Is(err, ErrContended):
			contended++
		case errors.Is(err, ErrUnavailable) && r.opts.Now().Sub(began) >= patience:
			return err
		default:
			faults++
		}
		if contended >= maxContended || faults >= maxFaults {
			return err
		}
		if err := r.pause(ctx, contended+faults); err != nil {
			return err
		}
	}
}

// uncontended repeats f while another write is in its way, and after no other error.
func (r *Registry) uncontended(ctx context.Context, f func() error) error {
	var last error
	err := r.try(ctx, func() error {
		if last = f(); errors.Is(last, ErrContended) {
			return last
		}
		return nil
	})
	if err != nil {
		return err
	}
	return last
}

// pause sleeps for a random time that grows with the number of tries, from at
// most 10 ms to at most 640 ms.
func (r *Registry) pause(ctx context.Context, tries int) error {
	limit := 5 * time.Millisecond << min(tries, 7)
	return r.opts.Sleep(ctx, rand.N(limit))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Registry) get(ctx context.Context, keys ...Key) (rows []Row, err error) {
	err = r.try(ctx, func() (err error) {
		rows, err = r.meta.Get(ctx, keys...)
		return err
	})
	return rows, err
}

func (r *Registry) query(ctx context.Context, q Query) (page Page, err error) {
	err = r.try(ctx, func() (err error) {
		page, err = r.meta.Query(ctx, q)
		return err
	})
	return page, err
}

// update applies one write under a fresh nonce. A write that turns out to be
// there already, because an earlier answer was lost, is a success.
func (r *Registry) update(ctx context.Context, w Write) (Row, error) {
	nonce := r.nonce()
	return r.updateAs(ctx, nonce, w)
}

func (r *Registry) updateAs(ctx context.Context, nonce string, w Write) (row Row, err error) {
	w = stamped(w, nonce)
	err = r.try(ctx, func() (err error) {
		row, err = r.meta.Update(ctx, w)
		var conflict *Conflict
		if errors.As(err, &conflict) && conflict.Old[0] != nil && conflict.Old[0].Attrs.text(attrWrite) == nonce {
			row, err = *conflict.Old[0], nil
		}
		return err
	})
	return row, err
}

// transact applies all writes under one nonce, which is also the token that makes
// a repetition harmless.
func (r *Registry) transact(ctx context.Context, writes ...Write) error {
	return r.transactAs(ctx, r.nonce(), writes...)
}

func (r *Registry) transactAs(ctx context.Context, nonce string, writes ...Write) error {
	all := make([]Write, len(writes))
	for i, w := range writes {
		all[i] = stamped(w, nonce)
	}
	return r.try(ctx, func() error { return r.meta.Transact(ctx, nonce, all...) })
}

// stamped gives a write its nonce.
func stamped(w Write, nonce string) Write {
	if w.Op != Set && w.Op != Put {
		return w
	}
	attrs := make(Attrs, len(w.Attrs)+1)
	for name, value := range w.Attrs {
		attrs[name] = value
	}
	attrs[attrWrite] = nonce
	w.Attrs = attrs
	return w
}
