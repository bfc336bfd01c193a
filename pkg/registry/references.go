package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// checkReferences reads the rows of all references of a manifest with strong consistency, and
// reports all faults in one error. It renews the leases of links that garbage collection may
// soon delete. The same read shows whether the repository has a catalog row.
func (r *Registry) checkReferences(ctx context.Context, p manifestPush) error {
	wanted, keys := r.wanted(p)
	known := r.knows(p.repo)
	if !known {
		keys = append(keys, repositoryKey(p.repo))
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := r.meta.Get(ctx, keys...)
	if err != nil {
		return fmt.Errorf("read references: %w", err)
	}
	catalogRow := rows[len(rows)-1]
	rows = rows[:len(wanted)]
	if faults := referenceFaults(wanted, rows); len(faults) > 0 {
		return faults
	}
	if !known {
		if err := r.catalogue(ctx, catalogRow); err != nil {
			return err
		}
	}
	return r.renewLeases(ctx, wanted, rows)
}

// reference is a blob or manifest that must exist in the repository.
type reference struct {
	oci.Descriptor
	blob  bool
	sizes []int64 // in bytes, from all descriptors with this digest
}

// wanted lists the references that must exist, each digest once as a blob and once as a
// manifest, with the keys of their rows.
func (r *Registry) wanted(p manifestPush) ([]reference, []Key) {
	var refs []reference
	var keys []Key
	at := map[Key]int{}
	add := func(d oci.Descriptor, blob bool, key Key) {
		if i, found := at[key]; found {
			refs[i].sizes = append(refs[i].sizes, d.Size)
			return
		}
		at[key] = len(refs)
		refs = append(refs, reference{Descriptor: d, blob: blob, sizes: []int64{d.Size}})
		keys = append(keys, key)
	}
	for _, d := range p.manifest.Blobs {
		if !d.NonDistributable() {
			add(d, true, linkKey(p.repo, d.Digest))
		}
	}
	if !r.opts.AllowSparse {
		for _, d := range p.manifest.Manifests {
			add(d, false, manifestKey(p.repo, d.Digest))
		}
	}
	return refs, keys
}

// referenceFaults lists the missing references, then those with another size.
func referenceFaults(wanted []reference, rows []Row) oci.Errors {
	var unknown, wrong oci.Errors
	for i, ref := range wanted {
		have, exists := referenceSize(ref, rows[i].Attrs)
		if !exists {
			unknown = append(unknown, unknownReference(ref))
			continue
		}
		if at := slices.IndexFunc(ref.sizes, func(size int64) bool { return size != have }); at >= 0 {
			e := oci.NewError(oci.SizeInvalid, "the descriptor of %s has the size %d, but the content has %d bytes", ref.Digest, ref.sizes[at], have)
			e.Detail = map[string]any{"digest": ref.Digest, "size": have}
			wrong = append(wrong, e)
		}
	}
	return append(unknown, wrong...)
}

// referenceSize returns the size of a reference, and whether the repository has it.
func referenceSize(ref reference, attrs Attrs) (size int64, exists bool) {
	if ref.blob {
		return decode[linkRow](attrs).Size, attrs != nil
	}
	row := decode[manifestRow](attrs)
	return row.Size, row.State == manifestLive
}

func unknownReference(ref reference) *oci.Error {
	kind := "manifest"
	if ref.blob {
		kind = "blob"
	}
	e := oci.NewError(oci.ManifestBlobUnknown, "the repository has no %s %s: push it first", kind, ref.Digest)
	e.Detail = map[string]any{"digest": ref.Digest}
	return e
}

// catalogue writes the repository's catalog row if it is missing or idle. The manifest's transaction
// does not include this row: all first pushes to a repository would contend for it.
func (r *Registry) catalogue(ctx context.Context, row Row) error {
	seen := r.now()
	if decode[repositoryRow](row.Attrs).State != repositoryLive {
		repo := row.Key.SK
		err := r.meta.Transact(ctx, "",
			Write{Key: row.Key, Op: Set, Attrs: encode(repositoryRow{State: repositoryLive, Renewed: r.now()})},
			r.review(repo, reviewRow{Kind: reviewRepo, Repo: repo})) // in case that this push ends here
		if err != nil {
			return fmt.Errorf("write catalog row: %w", err)
		}
	}
	r.known.Add(row.Key.SK, seen)
	return nil
}

// knows reports whether this process has seen a repository in the catalog within a quarter of a
// grace. Garbage collection deletes the row of a repository only one grace after it has marked
// the row, so the row is still there.
func (r *Registry) knows(repo string) bool {
	seen, found := r.known.Get(repo)
	return found && seen > r.now()-r.opts.Grace.Milliseconds()/4
}
