package registry

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// List is a page of names in byte order.
type List struct {
	Names []string
	More  bool // more names follow the last one
}

// idleLooks is the number of idle repositories that one request looks at concurrently.
const idleLooks = 16

// Tags lists at most n tags that sort after last; last need not be an existing tag. If n
// exceeds MaxPage, MaxPage applies. The error is NAME_UNKNOWN if there is no such repository: no
// client has pushed a manifest to it, or it was deleted.
func (r *Registry) Tags(ctx context.Context, repo, last string, n int) (List, error) {
	list, err := r.list(ctx, tagPartition(repo), last, n)
	if err != nil || len(list.Names) > 0 {
		return list, err
	}
	rows, err := r.meta.Get(ctx, repositoryKey(repo))
	if err != nil {
		return List{}, fmt.Errorf("read catalog row: %w", err)
	}
	if found, err := r.listed(ctx, rows); err != nil || len(found) > 0 {
		return list, err
	}
	return List{}, errNameUnknown(repo)
}

// Repositories lists at most n repositories that sort after last and that readable accepts; nil
// accepts all. last need not be an existing repository. If n exceeds MaxPage, MaxPage applies. The
// list is the same as if the other repositories did not exist. It takes a call for each MaxPage
// repositories that are read, and one for each idle one that readable accepts. More may be set if
// only deleted repositories follow.
func (r *Registry) Repositories(ctx context.Context, last string, n int, readable func(repo string) bool) (List, error) {
	n = max(0, min(n, MaxPage))
	limit, enough := n, n
	if readable != nil {
		// Pages have the same size for every n, so that the number of calls tells little about what
		// the caller may not read. More must not tell it either: it needs one name more.
		limit, enough = MaxPage, n+1
	}
	names, page := []string{}, Page{More: n > 0}
	for page.More && len(names) < enough {
		var err error
		if page, err = r.meta.Query(ctx, Query{PK: catalogPartition, After: last, Limit: limit}); err != nil {
			return List{}, fmt.Errorf("list repositories: %w", err)
		}
		rows := slices.DeleteFunc(page.Rows, func(row Row) bool {
			last = row.Key.SK
			return readable != nil && !readable(last)
		})
		found, err := r.listed(ctx, rows)
		if err != nil {
			return List{}, err
		}
		names, limit = append(names, found...), MaxPage
	}
	return List{Names: names[:min(n, len(names))], More: len(names) > n || page.More}, nil
}

// listed returns the names of those catalog rows whose repositories are in the lists. A repository
// that is marked as idle is there only if it has a manifest: a process that remembers the row as
// it was before does not read it when it pushes.
func (r *Registry) listed(ctx context.Context, rows []Row) ([]string, error) {
	names := make([]string, len(rows))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(idleLooks)
	for i, row := range rows {
		switch {
		case row.Attrs == nil:
		case decode[repositoryRow](row.Attrs).State != repositoryIdle:
			names[i] = row.Key.SK
		default:
			group.Go(func() error {
				found, err := r.hasManifest(groupCtx, row.Key.SK)
				if found {
					names[i] = row.Key.SK
				}
				return err
			})
		}
	}
	err := group.Wait()
	return slices.DeleteFunc(names, func(name string) bool { return name == "" }), err
}

// hasManifest reports whether a repository has a live manifest.
func (r *Registry) hasManifest(ctx context.Context, repo string) (bool, error) {
	for row, err := range r.queryAll(ctx, Query{PK: manifestPartition(repo), Limit: 2}) {
		if err != nil {
			return false, fmt.Errorf("look for manifests: %w", err)
		}
		if decode[manifestRow](row.Attrs).State == manifestLive {
			return true, nil
		}
	}
	return false, nil
}

func (r *Registry) list(ctx context.Context, partition, last string, n int) (List, error) {
	list := List{Names: []string{}}
	if n <= 0 {
		return list, nil
	}
	page, err := r.meta.Query(ctx, Query{PK: partition, After: last, Limit: min(n, MaxPage)})
	if err != nil {
		return List{}, fmt.Errorf("list: %w", err)
	}
	for _, row := range page.Rows {
		list.Names = append(list.Names, row.Key.SK)
	}
	list.More = page.More
	return list, nil
}
