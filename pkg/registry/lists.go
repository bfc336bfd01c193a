package registry

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// List is a page of names in byte order.
type List struct {
	Names []string
	More  bool // more names follow the last one
}

// Tags lists at most n tags that sort after last; last need not be an existing tag. If n
// exceeds MaxPage, MaxPage applies. The error is NAME_UNKNOWN if no client has ever pushed a
// manifest to the repository.
func (r *Registry) Tags(ctx context.Context, repo, last string, n int) (List, error) {
	list, err := r.list(ctx, tagPartition(repo), last, n)
	if err != nil || len(list.Names) > 0 {
		return list, err
	}
	rows, err := r.meta.Get(ctx, repositoryKey(repo))
	if err != nil {
		return List{}, fmt.Errorf("read catalog row: %w", err)
	}
	if rows[0].Attrs == nil {
		return List{}, oci.NewError(oci.NameUnknown, "no manifest was ever pushed to repository %s", repo)
	}
	return list, nil
}

// Repositories lists at most n repositories that sort after last and that readable accepts; nil
// accepts all. last need not be an existing repository. If n exceeds MaxPage, MaxPage applies. The
// list is the same as if the other repositories did not exist; it takes a call for each MaxPage
// repositories that are read.
func (r *Registry) Repositories(ctx context.Context, last string, n int, readable func(repo string) bool) (List, error) {
	if readable == nil || n <= 0 {
		return r.list(ctx, catalogPartition, last, n)
	}
	n = min(n, MaxPage)
	names, page := []string{}, List{More: true}
	for page.More && len(names) <= n {
		// Pages have the same size for every n, so that the number of calls tells little about what
		// the caller may not read.
		var err error
		if page, err = r.list(ctx, catalogPartition, last, MaxPage); err != nil {
			return List{}, err
		}
		for _, last = range page.Names {
			if readable(last) {
				names = append(names, last)
			}
		}
	}
	return List{Names: names[:min(n, len(names))], More: len(names) > n}, nil
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
