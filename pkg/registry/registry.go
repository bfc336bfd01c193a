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
	// maxPackedRefs limits the packed digests of the references in a row, in bytes. A
	// DynamoDB item holds 400 KiB, of which keys and other attributes take up to 2 KiB.
	maxPackedRefs = 396 << 10
	// MaxTagsPerPush is the number of tags that one manifest push can set. Each tag takes
	// two of a transaction's MaxTransact writes (tag and edge).
	MaxTagsPerPush = 45
	// inlineManifest is the size of the largest manifest stored in the table, in bytes;
	// larger ones would use up the write capacity of a DynamoDB partition.
	inlineManifest = 64 << 10
	// smallBlob is the size of the largest blob that a request holds in memory, in bytes.
	smallBlob = 5 << 20
	// sessionLife is the time from the last chunk of an upload to its expiry.
	sessionLife = 24 * time.Hour
	// cachedManifests is the number of manifests in the cache of a process, each of at most
	// inlineManifest bytes.
	cachedManifests = 256
	// knownRepositories is the number of repositories whose catalog row a process knows to
	// exist.
	knownRepositories = 4096
)

// DefaultGrace is the time for which garbage collection keeps unused content.
const DefaultGrace = 24 * time.Hour

// Options configure a Registry. The zero value is ready for use.
type Options struct {
	// AllowSparse accepts an index whose children are not in the repository.
	AllowSparse bool
	// Grace is the time for which garbage collection keeps content after the last renewal of
	// its lease. 0 means DefaultGrace.
	Grace time.Duration
	// VerifyFor is the time for which one call of VerifyDirect reads, and in which one of
	// DeleteRepository starts to delete manifests. 0 means 15 seconds, half of API Gateway's
	// timeout.
	VerifyFor time.Duration
	// Log records failed clean-ups, which clients never see. nil means slog.Default.
	Log *slog.Logger

	// Tests set the following fields to control time and randomness.
	Now   func() time.Time
	Rand  io.Reader
	Sleep func(context.Context, time.Duration) error
}

// Registry implements the rules over the two ports. It keeps no state except caches of
// immutable facts, so any number of processes can serve one registry.
type Registry struct {
	meta  Metadata // of type retrying
	blobs Blobs
	opts  Options
	retrier

	manifests *lru.Cache[oci.Digest, []byte] // bytes by digest; a row proves that they are live
	known     *lru.Cache[string, int64]      // when a repository was seen in the catalog
}

// New returns a Registry over a pair of ports.
func New(meta Metadata, blobs Blobs, opts Options) *Registry {
	opts.Grace = cmp.Or(opts.Grace, DefaultGrace)
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
	r.known, _ = lru.New[string, int64](knownRepositories)
	return r
}

// Retrying returns meta with the retries that the rules use. It stamps each Set and Put with a
// unique nonce in the attribute AttrVersion, so that a repeated write recognises itself.
func Retrying(meta Metadata) Metadata {
	return retrying{Metadata: meta, retrier: retrier{clock: time.Now, sleep: Sleep}, nonce: rand.Text}
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

// nonce returns 128 random bits, which identify one write.
func (r *Registry) nonce() string { return r.random(16) }

// review returns the write that queues a row for garbage collection after one grace. The
// subject selects the shard of the queue.
func (r *Registry) review(subject string, row reviewRow) Write {
	return Write{Key: reviewKey(subject, r.now(), r.nonce()), Op: Put, Attrs: encode(row)}
}

// reviewAt returns the write that queues a row for garbage collection at a time.
func (r *Registry) reviewAt(subject string, row reviewRow, due int64) Write {
	since := max(due-r.opts.Grace.Milliseconds(), 0)
	return Write{Key: reviewKey(subject, since, r.nonce()), Op: Put, Attrs: encode(row)}
}

// queryAll yields the rows of all pages of a query, and stops after the first error. A page
// has at most q.Limit rows.
func (r *Registry) queryAll(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return QueryAll(ctx, r.meta, q)
}

// QueryAll reads all pages of a query, of q.Limit rows each. It ends after the first error.
func QueryAll(ctx context.Context, meta Metadata, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for page := (Page{More: true}); page.More; {
			var err error
			if page, err = meta.Query(ctx, q); err != nil {
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

// cleanUp logs the error of a clean-up instead of returning it: the clean-up does not change
// the result of the request, and leftover garbage harms no client.
func (r *Registry) cleanUp(what, key string, err error) {
	if err != nil {
		r.opts.Log.Warn("clean-up failed", "what", what, "key", key, "error", err)
	}
}
