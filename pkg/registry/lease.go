package registry

import (
	"context"

	"github.com/pierless/pierless/pkg/oci"
	"golang.org/x/sync/errgroup"
)

// touchers is how many links are touched at once.
const touchers = 8

// stale reports whether a link must be touched before anyone may rely on it.
func (r *Registry) stale(link Attrs) bool {
	return link.text(attrState) != stateLive || r.old(link)
}

// old reports whether a row was touched so long ago that its lease needs renewal.
func (r *Registry) old(row Attrs) bool {
	return row.number(attrTouched) < r.now()-r.opts.Grace.Milliseconds()/2
}

// touch renews the lease of a link, if it is still there.
func (r *Registry) touch(ctx context.Context, link Key) (there bool, err error) {
	_, err = r.meta.Update(ctx, Write{Key: link, Op: Set, If: Exists(), Attrs: Attrs{attrState: stateLive, attrTouched: r.now()}})
	if asConflict(err) != nil {
		return false, nil
	}
	return err == nil, wrap("touch blob link", err)
}

// touchStale renews the leases that are old or condemned. A link that goes at
// this moment was never ours to rely on.
func (r *Registry) touchStale(ctx context.Context, wanted []reference, rows []Row) error {
	gone := make([]bool, len(wanted))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(touchers)
	for i, ref := range wanted {
		if !ref.blob || !r.stale(rows[i].Attrs) {
			continue
		}
		group.Go(func() error {
			there, err := r.touch(groupCtx, rows[i].Key)
			gone[i] = !there
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var faults oci.Errors
	for i, ref := range wanted {
		if gone[i] {
			faults = append(faults, unknownReference(ref))
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}
