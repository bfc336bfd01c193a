package registry

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
)

// Garbage collection deletes a link that no manifest needs, but only one grace after the last
// renewal of its lease. A client that skips an upload because the link exists relies on this
// time to push its manifest.

// renewers is the number of leases that one request renews concurrently.
const renewers = 8

// mustRenew reports whether a link's lease must be renewed before a client may rely on it.
func (r *Registry) mustRenew(link linkRow) bool {
	return link.State != blobLive || r.leaseExpired(link.Renewed)
}

// leaseExpired reports whether a lease is older than half a grace. The client needs the other
// half to finish its push.
func (r *Registry) leaseExpired(renewed int64) bool {
	return renewed < r.now()-r.opts.Grace.Milliseconds()/2
}

// renewLease renews the lease of a link and makes it live, if the link still exists.
func (r *Registry) renewLease(ctx context.Context, link Key) (exists bool, err error) {
	_, err = r.meta.Update(ctx, Write{
		Key: link, Op: Set, If: Exists(), Attrs: encode(linkRow{State: blobLive, Renewed: r.now()}),
	})
	if asConflict(err) != nil {
		return false, nil
	}
	return err == nil, wrap("renew lease of blob link", err)
}

// renewLeases renews the expired leases among the references of a manifest. It reports a link
// that was deleted since rows were read as a missing reference.
func (r *Registry) renewLeases(ctx context.Context, wanted []reference, rows []Row) error {
	missing := make([]*oci.Error, len(wanted))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(renewers)
	for i, ref := range wanted {
		if !ref.blob || !r.mustRenew(decode[linkRow](rows[i].Attrs)) {
			continue
		}
		group.Go(func() error {
			exists, err := r.renewLease(groupCtx, rows[i].Key)
			if !exists {
				missing[i] = unknownReference(ref)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	found := func(fault *oci.Error) bool { return fault == nil }
	if missing = slices.DeleteFunc(missing, found); len(missing) > 0 {
		return oci.Errors(missing)
	}
	return nil
}
