package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// DeleteManifest deletes a tag, or a manifest with all of its tags (spec, end-9). The
// error is MANIFEST_UNKNOWN, or UNSUPPORTED, among others.
func (r *Repository) DeleteManifest(ctx context.Context, ref oci.Reference) error {
	return r.client.remove(ctx, r.manifestRequest(http.MethodDelete, ref, "delete"))
}

// Deleted is the result of Delete.
type Deleted struct {
	Manifests int // that were deleted
	Tags      int
	// Partial is set if the registry cannot delete repositories. Manifests to which no tag leads
	// are left, because registries do not list them.
	Partial bool
}

// Delete deletes all manifests and tags of the repository, and calls progress, if it is not nil,
// with the counts so far. Pierless also takes the repository out of its catalog. In another
// registry Delete deletes the manifests to which tags lead, and those that their indexes list. If
// it fails, a part is deleted, and a repeated Delete deletes the rest. The error is NAME_UNKNOWN
// or UNSUPPORTED, among others.
func (r *Repository) Delete(ctx context.Context, progress func(Deleted)) (did Deleted, err error) {
	if progress == nil {
		progress = func(Deleted) {}
	}
	k := r.newRequest(http.MethodDelete, route.Request{Kind: route.Repository}, "delete")
	for {
		page, err := r.client.read(ctx, k, maxPage)
		var step oci.DeletedRepository
		if err == nil && (page.status != http.StatusAccepted || json.Unmarshal(page.body, &step) != nil) {
			return did, fmt.Errorf("%s %s: the answer %d is not that of Pierless", k.method, k.label, page.status)
		}
		did.Manifests += step.Manifests
		did.Tags += step.Tags
		switch {
		case hasStatus(err, http.StatusNotFound) && did != Deleted{}:
			return did, nil // another request has deleted the rest
		case hasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest):
			did, listErr := r.deleteListed(ctx, progress)
			if is(listErr, oci.NameUnknown) && isRepeated404(err) {
				return did, nil // the first attempt of the request deleted it
			}
			return did, listErr
		case err != nil:
			return did, err
		}
		progress(did)
		if !step.More {
			return did, nil
		}
	}
}

// deleters is the number of requests that deleteListed makes concurrently.
const deleters = 4

// deleteListed deletes the manifests of all tags, then those that their indexes list: some
// registries keep a manifest while an index lists it.
func (r *Repository) deleteListed(ctx context.Context, progress func(Deleted)) (Deleted, error) {
	did := Deleted{Partial: true}
	tree, tags, err := r.findTagged(ctx)
	for listed := range tree.below() {
		delete(tree, listed) // it comes later
	}
	for ; err == nil && len(tree) > 0; tree = tree.below() {
		var mu sync.Mutex
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(deleters)
		for d := range tree {
			group.Go(func() error {
				err := r.DeleteManifest(groupCtx, oci.Reference{Digest: d})
				if err != nil && !hasStatus(err, http.StatusNotFound) {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				did.Tags += tags[d]
				delete(tags, d)
				if err == nil {
					did.Manifests++
				}
				progress(did)
				return nil
			})
		}
		err = group.Wait()
	}
	return did, err
}

// manifestTree has the manifests that each index lists.
type manifestTree map[oci.Digest]manifestTree

// below returns the manifests one level deeper.
func (t manifestTree) below() manifestTree {
	all := manifestTree{}
	for _, listed := range t {
		for d, deeper := range listed {
			all[d] = deeper
		}
	}
	return all
}

// findTagged reads the tags and the indexes among their manifests. It returns how many tags lead
// to each manifest.
func (r *Repository) findTagged(ctx context.Context) (tree manifestTree, tags map[oci.Digest]int, err error) {
	var mu sync.Mutex
	tree, tags = manifestTree{}, map[oci.Digest]int{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deleters)
	var failed error
	for tag, err := range r.Tags(groupCtx) {
		if err != nil {
			failed = err
			break
		}
		group.Go(func() error {
			desc, err := r.Resolve(groupCtx, oci.Reference{Tag: tag})
			if hasStatus(err, http.StatusNotFound) {
				return nil // it was deleted since
			}
			if err != nil {
				return err
			}
			mu.Lock()
			tags[desc.Digest]++
			first := tags[desc.Digest] == 1
			mu.Unlock()
			if !first {
				return nil
			}
			listed, err := r.listedBy(groupCtx, desc, 0)
			mu.Lock()
			defer mu.Unlock()
			tree[desc.Digest] = listed
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	return tree, tags, failed
}

// maxNesting is the depth of indexes to which Delete follows.
const maxNesting = 8

// listedBy reads the manifests that an index lists. It ignores indexes that are not there.
func (r *Repository) listedBy(ctx context.Context, desc oci.Descriptor, depth int) (manifestTree, error) {
	if desc.MediaType != oci.MediaTypeImageIndex && desc.MediaType != oci.MediaTypeDockerList || depth == maxNesting {
		return nil, nil
	}
	m, err := r.Manifest(ctx, oci.Reference{Digest: desc.Digest})
	if hasStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return nil, nil //nolint:nilerr // a malformed index can be deleted without what it lists
	}
	tree := manifestTree{}
	for _, child := range parsed.Manifests {
		if tree[child.Digest], err = r.listedBy(ctx, child, depth+1); err != nil {
			return nil, err
		}
	}
	return tree, nil
}
