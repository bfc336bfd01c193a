package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/pierless/pierless/pkg/oci"
)

// Limits of what a registry takes.
const (
	// MaxManifest is the largest manifest, in bytes: 4 MiB, which the spec asks to
	// support and a Lambda function can still be handed.
	MaxManifest = 4 << 20
	// MaxReferences is the number of different descriptors in one manifest.
	MaxReferences = 10_000
	// maxPackedRefs is the most that these take in a row, in bytes. DynamoDB's rows
	// end at 400 KiB; keys and the other attributes of a manifest take up to 2 KiB.
	maxPackedRefs = 396 << 10
	// MaxTagsPerPush is the number of tags that one manifest push can set: each
	// takes two of a transaction's MaxTransact writes.
	MaxTagsPerPush = 45
	// inlineManifest is the largest manifest kept in its row; larger ones would eat
	// a partition's write capacity.
	inlineManifest = 64 << 10
	// smallBlob is the largest blob that PushBlob holds in memory.
	smallBlob = 5 << 20
	// sessionLife is how long an upload lives after its last chunk.
	sessionLife = 24 * time.Hour
	// cachedManifests of at most inlineManifest bytes are kept by a process.
	cachedManifests = 256
	// knownRepositories is how many catalog rows a process remembers to be there.
	knownRepositories = 4096
)

// Options of a Registry. The zero value is ready for use.
type Options struct {
	// AllowSparse accepts an index whose children are not in the repository.
	AllowSparse bool
	// Grace protects what was touched, from the sweep. 0 means 24 hours.
	Grace time.Duration
	// VerifyFor is how long one call of VerifyDirect reads. 0 means 15 seconds: half of
	// what the gateway before the functions waits.
	VerifyFor time.Duration
	// Log receives what went wrong in clean-ups that no client waits for. nil
	// means slog.Default.
	Log *slog.Logger

	// The rest is for tests that need to decide what time and chance do.
	Now   func() time.Time
	Rand  io.Reader
	Sleep func(context.Context, time.Duration) error
}

// Registry is the rules over the two ports. It holds no state that another
// process would miss, only caches of what cannot change.
type Registry struct {
	meta  Metadata
	blobs Blobs
	opts  Options

	manifests *lru.Cache[oci.Digest, []byte] // bytes by digest; a row read proves that they live
	known     *lru.Cache[string, struct{}]   // repositories with a catalog row
}

// New returns a Registry over a pair of ports.
func New(meta Metadata, blobs Blobs, opts Options) *Registry {
	if opts.Grace == 0 {
		opts.Grace = 24 * time.Hour
	}
	if opts.VerifyFor == 0 {
		opts.VerifyFor = 15 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	r := &Registry{meta: meta, blobs: blobs, opts: opts}
	r.manifests, _ = lru.New[oci.Digest, []byte](cachedManifests) // fails only for a size below 1
	r.known, _ = lru.New[string, struct{}](knownRepositories)
	return r
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

func (r *Registry) now() int64 { return millis(r.opts.Now()) }

// random returns n random bytes in hexadecimal.
func (r *Registry) random(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.opts.Rand, b); err != nil {
		panic(fmt.Sprintf("registry: no randomness: %v", err))
	}
	return hex.EncodeToString(b)
}

// nonce names one write. 128 bits: no two writes ever share one.
func (r *Registry) nonce() string { return r.random(16) }

// newUpload returns an upload id and the content key that belongs to it. Who
// knows the id may write; the key, which presigned URLs show, does not betray it.
func (r *Registry) newUpload() (id, key string) {
	id = r.random(32)
	return id, uploadKey(id)
}

func uploadKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

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
	return r.opts.Sleep(ctx, time.Duration(mathrand.Int64N(int64(limit))))
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

// review asks the sweep to look at something once a grace has passed.
func (r *Registry) review(kind string, subject string, attrs Attrs) Write {
	attrs[attrKind] = kind
	due := r.now() + r.opts.Grace.Milliseconds()
	return Write{Key: reviewKey(subject, due, r.nonce()), Op: Put, Attrs: attrs}
}

// sessionReview asks ExpireUploads to look at an upload once it expires.
func (r *Registry) sessionReview(key string, expires int64) Write {
	return Write{Key: sessionKey(key, expires, r.nonce()), Op: Put, Attrs: Attrs{attrKey: key}}
}

// cleanUp logs the failure of a clean-up. What is left behind is garbage that the
// sweep finds, so the client is not bothered.
func (r *Registry) cleanUp(what, key string, err error) {
	if err != nil {
		r.opts.Log.Warn("clean-up left something for the sweep", "what", what, "key", key, "error", err)
	}
}

// old returns the row that a write of a failed transaction met, nil if its
// condition held.
func (c *Conflict) old(i int) *Row {
	if i >= len(c.Old) {
		return nil
	}
	return c.Old[i]
}
