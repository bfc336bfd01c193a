package registry

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"
)

// Limits of the attempts of one call. Adapters retry faults themselves first; after
// ErrUnavailable, a call that has taken at least patience is not repeated, because a client
// waits for the answer.
const (
	maxContended = 12 // with the pauses of pause, about two seconds
	maxFaults    = 3
	patience     = 2 * time.Second
)

// retrier repeats calls to the ports.
type retrier struct {
	clock func() time.Time
	sleep func(context.Context, time.Duration) error
}

// retry calls f until it succeeds or the store gives an answer (isAnswer). It gives up after
// maxContended ErrContended or maxFaults other errors. f must be safe to repeat.
func (r retrier) retry(ctx context.Context, f func() error) error {
	contended, faults := 0, 0
	began := r.clock()
	for {
		err := f()
		switch {
		case err == nil, isAnswer(err):
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case errors.Is(err, ErrUnavailable) && r.clock().Sub(began) >= patience: // throttling too
			return err
		case errors.Is(err, ErrContended):
			contended++
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

// isAnswer reports whether an error is the store's answer about a row or an object: a
// repetition would get the same.
func isAnswer(err error) bool {
	return asConflict(err) != nil || errors.Is(err, ErrTaken) || errors.Is(err, ErrNoContent) || errors.Is(err, ErrEncoded)
}

// retryContended repeats f after ErrContended, and after no other error.
func (r retrier) retryContended(ctx context.Context, f func() error) error {
	var last error
	err := r.retry(ctx, func() error {
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

// pause sleeps for a random time. Its upper bound doubles with each try, from 10 ms to 640 ms.
func (r retrier) pause(ctx context.Context, tries int) error {
	return r.sleep(ctx, rand.N(5*time.Millisecond<<min(tries, 7)))
}

// Sleep waits for d or until ctx ends, and then returns its cause. Adapters pause with it too.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retrying is the Metadata that the rules use. It repeats failed calls. It makes writes safe to
// repeat by giving each write a nonce: if a repeated write finds its own nonce in the row, the
// first attempt was applied and only its answer was lost.
type retrying struct {
	Metadata
	retrier
	nonce func() string
}

// Get implements Metadata.
func (m retrying) Get(ctx context.Context, keys ...Key) (rows []Row, err error) {
	err = m.retry(ctx, func() (err error) {
		rows, err = m.Metadata.Get(ctx, keys...)
		return err
	})
	return rows, err
}

// Query implements Metadata.
func (m retrying) Query(ctx context.Context, q Query) (page Page, err error) {
	err = m.retry(ctx, func() (err error) {
		page, err = m.Metadata.Query(ctx, q)
		return err
	})
	return page, err
}

// Update implements Metadata. A caller that needs the nonce even after an error sets attrVersion
// itself. A write without attributes (Delete) has no nonce: its repetition can report a
// *Conflict although the first attempt was applied.
func (m retrying) Update(ctx context.Context, w Write) (row Row, err error) {
	if w.Attrs[attrVersion] == nil {
		w = stamped(w, m.nonce())
	}
	err = m.retry(ctx, func() (err error) {
		row, err = m.Metadata.Update(ctx, w)
		if own := ownRow(err, w); own != nil {
			row, err = *own, nil
		}
		return err
	})
	return row, err
}

// ownRow returns the row that failed the write's condition if an earlier attempt of the same
// write has left it, or nil.
func ownRow(err error, w Write) *Row {
	conflict := asConflict(err)
	if conflict == nil || w.Attrs[attrVersion] == nil {
		return nil
	}
	if met := conflict.found(0); met != nil && met.Attrs[attrVersion] == w.Attrs[attrVersion] {
		return met
	}
	return nil
}

// Transact implements Metadata. The token is also the nonce of every write; if it is empty, a
// new nonce replaces it.
func (m retrying) Transact(ctx context.Context, token string, writes ...Write) error {
	if token == "" {
		token = m.nonce()
	}
	all := make([]Write, len(writes))
	for i, w := range writes {
		all[i] = stamped(w, token)
	}
	return m.retry(ctx, func() error { return m.Metadata.Transact(ctx, token, all...) })
}

// stamped returns the write with the nonce as version, if its Op is Set or Put.
func stamped(w Write, nonce string) Write {
	if w.Op != Set && w.Op != Put {
		return w
	}
	if w.Attrs = maps.Clone(w.Attrs); w.Attrs == nil {
		w.Attrs = Attrs{}
	}
	w.Attrs[attrVersion] = nonce
	return w
}
