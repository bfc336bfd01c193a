package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// Garbage collection reads the queue of reviews, never the registry: every write that can make
// a link or a blob superfluous queues a review of it, due one grace later. A review ends in one
// of three ways: the content is in use, and the review is dropped; the content may be in use
// soon, and the review is queued again; or the content is condemned, looked at once more, and
// deleted. Condemning changes the version of the row, and so does every request that relies on
// the row: the delete requires the version, so it fails if a request came between.
//
// A review is deleted after all that follows from it: a crash leaves a review whose work is done
// in part, and the next Collect continues. The bytes are deleted last, by ExpireUploads.

// Collected is the result of Collect.
type Collected struct {
	Links  int   `json:"links"`        // links deleted: a repository no longer has the blob
	Blobs  int   `json:"blobs"`        // blobs deleted, with their objects
	Bytes  int64 `json:"bytes"`        // their size
	Repos  int   `json:"repositories"` // repositories that left the catalog
	Kept   int   `json:"kept"`         // reviews of content in use
	Later  int   `json:"later"`        // reviews queued again
	Failed int   `json:"failed"`       // reviews that stay in the queue because of an error
	// Oldest is the time of the oldest review that is due, in milliseconds since 1970, when
	// Collect began; 0 if none was due.
	Oldest int64 `json:"oldest,omitempty"`
	More   bool  `json:"-"` // reviews that are due may be left
}

// Collect handles due reviews, at most limit of each shard of the queue. Any number of processes
// may run it at the same time, and each may crash at any step. If a review fails, it stays in the
// queue and Collect continues with the others; the returned error joins all failures.
func (r *Registry) Collect(ctx context.Context, limit int) (c Collected, err error) {
	var failed []error
	for shard := range queueShards {
		page, err := r.meta.Query(ctx, Query{PK: reviewPartition(shard), Limit: min(limit, MaxPage)})
		if err != nil {
			return c, errors.Join(append(failed, fmt.Errorf("read queue of reviews: %w", err))...)
		}
		due := r.due(page.Rows)
		c.More = c.More || page.More && len(due) == len(page.Rows)
		if len(due) > 0 && (c.Oldest == 0 || r.dueAt(due[0]) < c.Oldest) {
			c.Oldest = r.dueAt(due[0])
		}
		failed = append(failed, r.reviewAll(ctx, due, &c)...)
		if ctx.Err() != nil {
			return c, errors.Join(append(failed, context.Cause(ctx))...)
		}
	}
	return c, errors.Join(failed...)
}

// dueAt returns the time at which a review is due, by the grace of this registry.
func (r *Registry) dueAt(review Row) int64 { return dueOf(review.Key) + r.opts.Grace.Milliseconds() }

// due returns the rows of a queue that are due.
func (r *Registry) due(rows []Row) []Row {
	for i, row := range rows {
		if r.dueAt(row) > r.now() {
			return rows[:i]
		}
	}
	return rows
}

// reviewAll handles reviews: those of blobs and repositories one by one, those of links and manifests by
// repository, so that one look at the manifests of a repository decides all of them.
func (r *Registry) reviewAll(ctx context.Context, due []Row, c *Collected) (failed []error) {
	byRepo := map[string][]Row{}
	var repos []string // in the order of their oldest review
	for _, row := range due {
		review := decode[reviewRow](row.Attrs)
		var err error
		switch review.Kind {
		case reviewBlob:
			err = r.reviewBlob(ctx, row, review.Digest, c)
		case reviewRepo:
			err = r.reviewRepository(ctx, row, review.Repo, c)
		case reviewLink, reviewManifest:
			if byRepo[review.Repo] == nil {
				repos = append(repos, review.Repo)
			}
			byRepo[review.Repo] = append(byRepo[review.Repo], row)
		}
		if err != nil {
			c.Failed++
			failed = append(failed, err)
		}
	}
	for _, repo := range repos {
		if err := r.reviewLinks(ctx, repo, byRepo[repo], c); err != nil {
			c.Failed += len(byRepo[repo])
			failed = append(failed, err)
		}
	}
	return failed
}

