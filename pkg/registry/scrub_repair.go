package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// A repair makes the rows true again, so that the next push of an image sends what is lost. Each
// write has conditions on all that was found: if a push has healed a blob meanwhile, or anything
// else has changed, the repair of this finding does nothing, and the next scrub looks again. The key
// of an object becomes dead first, and is queued for the sweep, which deletes the object.

// repairAll repairs the findings, and leaves out the images that need no push any more.
func (s *scrubber) repairAll(ctx context.Context) error {
	if !s.options.Repair {
		return nil
	}
	left := map[oci.Digest]bool{}
	for i := range s.scrubbed.Findings {
		f := &s.scrubbed.Findings[i]
		var err error
		if f.Repair, err = s.repair(ctx, *f); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		if f.Repair != RepairDone && f.Problem != Orphan {
			left[f.Digest] = true
		}
		s.progress()
	}
	s.scrubbed.Images = slices.DeleteFunc(s.scrubbed.Images, func(image Image) bool {
		return !slices.ContainsFunc(image.Broken, func(d oci.Digest) bool { return left[d] })
	})
	return nil
}

// repair repairs a finding.
func (s *scrubber) repair(ctx context.Context, f Finding) (Repair, error) {
	switch f.Problem {
	case Orphan:
		if f.Modified.UnixMilli() > s.now()-orphanAge.Milliseconds() {
			return RepairNone, nil
		}
		return s.retireKey(ctx, f)
	case Unnamed:
		return s.retireKey(ctx, f)
	case Lost, WrongSize, Damaged:
		return s.dropContent(ctx, f)
	case DeadKey:
		if revived, err := s.revive(ctx, f); revived || err != nil {
			return RepairDone, err
		}
		return s.dropContent(ctx, f)
	case WrongLink:
		return s.repairLink(ctx, f)
	case Missing:
		return s.linkMissing(ctx, f)
	case NoContent:
		return s.dropHalf(ctx, f)
	case NoTarget:
	}
	return RepairNone, nil // a push of the tag replaces it
}

// sameRow holds if a row has not changed since it was read.
func sameRow(row Row) Cond {
	if row.Attrs == nil {
		return Absent()
	}
	return unchanged(row.version())
}

// deadKeyWrites returns the writes that make a key dead, if its row has not changed, and queue its
// object for ExpireUploads.
func (s *scrubber) deadKeyWrites(key string, row Row) []Write {
	return []Write{
		{Key: objectKey(key), Op: Put, If: sameRow(row), Attrs: encode(s.deadRow(objectRow{}))},
		s.expiryWrite(key, s.now()),
	}
}

// repaired returns the result of a repair whose writes may not have been applied.
func repaired(done Repair, applied bool, err error) (Repair, error) {
	if !applied {
		done = RepairNone
	}
	return done, err
}

// retireKey makes the key of an object that nothing refers to dead. Nothing can refer to it later:
// an upload that has no row, or another one, fails.
func (s *scrubber) retireKey(ctx context.Context, f Finding) (Repair, error) {
	applied, err := s.transactUnlessConflict(ctx, s.deadKeyWrites(f.Key, f.row))
	return repaired(RepairDone, applied, err)
}

// dropContent ends the use of an object that is lost or damaged.
func (s *scrubber) dropContent(ctx context.Context, f Finding) (Repair, error) {
	row, err := s.getOne(ctx, blobKey(f.Digest))
	if err != nil {
		return RepairNone, err
	}
	if row.Attrs.text(attrKey) == f.Key {
		return s.dropBlob(ctx, f)
	}
	return s.dropManifest(ctx, f)
}

// unusable reports whether an object is still as it was found: an operator may have put it back.
func (s *scrubber) unusable(ctx context.Context, f Finding) (bool, error) {
	if f.Problem == DeadKey {
		return true, nil
	}
	problem, _, err := s.lookAt(ctx, f.Key, f.Expected)
	if problem != "" || err != nil || f.Problem != Damaged {
		return problem != "", err
	}
	d, err := s.hashObject(ctx, f.Key, f.Digest.Algorithm(), &prefix{})
	return d != f.Digest, err
}

// dropBlob deletes a blob and all of its links, so that clients send its bytes again. Every request
// that links a repository to the blob, and every push that heals it, writes the blob's row: the
// version that was read before the links shows that there are no others.
func (s *scrubber) dropBlob(ctx context.Context, f Finding) (Repair, error) {
	const links = MaxTransact - 3 // beside the writes of the blob, its key and the expiry
	for contended := 0; contended < maxContended; {
		rows, err := s.meta.Get(ctx, blobKey(f.Digest), objectKey(f.Key))
		if err != nil {
			return RepairNone, fmt.Errorf("read blob: %w", err)
		}
		blob, object := rows[0], rows[1]
		bad, err := s.unusable(ctx, f)
		if err != nil || !bad || blob.Attrs.text(attrKey) != f.Key || f.row.Key == object.Key && object.version() != f.row.version() {
			return RepairNone, err // a push has healed the blob, or it was deleted
		}
		page, err := s.meta.Query(ctx, Query{PK: blobPartition(f.Digest), Prefix: linkPrefix, Limit: links})
		if err != nil {
			return RepairNone, fmt.Errorf("read links: %w", err)
		}
		writes := []Write{{Key: blob.Key, Op: Check, If: unchanged(blob.version())}}
		if !page.More {
			writes = append(s.deadKeyWrites(f.Key, object), Write{Key: blob.Key, Op: Delete, If: unchanged(blob.version())})
		}
		for _, link := range page.Rows {
			writes = append(writes, Write{Key: link.Key, Op: Delete})
		}
		applied, err := s.transactUnlessConflict(ctx, writes)
		switch {
		case err != nil:
			return RepairNone, fmt.Errorf("delete blob: %w", err)
		case !applied:
			contended++
		case !page.More:
			return RepairPush, nil
		}
	}
	return RepairNone, nil
}

