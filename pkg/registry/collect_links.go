package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// need is the need of a repository for a blob.
type need struct {
	live  bool  // a manifest names it
	until int64 // a manifest that names it may be published until then; 0: none
}

// reviewLinks handles the reviews of links and of deleted manifests of one repository.
func (r *Registry) reviewLinks(ctx context.Context, repo string, reviews []Row, c *Collected) error {
	digests, err := reviewed(reviews)
	if err != nil {
		return err
	}
	idle, later, err := r.idleLinks(ctx, repo, digests, dropPending)
	if err != nil {
		return err
	}
	condemned, err := r.condemnLinks(ctx, idle, later)
	if err != nil {
		return err
	}
	deleted, err := r.deleteLinks(ctx, repo, condemned, later)
	c.Links += deleted
	if err != nil {
		return err
	}
	if err := r.reviewManifests(ctx, repo, reviews); err != nil {
		return err
	}
	c.Later += len(later)
	c.Kept += max(0, len(reviews)-len(later)-deleted)
	return r.settleReviews(ctx, repo, reviews, later)
}

// reviewManifests ends the deletes of manifests: it deletes their edges, and the repository if they
// were its last ones.
func (r *Registry) reviewManifests(ctx context.Context, repo string, reviews []Row) error {
	deleted := false
	for _, row := range reviews {
		review := decode[reviewRow](row.Attrs)
		if review.Kind != reviewManifest {
			continue
		}
		deleted = true
		if err := r.dropEdges(ctx, repo, review.Digest); err != nil {
			return err
		}
	}
	if !deleted {
		return nil
	}
	return r.retire(ctx, repo)
}

// dropEdges deletes the edges of a deleted manifest: those that lead to tags which were moved
// before the delete. If the manifest was pushed again, its edges stay.
func (r *Registry) dropEdges(ctx context.Context, repo string, d oci.Digest) error {
	tags, err := r.edges(ctx, repo, d)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(tags, MaxTransact-1) {
		writes := []Write{{Key: manifestKey(repo, d), Op: Check, If: Absent()}}
		for _, tag := range some {
			writes = append(writes, Write{Key: edgeKey(repo, d, tag), Op: Delete})
		}
		if applied, err := r.transactUnlessConflict(ctx, writes); !applied {
			return wrap("delete edges", err)
		}
	}
	return nil
}