// condemn marks a link for deletion, if it still has the version that was read. It
// returns the new version; "" if the row was changed since. A row that is condemned already
// keeps its version: another collection has crashed, or races for it.
func (r *Registry) condemn(ctx context.Context, row Row) (version string, err error) {
	link := decode[linkRow](row.Attrs)
	version = row.version()
	if link.State == blobCondemned {
		return version, nil
	}
	condemned, err := r.meta.Update(ctx, Write{
		Key: row.Key, Op: Set, If: unchanged(version), Attrs: encode(linkRow{State: blobCondemned}),
	})
	if asConflict(err) != nil {
		return "", nil
	}
	return condemned.version(), wrap("condemn", err)
}

// restore ends the condemnation of a row, unless a request has done so.
func (r *Registry) restore(ctx context.Context, key Key, version string) error {
	_, err := r.meta.Update(ctx, Write{Key: key, Op: Set, If: unchanged(version), Attrs: encode(linkRow{State: blobLive})})
	if asConflict(err) != nil {
		return nil
	}
	return wrap("restore", err)
}

// youngUntil returns the time until which a lease protects its row; 0 if it has ended.
func (r *Registry) youngUntil(renewed int64) int64 {
	if until := renewed + r.opts.Grace.Milliseconds(); until >= r.now() {
		return until + 1
	}
	return 0
}

// reviewBlob deletes a blob that no repository has.
func (r *Registry) reviewBlob(ctx context.Context, review Row, d oci.Digest, c *Collected) error {
	page, err := r.meta.Query(ctx, Query{PK: blobPartition(d), Limit: 2}) // the blob's row sorts before the links
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	if len(page.Rows) != 1 || page.Rows[0].Key != blobKey(d) {
		c.Kept++
		return r.dropReview(ctx, review)
	}
	row := decode[blobRow](page.Rows[0].Attrs)
	if until := r.youngUntil(row.Renewed); until > 0 {
		return r.deferReview(ctx, review, string(d), until, c)
	}
	return r.deleteBlob(ctx, review, d, page.Rows[0].version(), row, c)
}

// deleteBlob deletes a blob, and queues its object for ExpireUploads. Every request that links a
// repository to the blob writes its row in the same transaction, so its version shows that no
// repository was linked since it was read: no second look is needed.
func (r *Registry) deleteBlob(ctx context.Context, review Row, d oci.Digest, version string, row blobRow, c *Collected) error {
	err := r.meta.Transact(ctx, "",
		Write{Key: blobKey(d), Op: Delete, If: unchanged(version)},
		Write{Key: objectKey(row.Key), Op: Put, Attrs: encode(r.deadRow(objectRow{}))},
		r.expiryWrite(row.Key, r.now()),
		Write{Key: review.Key, Op: Delete})
	if asConflict(err) != nil { // a request has linked a repository to the blob
		return r.deferReview(ctx, review, string(d), r.now()+r.opts.Grace.Milliseconds(), c)
	}
	if err == nil {
		c.Blobs++
		c.Bytes += row.Size
	}
	return wrap("delete blob", err)
}

func (r *Registry) dropReview(ctx context.Context, review Row) error {
	_, err := r.meta.Update(ctx, Write{Key: review.Key, Op: Delete})
	return wrap("drop review", err)
}

// deferReview queues a review again. The subject selects the shard, as it did before.
func (r *Registry) deferReview(ctx context.Context, review Row, subject string, due int64, c *Collected) error {
	c.Later++
	return wrap("defer review", r.meta.Transact(ctx, "", Write{Key: review.Key, Op: Delete},
		r.reviewAt(subject, decode[reviewRow](review.Attrs), due)))
}
