package registry

import (
	"context"
	"fmt"
)

// A repository without manifests leaves the catalog. Processes remember for a quarter of a grace
// that they have seen its row, and a push writes its pending manifest before it looks for the row.
// So the row is marked as idle first, and deleted one grace later if there is no manifest by then.

// retire reviews a repository of which a manifest was deleted: if that was the last one, it
// queues a review that leads to the end of the repository.
func (r *Registry) retire(ctx context.Context, repo string) error {
	row, last, err := r.repository(ctx, repo)
	if err != nil || row.State != repositoryLive || last.Attrs != nil {
		return err
	}
	return r.markIdle(ctx, repo, row, nil)
}

// repository returns the catalog row of a repository, and one of its manifest rows if it has
// any. It reads the catalog row first: a push that it does not see changes that row afterwards.
func (r *Registry) repository(ctx context.Context, repo string) (row repositoryRow, manifest Row, err error) {
	rows, err := r.meta.Get(ctx, repositoryKey(repo))
	if err != nil {
		return row, Row{}, fmt.Errorf("read catalog row: %w", err)
	}
	page, err := r.meta.Query(ctx, Query{PK: manifestPartition(repo), Limit: 1})
	if err != nil {
		return row, Row{}, fmt.Errorf("look for manifests: %w", err)
	}
	if len(page.Rows) > 0 {
		manifest = page.Rows[0]
	}
	return decode[repositoryRow](rows[0].Attrs), manifest, nil
}

// markIdle marks a repository, and queues its review in place of old. It does nothing if a push has
// changed the row: then the next Collect looks again.
func (r *Registry) markIdle(ctx context.Context, repo string, row repositoryRow, old []Write) error {
	_, err := r.transactUnlessConflict(ctx, append(old,
		r.idleWrite(repo, unchanged(row.Version)),
		r.review(repo, reviewRow{Kind: reviewRepo, Repo: repo})))
	return wrap("mark repository", err)
}

// idleWrite marks a repository as idle, on a condition.
func (r *Registry) idleWrite(repo string, condition Cond) Write {
	return Write{
		Key: repositoryKey(repo), Op: Set, If: condition,
		Attrs: encode(repositoryRow{State: repositoryIdle, Renewed: r.now()}),
	}
}

// reviewRepository marks a repository without manifests, or ends it if it was marked one grace
// ago.
func (r *Registry) reviewRepository(ctx context.Context, review Row, repo string, c *Collected) error {
	row, manifest, err := r.repository(ctx, repo)
	if err != nil {
		return err
	}
	drop := []Write{{Key: review.Key, Op: Delete}}
	until := r.youngUntil(row.Renewed)
	switch {
	case manifest.Attrs != nil:
		return r.keepRepository(ctx, review, repo, row, manifest, c)
	case row.State == repositoryLive:
		c.Later++
		return r.markIdle(ctx, repo, row, drop)
	case row.State == repositoryIdle && until > 0:
		return r.deferReview(ctx, review, repo, until, c)
	case row.State == repositoryIdle:
		deleted, err := r.transactUnlessConflict(ctx, append(drop, Write{Key: repositoryKey(repo), Op: Delete, If: unchanged(row.Version)}))
		if deleted {
			c.Repos++
		}
		return wrap("delete catalog row", err)
	}
	return r.dropReview(ctx, review) // there is no row
}

// keepRepository ends the review of a repository with a manifest: the delete of its last one
// begins another. A stale pending manifest does not count.
func (r *Registry) keepRepository(
	ctx context.Context, review Row, repo string, row repositoryRow, manifest Row, c *Collected,
) error {
	if pending := decode[manifestRow](manifest.Attrs); pending.State != manifestLive {
		until, err := r.pendingUntil(ctx, manifest, pending, dropPending)
		if err != nil {
			return err
		}
		return r.deferReview(ctx, review, repo, max(until, r.now()+1), c)
	}
	if row.State == repositoryIdle {
		_, err := r.meta.Update(ctx, Write{
			Key: repositoryKey(repo), Op: Set, If: unchanged(row.Version), Attrs: encode(repositoryRow{State: repositoryLive}),
		})
		if asConflict(err) == nil && err != nil {
			return fmt.Errorf("restore repository: %w", err)
		}
	}
	c.Kept++
	return r.dropReview(ctx, review)
}