// reviewed lists the digests of the links that the reviews concern, each once.
func reviewed(reviews []Row) ([]oci.Digest, error) {
	var all []oci.Digest
	seen := map[oci.Digest]bool{}
	for _, row := range reviews {
		refs, err := digestsOf(decode[reviewRow](row.Attrs))
		if err != nil {
			return nil, err
		}
		for _, d := range refs {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// digestsOf lists the digests of the links that a review concerns: one, or the references of a
// deleted manifest.
func digestsOf(review reviewRow) ([]oci.Digest, error) {
	if review.Kind == reviewLink {
		return []oci.Digest{review.Digest}, nil
	}
	return unpackDigests(review.Refs)
}

// stalePending says what look does with pending rows that are older than a grace: their pushes
// have ended, or will fail and start again.
type stalePending bool

const (
	dropPending  stalePending = true
	leavePending stalePending = false
)

// look reads all manifest rows of a repository and returns the needs for the digests.
func (r *Registry) look(ctx context.Context, repo string, digests []oci.Digest, stale stalePending) (map[oci.Digest]need, error) {
	needs := make(map[oci.Digest]need, len(digests))
	if len(digests) == 0 {
		return needs, nil
	}
	for _, d := range digests {
		needs[d] = need{}
	}
	for row, err := range r.queryAll(ctx, Query{PK: manifestPartition(repo), Limit: MaxPage}) {
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		manifest := decode[manifestRow](row.Attrs)
		of := need{live: manifest.State == manifestLive}
		if !of.live {
			if of.until, err = r.pendingUntil(ctx, row, manifest, stale); err != nil {
				return nil, err
			}
		}
		refs, err := unpackDigests(manifest.Refs)
		if err != nil {
			return nil, err
		}
		for _, d := range refs {
			if have, wanted := needs[d]; wanted {
				needs[d] = need{have.live || of.live, max(have.until, of.until)}
			}
		}
	}
	return needs, nil
}

// pendingUntil returns the time until which a pending row protects its references. It may delete
// the row if that time is over, unless the push has changed it.
func (r *Registry) pendingUntil(ctx context.Context, row Row, manifest manifestRow, stale stalePending) (int64, error) {
	if until := r.youngUntil(manifest.Renewed); until > 0 || stale == leavePending {
		return until, nil
	}
	_, err := r.meta.Update(ctx, Write{Key: row.Key, Op: Delete, If: unchanged(manifest.Version)})
	if asConflict(err) != nil {
		return r.now() + r.opts.Grace.Milliseconds(), nil
	}
	return 0, wrap("delete pending manifest", err)
}

// idleLinks returns the rows of the links that no manifest needs and whose leases have ended. later
// has the others that a manifest or a push may need soon, and the time of their next review.
func (r *Registry) idleLinks(
	ctx context.Context, repo string, digests []oci.Digest, stale stalePending,
) (idle []Row, later map[oci.Digest]int64, err error) {
	needs, err := r.look(ctx, repo, digests, stale)
	if err != nil {
		return nil, nil, err
	}
	later = map[oci.Digest]int64{}
	var unneeded []oci.Digest
	var keys []Key
	for _, d := range digests {
		switch of := needs[d]; {
		case of.live:
		case of.until > 0:
			later[d] = of.until
		default:
			unneeded, keys = append(unneeded, d), append(keys, linkKey(repo, d))
		}
	}
	rows, err := r.meta.Get(ctx, keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("read links: %w", err)
	}
	for i, row := range rows {
		if row.Attrs == nil {
			continue
		}
		if until := r.youngUntil(decode[linkRow](row.Attrs).Renewed); until > 0 {
			later[unneeded[i]] = until
			continue
		}
		idle = append(idle, row)
	}
	return idle, later, nil
}

// condemnedLink is a link that is about to be deleted.
type condemnedLink struct {
	digest  oci.Digest
	version string
}

// condemnLinks condemns links, and puts those that were changed since they were read into later.
func (r *Registry) condemnLinks(ctx context.Context, links []Row, later map[oci.Digest]int64) ([]condemnedLink, error) {
	var condemned []condemnedLink
	for _, row := range links {
		d := linkDigest(row.Key)
		version, err := r.condemn(ctx, row)
		if err != nil {
			return nil, err
		}
		if version == "" {
			later[d] = r.now() + r.opts.Grace.Milliseconds()
			continue
		}
		condemned = append(condemned, condemnedLink{d, version})
	}
	return condemned, nil
}

// deleteLinks looks again, then deletes or restores condemned links. The delete of a link queues
// a review of the blob.
func (r *Registry) deleteLinks(
	ctx context.Context, repo string, condemned []condemnedLink, later map[oci.Digest]int64,
) (deleted int, err error) {
	digests := make([]oci.Digest, len(condemned))
	for i, link := range condemned {
		digests[i] = link.digest
	}
	needs, err := r.look(ctx, repo, digests, dropPending)
	if err != nil {
		return 0, err
	}
	for _, link := range condemned {
		if of := needs[link.digest]; of.live || of.until > 0 {
			if err := r.restore(ctx, linkKey(repo, link.digest), link.version); err != nil {
				return deleted, err
			}
			if !of.live {
				later[link.digest] = of.until
			}
			continue
		}
		applied, err := r.transactUnlessConflict(ctx, []Write{
			{Key: linkKey(repo, link.digest), Op: Delete, If: unchanged(link.version)},
			r.reviewAt(string(link.digest), reviewRow{Kind: reviewBlob, Digest: link.digest}, r.now()),
		})
		switch {
		case err != nil:
			return deleted, fmt.Errorf("delete link: %w", err)
		case applied:
			deleted++
		default: // a request has renewed the lease
			later[link.digest] = r.now() + r.opts.Grace.Milliseconds()
		}
	}
	return deleted, nil
}

// settleReviews deletes the reviews, and queues a review for each link in later. The review of a
// deleted manifest goes after the reviews of its references.
func (r *Registry) settleReviews(ctx context.Context, repo string, reviews []Row, later map[oci.Digest]int64) error {
	var writes []Write
	for _, d := range slices.Sorted(maps.Keys(later)) {
		writes = append(writes, r.reviewAt(repo, reviewRow{Kind: reviewLink, Repo: repo, Digest: d}, later[d]))
	}
	for _, row := range reviews {
		writes = append(writes, Write{Key: row.Key, Op: Delete})
	}
	for some := range slices.Chunk(writes, MaxTransact) {
		if err := r.meta.Transact(ctx, "", some...); err != nil {
			return fmt.Errorf("settle reviews: %w", err)
		}
	}
	return nil
}
