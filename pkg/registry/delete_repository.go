package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// deleters is the number of manifests that one request deletes concurrently.
	deleters = 8
	// deletePage is the number of manifest rows that DeleteRepository holds in memory, each of
	// at most 400 KiB.
	deletePage = 100
)

// DeleteRepository deletes the manifests and tags of a repository and takes it out of the lists;
// garbage collection frees its blobs later. It works for Options.VerifyFor. If more is set, the
// caller must call it again; so it must after an error, which leaves the repository with a part
// of its manifests. Uploads in progress, and manifests whose push has begun and not ended, stay:
// they belong to clients that will be told that their push has succeeded. Such a push, and any
// later one, lists the repository again. The error is NAME_UNKNOWN if there is no such repository.
func (r *Registry) DeleteRepository(ctx context.Context, repo string) (oci.DeletedRepository, error) {
	rows, err := r.meta.Get(ctx, repositoryKey(repo))
	if err != nil {
		return oci.DeletedRepository{}, fmt.Errorf("read catalog row: %w", err)
	}
	d := repositoryDelete{Registry: r, repo: repo, until: r.opts.Now().Add(r.opts.VerifyFor)}
	err = d.deleteManifests(ctx)
	if err == nil && !d.did.More {
		err = d.deleteDanglingTags(ctx)
	}
	if err != nil || d.did.More {
		return d.did, err
	}
	listed := rows[0].Attrs != nil && decode[repositoryRow](rows[0].Attrs).State != repositoryIdle
	if !listed && d.did == (oci.DeletedRepository{}) {
		return d.did, errNameUnknown(repo)
	}
	return d.did, r.unlist(ctx, repo)
}

// unlist marks a repository as idle after its manifests were deleted, in any state of its row: if a
// push has published a manifest meanwhile, the lists find it. An idle row is marked again, because
// its new version makes a collection fail that has seen a manifest before and would end the mark.
func (r *Registry) unlist(ctx context.Context, repo string) error {
	return wrap("mark repository", r.meta.Transact(ctx, "",
		r.idleWrite(repo, Cond{}), r.review(repo, reviewRow{Kind: reviewRepo, Repo: repo})))
}

// repositoryDelete is one call of DeleteRepository.
type repositoryDelete struct {
	*Registry
	repo  string
	until time.Time

	mu  sync.Mutex
	did oci.DeletedRepository
}

// late reports whether the time is over. Each call does one step at least, so that repeated calls
// come to an end.
func (d *repositoryDelete) late(step int) bool {
	d.did.More = step > 0 && !d.opts.Now().Before(d.until)
	return d.did.More
}

func (d *repositoryDelete) count(manifests, tags int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did.Manifests += manifests
	d.did.Tags += tags
}

// deleteManifests deletes the live manifests with their tags.
func (d *repositoryDelete) deleteManifests(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deleters)
	step := 0
	var failed error
	for row, err := range d.queryAll(groupCtx, Query{PK: manifestPartition(d.repo), Limit: deletePage}) {
		if err != nil {
			failed = fmt.Errorf("read manifests: %w", err)
			break
		}
		manifest := decode[manifestRow](row.Attrs)
		if manifest.State != manifestLive {
			continue
		}
		if d.late(step) {
			break
		}
		step++
		group.Go(func() error {
			tags, err := d.deleteManifest(groupCtx, d.repo, oci.Digest(row.Key.SK), manifest)
			if errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
				return nil // another request has deleted it
			}
			if err == nil {
				d.count(1, tags)
			}
			return err
		})
	}
	return cmp.Or(group.Wait(), failed)
}

// deleteDanglingTags deletes tags that point at no live manifest. The rules leave none, but a table
// that was restored or edited may have some.
func (d *repositoryDelete) deleteDanglingTags(ctx context.Context) error {
	step := 0
	for row, err := range d.queryAll(ctx, Query{PK: tagPartition(d.repo), Limit: MaxPage}) {
		if err != nil {
			return fmt.Errorf("read tags: %w", err)
		}
		if d.late(step) {
			return nil
		}
		step++
		deleted, err := d.deleteDanglingTag(ctx, row.Key.SK, decode[tagRow](row.Attrs).Digest)
		if err != nil {
			return err
		}
		if deleted {
			d.count(0, 1)
		}
	}
	return nil
}

// deleteDanglingTag deletes a tag unless its manifest is live: then a push came after the delete of
// the manifests.
func (d *repositoryDelete) deleteDanglingTag(ctx context.Context, tag string, of oci.Digest) (deleted bool, err error) {
	rows, err := d.meta.Get(ctx, manifestKey(d.repo, of))
	if err != nil {
		return false, fmt.Errorf("read manifest of tag: %w", err)
	}
	manifest, same := decode[manifestRow](rows[0].Attrs), Absent()
	if manifest.State == manifestLive {
		return false, nil
	}
	if rows[0].Attrs != nil {
		same = unchanged(manifest.Version)
	}
	deleted, err = d.transactUnlessConflict(ctx, []Write{
		{Key: manifestKey(d.repo, of), Op: Check, If: same},
		deleteTag(d.repo, of, tag),
		{Key: edgeKey(d.repo, of, tag), Op: Delete},
	})
	return deleted, wrap("delete tag", err)
}
