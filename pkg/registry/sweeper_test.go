package registry

import (
	"context"
	"errors"

	"github.com/pierless/pierless/pkg/oci"
)

// sweeper is the least sweep that follows docs/design.md: the rules of the pushing
// side are worth nothing without one to withstand.
type sweeper struct{ blobs []string }

func (sw sweeper) sweep(ctx context.Context, r *Registry) error {
	for range 12 {
		if err := sw.pass(ctx, r); errors.Is(err, errCrashed) {
			return err
		}
		_ = r.opts.Sleep(ctx, simGrace)
	}
	return nil
}

func (sw sweeper) pass(ctx context.Context, r *Registry) error {
	for _, name := range sw.blobs {
		d := oci.SHA256.FromBytes([]byte(name))
		page, err := r.meta.Query(ctx, Query{PK: blobPartition(d), Limit: MaxPage})
		if err != nil {
			return err
		}
		for _, row := range page.Rows {
			if err := sw.candidate(ctx, r, d, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// candidate condemns, looks, and then deletes or restores.
func (sw sweeper) candidate(ctx context.Context, r *Registry, d oci.Digest, row Row) error {
	old := All(inState(blobLive), Less(attrRenewed, r.now()-simGrace.Milliseconds()))
	condemned, err := r.meta.Update(ctx, Write{Key: row.Key, Op: Set, If: old, Attrs: encode(blobRow{State: blobCondemned})})
	if asConflict(err) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	mine := All(inState(blobCondemned), unchanged(condemned.Attrs.text(attrVersion)))
	if row.Key.SK == "B" {
		return sw.blob(ctx, r, d, row, mine)
	}
	needed, err := sw.needed(ctx, r, row.Key.SK[len(linkPrefix):], d)
	if err != nil {
		return err
	}
	w := Write{Key: row.Key, Op: Delete, If: mine}
	if needed {
		w = Write{Key: row.Key, Op: Set, If: mine, Attrs: encode(blobRow{State: blobLive})}
	}
	_, err = r.meta.Update(ctx, w)
	return ignoreConflict(err)
}

// needed asks the manifests of a repository; pending ones count while fresh.
func (sw sweeper) needed(ctx context.Context, r *Registry, repo string, d oci.Digest) (bool, error) {
	page, err := r.meta.Query(ctx, Query{PK: manifestKey(repo, d).PK, Limit: MaxPage})
	if err != nil {
		return false, err
	}
	for _, row := range page.Rows {
		manifest := decode[manifestRow](row.Attrs)
		refs, err := unpackDigests(manifest.Refs)
		if err != nil {
			return false, err
		}
		for _, ref := range refs {
			if ref != d {
				continue
			}
			stale := manifest.State == manifestPending && manifest.Renewed < r.now()-simGrace.Milliseconds()
			if !stale {
				return true, nil
			}
			_, err := r.meta.Update(ctx, Write{Key: row.Key, Op: Delete, If: unchanged(manifest.Version)})
			if err != nil {
				return true, ignoreConflict(err) // not dropped: it counts
			}
		}
	}
	return false, nil
}

func (sw sweeper) blob(ctx context.Context, r *Registry, d oci.Digest, row Row, mine Cond) error {
	links, err := r.meta.Query(ctx, Query{PK: row.Key.PK, Prefix: linkPrefix, Limit: 1})
	if err != nil {
		return err
	}
	if len(links.Rows) > 0 {
		_, err := r.meta.Update(ctx, Write{Key: row.Key, Op: Set, If: mine, Attrs: encode(blobRow{State: blobLive})})
		return ignoreConflict(err)
	}
	key := row.Attrs.text(attrKey)
	err = r.meta.Transact(ctx, "",
		Write{Key: row.Key, Op: Delete, If: All(mine, Equal(attrKey, key))},
		Write{Key: objectKey(key), Op: Put, Attrs: encode(objectRow{State: objectDead})})
	if err != nil {
		return ignoreConflict(err)
	}
	return r.blobs.Delete(ctx, key)
}

func ignoreConflict(err error) error {
	if asConflict(err) != nil {
		return nil
	}
	return err
}
