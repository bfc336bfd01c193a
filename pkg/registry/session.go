package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// session is a claimed upload.
type session struct {
	key    string
	nonce  string // of the claim's last write: the row's generation
	row    Attrs
	before Stored
	claim  Claim
	hashes hashes
}

// kept reports whether the upload has its content in place, after a refused digest.
func (s session) kept() bool { return s.row.number(attrComplete) == 1 }

// newUpload returns an upload id and the content key that belongs to it. Who
// knows the id may write; the key, which presigned URLs show, does not betray it.
func (r *Registry) newUpload() (id, key string) {
	id = r.random(32)
	return id, uploadKey(id)
}

func uploadKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// sessionEnd is when an upload expires that is used now.
func (r *Registry) sessionEnd() int64 { return r.now() + sessionLife.Milliseconds() }

// openRow is what the rows of all uploads have in common while they are open.
func (r *Registry) openRow(repo string) Attrs {
	return Attrs{attrState: stateOpen, attrRepo: repo, attrExpires: r.sessionEnd()}
}

// opening writes the row of a new upload, and puts it on the list of those that expire.
func (r *Registry) opening(key string, row Attrs) []Write {
	return []Write{
		{Key: objectKey(key), Op: Put, If: Absent(), Attrs: row},
		r.sessionReview(key, row.number(attrExpires)),
	}
}

// sessionReview asks ExpireUploads to look at an upload once it expires.
func (r *Registry) sessionReview(key string, expires int64) Write {
	return Write{Key: sessionKey(key, expires, r.nonce()), Op: Put, Attrs: Attrs{attrKey: key}}
}

// claim takes an upload over: whoever claimed it before can no longer record
// anything, and gets no part numbers in common with this claim. So a request
// that hangs, or was given up by its client, blocks nobody.
func (r *Registry) claim(ctx context.Context, repo, id string, c Chunk) (session, error) {
	s := session{key: uploadKey(id)}
	parts := partsFor(c.Length)
	conds := []Cond{Equal(attrState, stateOpen), Equal(attrRepo, repo), Greater(attrExpires, r.now())}
	if c.Offset >= 0 {
		conds = append(conds, Equal(attrOffset, c.Offset))
	}
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: All(conds...), Add: map[string]int64{attrNext: parts},
		Attrs: Attrs{attrExpires: r.sessionEnd()}, // it may take long from here
	})
	if conflict := asConflict(err); conflict != nil {
		return session{}, r.refuseClaim(conflict, repo, id)
	}
	if err != nil {
		return session{}, fmt.Errorf("claim upload session: %w", err)
	}
	s.row, s.nonce = row.Attrs, row.Attrs.text(attrWrite)
	s.before = Stored{Size: row.Attrs.number(attrOffset), State: row.Attrs.bytes(attrStored)}
	s.claim = Claim{Nonce: s.nonce, First: row.Attrs.number(attrNext) - parts, Count: parts}
	s.hashes, err = loadHashes(row.Attrs)
	return s, err
}

func (r *Registry) refuseClaim(conflict *Conflict, repo, id string) error {
	old := conflict.found(0).Attrs
	if err := r.checkOpen(old, repo); err != nil {
		if done := old.digest(attrDigest); done != "" && old.text(attrRepo) == repo {
			return &endedError{digest: done, error: err}
		}
		return err
	}
	return &OffsetError{Upload{ID: id, Offset: old.number(attrOffset)}}
}

// checkOpen says why a session cannot be used, in one answer for all reasons: a
// stranger learns nothing of other repositories' uploads.
func (r *Registry) checkOpen(attrs Attrs, repo string) error {
	if attrs.text(attrState) != stateOpen || attrs.text(attrRepo) != repo || attrs.number(attrExpires) <= r.now() {
		return oci.NewError(oci.BlobUploadUnknown, "this upload was not started in this repository, has ended, or has expired: start a new one")
	}
	return nil
}

// lostClaim says what became of a session while this request held a claim on it.
func (r *Registry) lostClaim(conflict *Conflict, repo string) error {
	if old := conflict.found(0); old != nil {
		if err := r.checkOpen(old.Attrs, repo); err != nil {
			return err
		}
	}
	return errTakenOver()
}

// cancel ends a session that is open, and returns what it was.
func (r *Registry) cancel(ctx context.Context, repo, key string) (ended Attrs, err error) {
	rows, err := r.meta.Get(ctx, objectKey(key))
	if err != nil {
		return nil, fmt.Errorf("read upload session: %w", err)
	}
	return r.endSession(ctx, key, rows[0].Attrs, func(row Attrs) error { return r.checkOpen(row, repo) })
}

// endSession makes the row of a session dead, if check finds nothing against it, and
// returns what the row was, also where check has an error, which is returned as it is.
func (r *Registry) endSession(ctx context.Context, key string, row Attrs, check func(Attrs) error) (Attrs, error) {
	for range maxContended {
		if err := check(row); err != nil {
			return row, err
		}
		_, err := r.meta.Update(ctx, Write{
			Key: objectKey(key), Op: Put, If: Equal(attrWrite, row.text(attrWrite)), Attrs: deadSession(row),
		})
		conflict := asConflict(err)
		if conflict == nil {
			return row, wrap("end upload", err)
		}
		row = conflict.found(0).Attrs
	}
	return nil, fmt.Errorf("end upload: %w", ErrContended)
}

// deadSession keeps what is needed to drop the bytes once more, should that fail.
func deadSession(row Attrs) Attrs {
	dead := Attrs{attrState: stateDead, attrRepo: row.text(attrRepo)}
	if stored := row.bytes(attrStored); stored != nil {
		dead[attrStored], dead[attrOffset] = stored, row.number(attrOffset)
	}
	return dead
}

// forget drops what a dead session had stored, for the last time.
func (r *Registry) forget(ctx context.Context, key string, row Attrs) error {
	if err := r.drop(ctx, key, row); err != nil || row.bytes(attrStored) == nil {
		return err
	}
	_, err := r.meta.Update(ctx, Write{ // dead is final: the condition only says so
		Key: objectKey(key), Op: Put, If: Equal(attrState, stateDead),
		Attrs: Attrs{attrState: stateDead, attrRepo: row.text(attrRepo)},
	})
	return err
}

// drop removes what an ended session had stored: parts, tails, and the content that a
// completion left which was never recorded.
func (r *Registry) drop(ctx context.Context, key string, row Attrs) error {
	return errors.Join(r.discard(ctx, key, row), r.blobs.Delete(ctx, key))
}

// discard drops what an ended session had stored and not completed.
func (r *Registry) discard(ctx context.Context, key string, ended Attrs) error {
	stored := Stored{Size: ended.number(attrOffset), State: ended.bytes(attrStored)}
	return r.blobs.Discard(ctx, key, stored, Stored{})
}

// spoil ends a session whose key holds content that nobody can name, if its row is
// still as it was.
func (r *Registry) spoil(ctx context.Context, key string, row Attrs) {
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(key), Op: Put, If: Equal(attrWrite, row.text(attrWrite)),
		Attrs: Attrs{attrState: stateDead, attrRepo: row.text(attrRepo)},
	})
	if err == nil {
		err = r.blobs.Delete(ctx, key)
	}
	r.cleanUp("spoiled upload", key, err)
}
