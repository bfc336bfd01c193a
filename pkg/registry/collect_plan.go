package registry

import (
	"context"
	"fmt"
)

// PlanCollect returns what Collect would delete now, without a write. It may count too much: it
// does not know the requests that come before Collect.
func (r *Registry) PlanCollect(ctx context.Context) (c Collected, err error) {
	gone := map[Key]bool{} // links that would be deleted
	blobs := map[Key]bool{}
	for shard := range queueShards {
		byRepo := map[string][]Row{}
		for row, err := range r.queryAll(ctx, Query{PK: reviewPartition(shard), Limit: MaxPage}) {
			if err != nil {
				return c, fmt.Errorf("read queue of reviews: %w", err)
			}
			if r.dueAt(row) > r.now() {
				break
			}
			if c.Oldest == 0 || r.dueAt(row) < c.Oldest {
				c.Oldest = r.dueAt(row)
			}
			review := decode[reviewRow](row.Attrs)
			if review.Kind == reviewBlob {
				blobs[blobKey(review.Digest)] = true
			} else {
				byRepo[review.Repo] = append(byRepo[review.Repo], row)
			}
		}
		for repo, reviews := range byRepo {
			if err := r.planLinks(ctx, repo, reviews, gone); err != nil {
				return c, err
			}
		}
	}
	c.Links = len(gone)
	for link := range gone {
		blobs[Key{link.PK, blobSortKey}] = true
	}
	for blob := range blobs {
		if err := r.planBlob(ctx, blob, gone, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// planLinks adds the links of a repository that would be deleted.
func (r *Registry) planLinks(ctx context.Context, repo string, reviews []Row, gone map[Key]bool) error {
	digests, err := reviewed(reviews)
	if err != nil {
		return err
	}
	idle, _, err := r.idleLinks(ctx, repo, digests, leavePending)
	for _, row := range idle {
		gone[row.Key] = true
	}
	return err
}

// planBlob counts a blob if all of its links would be deleted.
func (r *Registry) planBlob(ctx context.Context, blob Key, gone map[Key]bool, c *Collected) error {
	var size int64
	found := false
	for row, err := range r.queryAll(ctx, Query{PK: blob.PK, Limit: MaxPage}) {
		switch {
		case err != nil:
			return fmt.Errorf("read links: %w", err)
		case row.Key == blob:
			row := decode[blobRow](row.Attrs)
			size, found = row.Size, r.youngUntil(row.Renewed) == 0
		case !gone[row.Key]:
			return nil
		}
	}
	if found {
		c.Blobs++
		c.Bytes += size
	}
	return nil
}
