package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// CompleteUpload turns an upload into a blob of the repository. Asked again after
// its answer was lost, it succeeds again. Errors: those of AppendUpload,
// DIGEST_INVALID and SIZE_INVALID, after which the upload stands where it did.
func (r *Registry) CompleteUpload(ctx context.Context, repo, id string, f Finish) error {
	s, err := r.claim(ctx, repo, id, f.Chunk)
	var ended *endedError
	if errors.As(err, &ended) && ended.digest == f.Digest {
		if err := r.checkRepeated(ctx, repo, ended); err != nil {
			return err
		}
		return r.drain(f.Chunk)
	}
	if err != nil {
		return err
	}
	c := commit{repo: repo, digest: f.Digest, key: s.key, rowIf: Equal(attrWrite, s.nonce)}
	if s.kept() {
		return r.finishKept(ctx, s, f, c)
	}
	if s.before.Size == 0 {
		s.hashes = upload.NewHashes(f.Digest.Algorithm())
		if c.size = f.Chunk.Length; c.size >= 0 && c.size <= smallBlob {
			return r.finishSmall(ctx, s, f, c)
		}
	}
	stored, err := r.store(ctx, &s, f.Chunk)
	if err != nil {
		return err
	}
	c.size, c.rowIf = stored.Size, Equal(attrWrite, s.nonce)
	computed, err := f.Check(s.hashes, stored.Size)
	if err != nil {
		r.cleanUp("refused last chunk", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		r.giveBack(ctx, &s, stored.Unused)
		return err
	}
	err = r.uncontended(ctx, func() error { return r.blobs.Complete(ctx, s.key, stored) })
	if err := r.finished(ctx, s, c, computed, err); err != nil {
		r.giveBack(ctx, &s, stored.Unused)
		return err
	}
	return r.commit(ctx, c)
}

// finishSmall stores a blob that came whole, without the detour over appended
// parts.
func (r *Registry) finishSmall(ctx context.Context, s session, f Finish, c commit) error {
	content, err := readSmall(f.Chunk)
	if err != nil {
		return err
	}
	s.hashes.Add(content)
	if _, err := f.Check(s.hashes, c.size); err != nil {
		return err
	}
	done, err := r.adoptExisting(ctx, c)
	if done || err != nil {
		return err
	}
	err = r.try(ctx, func() error { return r.blobs.Put(ctx, s.key, content) })
	if err := r.finished(ctx, s, c, true, err); err != nil {
		return err
	}
	return r.commit(ctx, c)
}

// firstRead is how much of a body must have come before there is memory for all of it, in
// bytes.
const firstRead = 64 << 10

// readSmall reads a body of known length into memory.
func readSmall(c Chunk) ([]byte, error) {
	body := upload.NewBody(c.Body, nil)
	content := bytes.NewBuffer(make([]byte, 0, min(c.Length, firstRead)+bytes.MinRead))
	if _, err := io.CopyN(content, body, firstRead); err == nil {
		content.Grow(int(max(c.Length-firstRead, 0)) + bytes.MinRead) // at most smallBlob

		_, _ = content.ReadFrom(body) // body remembers the error
	}
	return content.Bytes(), body.Check(c.Length)
}

// drain reads the body of a request that was answered before, so that the
// connection survives.
func (r *Registry) drain(c Chunk) error {
	body := upload.NewBody(c.Body, nil)
	_, _ = io.Copy(io.Discard, body)
	return body.Broken()
}

// spoil ends a session whose key holds content that nobody can name, if its row is
// still as it was.
func (r *Registry) spoil(ctx context.Context, key string, row Attrs) {
	_, err := r.update(ctx, Write{
		Key: objectKey(key), Op: Put, If: Equal(attrWrite, row.text(attrWrite)),
		Attrs: Attrs{attrState: stateDead, attrRepo: row.text(attrRepo)},
	})
	if err == nil {
		err = r.blobs.Delete(ctx, key)
	}
	r.cleanUp("spoiled upload", key, err)
}

// commit is content that is in place and proven, about to become a blob.
type commit struct {
	repo   string
	digest oci.Digest
	size   int64
	key    string
	// rowIf is what must be true of the key's row for it to end with this commit; the
	// zero Cond where the key has no row yet that could.
	rowIf Cond
}

// keyRow ends the key's row in a state.
func (c commit) keyRow(state string) Write {
	return Write{Key: objectKey(c.key), Op: Put, If: c.rowIf, Attrs: Attrs{
		attrState: state, attrRepo: c.repo, attrDigest: string(c.digest), attrSize: c.size,
	}}
}

// commit names the content. If the digest has a blob already, the repository gets
// a link to that one and the new object is deleted, unless the old object is lost.
func (r *Registry) commit(ctx context.Context, c commit) error {
	for range maxContended {
		err := r.transact(ctx, append(r.place(c, c.key, Absent()), c.keyRow(stateLive))...)
		var conflict *Conflict
		if !errors.As(err, &conflict) {
			return wrap("commit blob", err)
		}
		if old := conflict.old(placeWrites); old != nil {
			return r.settled(ctx, c, *old)
		}
		done, err := r.commitExisting(ctx, c, conflict.old(0).Attrs.text(attrKey))
		if done || err != nil {
			return err
		}
		// The blob that was there has just gone, or was healed.
	}
	return fmt.Errorf("commit blob: %w", ErrContended)
}

// commitExisting commits content whose digest has a blob under key: of the two objects one
// goes. Not done: the digest no longer has that key.
func (r *Registry) commitExisting(ctx context.Context, c commit, key string) (done bool, err error) {
	sound, err := r.sound(ctx, key, c.digest, c.size)
	if err != nil {
		return false, err
	}
	if !sound {
		return r.heal(ctx, c, key)
	}
	return r.adopt(ctx, c, key, func() {
		r.cleanUp("duplicate blob", c.key, r.blobs.Delete(ctx, c.key))
	})
}

// adopt links the repository to the content that the digest has under another
// key. dropOwn is called once the own key's row is dead by this very write. Not
// done: the digest has that content no longer.
func (r *Registry) adopt(ctx context.Context, c commit, key string, dropOwn func()) (done bool, err error) {
	writes := r.place(c, key, Equal(attrKey, key))
	if c.rowIf.Op != Always {
		writes = append(writes, c.keyRow(stateDead))
	}
	err = r.transact(ctx, writes...)
	var conflict *Conflict
	if err == nil {
		dropOwn()
		return true, nil
	}
	if !errors.As(err, &conflict) {
		return false, fmt.Errorf("link blob: %w", err)
	}
	if old := conflict.old(placeWrites); old != nil {
		return true, r.settled(ctx, c, *old)
	}
	return false, nil
}

// adoptExisting looks for the digest before anything is stored. The caller has
// proved that it has the content: a link is all that may be missing. Not done: the
// content must be stored.
func (r *Registry) adoptExisting(ctx context.Context, c commit) (done bool, err error) {
	rows, err := r.get(ctx, blobKey(c.digest))
	if err != nil {
		return false, fmt.Errorf("look for blob: %w", err)
	}
	if rows[0].Attrs == nil {
		return false, nil
	}
	key := rows[0].Attrs.text(attrKey)
	if sound, err := r.sound(ctx, key, c.digest, c.size); !sound || err != nil {
		return false, err
	}
	nothingStored := func() {}
	return r.adopt(ctx, c, key, nothingStored)
}

// placeWrites is how many writes place returns, the blob item's first.
const placeWrites = 3

// place writes blob item and link for content under key, and the link's review.
func (r *Registry) place(c commit, key string, blobItem Cond) []Write {
	live := func() Attrs {
		return Attrs{attrState: stateLive, attrKey: key, attrSize: c.size, attrTouched: r.now()}
	}
	return []Write{
		{Key: blobKey(c.digest), Op: Put, If: blobItem, Attrs: live()},
		{Key: linkKey(c.repo, c.digest), Op: Put, Attrs: live()},
		r.review(reviewLink, string(c.digest), Attrs{attrRepo: c.repo, attrDigest: string(c.digest)}),
	}
}

// settled looks at a key row that is no longer the committer's. Only where it is
// dead may anything be deleted: a live key is somebody else's blob.
func (r *Registry) settled(ctx context.Context, c commit, old Row) error {
	state := old.Attrs.text(attrState)
	if state != stateOpen && old.Attrs.digest(attrDigest) == c.digest {
		return nil // a twin of this request got there first
	}
	if state == stateDead {
		r.cleanUp("ended upload", c.key, r.blobs.Delete(ctx, c.key))
		return oci.NewError(oci.BlobUploadUnknown, "the upload was cancelled, or ended by another request: start a new one")
	}
	return upload.ErrTakenOver()
}

// PushBlob stores a whole blob that came in one request. length below 0 is
// unknown. Errors: DIGEST_INVALID, SIZE_INVALID, BLOB_UPLOAD_INVALID.
func (r *Registry) PushBlob(ctx context.Context, repo string, want oci.Digest, length int64, body io.Reader) error {
	if length < 0 || length > smallBlob {
		u, err := r.StartUpload(ctx, repo, want.Algorithm())
		if err != nil {
			return err
		}
		return r.CompleteUpload(ctx, repo, u.ID, Finish{Digest: want, Size: length, Chunk: Chunk{Offset: 0, Length: length, Body: body}})
	}
	content, err := readSmall(Chunk{Length: length, Body: body})
	if err != nil {
		return err
	}
	if err := upload.CheckDigest(want.Algorithm().FromBytes(content), want); err != nil {
		return err
	}
	return r.pushSmall(ctx, repo, want, content)
}

// pushSmall opens a session before it stores anything, and looks for the digest in the
// same write: content that a crash leaves behind has a row, and the list of uploads
// leads to it.
func (r *Registry) pushSmall(ctx context.Context, repo string, d oci.Digest, content []byte) error {
	look := []Write{{Key: blobKey(d), Op: Check, If: Absent()}}
	for range maxContended {
		_, key := r.newUpload()
		nonce := r.nonce()
		c := commit{repo: repo, digest: d, size: int64(len(content)), key: key, rowIf: Equal(attrWrite, nonce)}
		err := r.transactAs(ctx, nonce, slices.Concat(look, r.opening(key, r.openRow(repo)))...)
		var conflict *Conflict
		switch {
		case err == nil:
			if err := r.try(ctx, func() error { return r.putOnce(ctx, key, content) }); err != nil {
				return fmt.Errorf("store blob: %w", err)
			}
			return r.commit(ctx, c)
		case !errors.As(err, &conflict):
			return fmt.Errorf("open upload session: %w", err)
		case look == nil || conflict.old(0) == nil:
			continue // the key is an earlier try's, whose answer was lost
		}
		existing := conflict.old(0).Attrs.text(attrKey)
		sound, err := r.sound(ctx, existing, d, c.size)
		if err != nil {
			return err
		}
		if !sound {
			look = nil // store the content: its commit heals the blob
			continue
		}
		// It is there. If it goes before it is linked, it is stored after all.
		nothingStored := func() {}
		c.rowIf = Cond{}
		done, err := r.adopt(ctx, c, existing, nothingStored)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("push blob: %w", ErrContended)
}

// putOnce stores content under a key of our own. A key that is taken was taken
// by an earlier try whose answer was lost: nobody else knows it.
func (r *Registry) putOnce(ctx context.Context, key string, content []byte) error {
	if err := r.blobs.Put(ctx, key, content); err != nil && !errors.Is(err, ErrTaken) {
		return err
	}
	return nil
}

// wrap says what was attempted, and passes success on.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