// dropManifest deletes the bytes of a manifest if they are wrong. A manifest without its bytes is
// unknown to clients, and a push of it stores them again: not until they are gone, because the store
// may not know that they are wrong. So they cannot wait for the sweep.
func (s *scrubber) dropManifest(ctx context.Context, f Finding) (Repair, error) {
	manifest, err := s.getOne(ctx, manifestKey(f.Repository, f.Digest))
	if err != nil || manifest.Attrs.text(attrKey) != f.Key {
		return RepairNone, err
	}
	if f.Problem == Lost || f.Problem == DeadKey {
		return RepairPush, nil
	}
	if bad, err := s.unusable(ctx, f); err != nil || !bad {
		return RepairNone, err
	}
	applied, err := s.transactUnlessConflict(ctx, s.deadKeyWrites(f.Key, f.row)) // a push that heals it makes the key dead
	if applied {
		s.cleanUp("damaged manifest", f.Key, s.blobs.Delete(ctx, f.Key))
	}
	return repaired(RepairPush, applied, err)
}

// revive makes a key live that has lost its row, if the object has the right bytes. A dead key stays
// dead: its object is about to be deleted.
func (s *scrubber) revive(ctx context.Context, f Finding) (bool, error) {
	row, err := s.getOne(ctx, objectKey(f.Key))
	if err != nil || decode[objectRow](row.Attrs).State == objectDead {
		return false, err
	}
	if problem, _, err := s.lookAt(ctx, f.Key, f.Expected); err != nil || problem != "" {
		return false, err
	}
	d, err := s.hashObject(ctx, f.Key, f.Digest.Algorithm(), &prefix{})
	if err != nil || d != f.Digest {
		if errors.Is(err, ErrNoContent) {
			err = nil
		}
		return false, err
	}
	live := objectRow{State: objectLive, Repo: f.Repository, Digest: f.Digest, Size: f.Expected}
	return s.transactUnlessConflict(ctx, []Write{
		{Key: row.Key, Op: Put, If: sameRow(row), Attrs: encode(live)},
		{Key: f.row.Key, Op: Check, If: Equal(attrKey, f.Key)},
	})
}

// repairLink gives a link the key of its blob, or deletes it if there is no blob.
func (s *scrubber) repairLink(ctx context.Context, f Finding) (Repair, error) {
	row, err := s.getOne(ctx, blobKey(f.Digest))
	if err != nil {
		return RepairNone, err
	}
	if row.Attrs != nil {
		err := s.relink(ctx, f.Digest, row.Attrs.text(attrKey))
		return repaired(RepairDone, err == nil, err)
	}
	applied, err := s.transactUnlessConflict(ctx, []Write{
		{Key: row.Key, Op: Check, If: Absent()},
		{Key: f.row.Key, Op: Delete, If: sameRow(f.row)},
	})
	return repaired(RepairPush, applied, err)
}

// linkMissing links a repository to a blob that one of its manifests refers to, if the registry
// still has the blob. The repository had it when the manifest was pushed.
func (s *scrubber) linkMissing(ctx context.Context, f Finding) (Repair, error) {
	row, err := s.getOne(ctx, blobKey(f.Digest))
	if err != nil || row.Attrs == nil {
		return RepairNone, err
	}
	blob := decode[blobRow](row.Attrs) // if its object is lost, another finding drops the blob
	b := newBlob{repo: f.Repository, digest: f.Digest, size: blob.Size}
	applied, err := s.transactUnlessConflict(ctx, append(s.linkWrites(b, blob.Key, unchanged(row.version())),
		Write{Key: f.row.Key, Op: Check, If: sameRow(f.row)}))
	return repaired(RepairDone, applied, err)
}

// dropHalf deletes a live manifest without bytes, so that a push stores it again, or bytes without a
// live manifest, which nothing protects from garbage collection.
func (s *scrubber) dropHalf(ctx context.Context, f Finding) (Repair, error) {
	row, err := s.getOne(ctx, manifestKey(f.Repository, f.Digest))
	if err != nil {
		return RepairNone, err
	}
	manifest := decode[manifestRow](row.Attrs)
	writes := []Write{
		{Key: contentKey(f.Repository, f.Digest), Op: Delete, If: sameRow(f.row)},
		{Key: row.Key, Op: Check, If: sameRow(row)},
	}
	switch {
	case f.row.Key == row.Key:
		writes = s.deleteWrites(f.Repository, f.Digest, manifest)
		writes[1].If = Absent() // its bytes
	case manifest.State == manifestLive:
		return RepairNone, nil
	}
	applied, err := s.transactUnlessConflict(ctx, writes)
	return repaired(RepairPush, applied, err)
}
