package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/pierless/pierless/pkg/oci"
)

// Limits of a registry.
const (
	// MaxManifest is the largest manifest, in bytes: 4 MiB, which the spec asks registries
	// to support and which fits into a Lambda request.
	MaxManifest = 4 << 20
	// MaxReferences is the number of different descriptors in one manifest.
	MaxReferences = 10_000
	// maxPackedRefs is the size limit of these in a row, in bytes. DynamoDB's rows end at
	// 400 KiB; keys and the other attributes of a manifest take up to 2 KiB.
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

// Options configure a Registry. The zero value is ready for use.
type Options struct {
	// AllowSparse accepts an index whose children are not in the repository.
	AllowSparse bool
	// Grace protects content from the sweep after its lease was renewed. 0 means 24 hours.
	Grace time.Duration
	// VerifyFor is how long one call of VerifyDirect reads. 0 means 15 seconds: half of the
	// API gateway's timeout.
	VerifyFor time.Duration
	// Log records failures of clean-ups, which no client waits for. nil means slog.Default.
	Log *slog.Logger

	// The rest lets tests control time and randomness.
	Now   func() time.Time
	Rand  io.Reader
	Sleep func(context.Context, time.Duration) error
}

// Registry implements the rules over the two ports. Its only state is caches of
// immutable facts, so any number of processes can serve one registry.
type Registry struct {
	meta  Metadata // retrying
	blobs Blobs
	opts  Options
	retrier

	manifests *lru.Cache[oci.Digest, []byte] // bytes by digest; a row read proves that they live
	known     *lru.Cache[string, struct{}]   // repositories with a catalog row
}

// New returns a Registry over a pair of ports.
func New(meta Metadata, blobs Blobs, opts Options) *Registry {
	opts.Grace = cmp.Or(opts.Grace, 24*time.Hour)
	opts.VerifyFor = cmp.Or(opts.VerifyFor, 15*time.Second)
	opts.Log = cmp.Or(opts.Log, slog.Default())
	opts.Rand = cmp.Or(opts.Rand, rand.Reader)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Sleep == nil {
		opts.Sleep = Sleep
	}
	r := &Registry{blobs: blobs, opts: opts, retrier: retrier{clock: opts.Now, sleep: opts.Sleep}}
	r.meta = retrying{Metadata: meta, retrier: r.retrier, nonce: r.nonce}
	r.manifests, _ = lru.New[oci.Digest, []byte](cachedManifests) // fails only for a size below 1
	r.known, _ = lru.New[string, struct{}](knownRepositories)
	return r
}

func (r *Registry) now() int64 { return r.opts.Now().UnixMilli() }

// random returns n random bytes in hexadecimal.
func (r *Registry) random(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.opts.Rand, b); err != nil {
		panic(fmt.Sprintf("registry: no randomness: %v", err))
	}
	return hex.EncodeToString(b)
}

// nonce identifies one write. 128 bits: no two writes ever share one.
func (r *Registry) nonce() string { return r.random(16) }

// review asks the sweep to look at something once a grace has passed. The subject chooses
// the shard of the queue.
func (r *Registry) review(subject string, row reviewRow) Write {
	due := r.now() + r.opts.Grace.Milliseconds()
	return Write{Key: reviewKey(subject, due, r.nonce()), Op: Put, Attrs: encode(row)}
}

// queryAll yields the rows of a query, page after page of q.Limit rows, until the first
// error.
func (r *Registry) queryAll(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for page := (Page{More: true}); page.More; {
			var err error
			if page, err = r.meta.Query(ctx, q); err != nil {
				yield(Row{}, err)
				return
			}
			for _, row := range page.Rows {
				if q.After = row.Key.SK; !yield(row, nil) {
					return
				}
			}
		}
	}
}

// cleanUp logs the failure of a clean-up. The sweep finds the garbage, so the client gets
// no error.
func (r *Registry) cleanUp(what, key string, err error) {
	if err != nil {
		r.opts.Log.Warn("clean-up left something for the sweep", "what", what, "key", key, "error", err)
	}
}
