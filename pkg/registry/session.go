package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// session is an upload through the registry that this request has claimed.
type session struct {
	key       string
	uploadRow // as the claim's last write returned it
	before    Stored
	claim     Claim
	hashes    upload.Hashes
}

// newUpload returns an upload id and its content key. A client that knows the id may write to
// the upload. The key, which presigned URLs contain, does not reveal the id.
func (r *Registry) newUpload() (id, key string) {
	id = r.random(32)
	return id, uploadKey(id)
}

func uploadKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// sessionEnd returns the time at which an upload expires if this request is its last.
func (r *Registry) sessionEnd() int64 { return r.now() + sessionLife.Milliseconds() }

// openRow returns the row of a new upload session.
func (r *Registry) openRow(repo string) objectRow {
	return objectRow{State: objectOpen, Repo: repo, Expires: r.sessionEnd()}
}

// openWrites returns the writes of the row of a new upload and of its expiry.
func (r *Registry) openWrites(key string, row Attrs, expires int64) []Write {
	return []Write{
		{Key: objectKey(key), Op: Put, If: Absent(), Attrs: row},
		r.expiryWrite(key, expires),
	}
}

// expiryWrite returns the write that queues an upload for ExpireUploads.
func (r *Registry) expiryWrite(key string, expires int64) Write {
	return Write{Key: expiryKey(key, expires, r.nonce()), Op: Put, Attrs: encode(expiryRow{Key: key})}
}

// claim takes over an upload for this request: an earlier claim can no longer record chunks,
// and has no part numbers in common with the new one. So a request that hangs, or that its
// client has given up, does not block the next request.
func (r *Registry) claim(ctx context.Context, repo, id string, c Chunk) (session, error) {
	s := session{key: uploadKey(id)}
	parts := partsFor(c.Length)
	conds := []Cond{inState(objectOpen), Equal(attrRepo, repo), Greater(attrExpires, r.now())}
	if c.Offset >= 0 {
		conds = append(conds, Equal(attrHashed, c.Offset))
	}
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: All(conds...), Add: map[string]int64{attrNextPart: parts},
		Attrs: encode(objectRow{Expires: r.sessionEnd()}), // the body may take long to arrive
	})
	if conflict := asConflict(err); conflict != nil {
		return session{}, r.refuseClaim(conflict, repo)
	}
	if err != nil {
		return session{}, fmt.Errorf("claim upload session: %w", err)
	}
	s.uploadRow = decode[uploadRow](row.Attrs)
	s.before = s.stored()
	s.claim = Claim{Nonce: s.Version, First: s.NextPart - parts, Count: parts}
	s.hashes, err = loadHashes(row.Attrs)
	return s, err
}

// refuseClaim returns the error for a claim whose condition did not hold.
func (r *Registry) refuseClaim(conflict *Conflict, repo string) error {
	row := decode[objectRow](conflict.found(0).Attrs)
	if err := r.checkOpen(row, repo); err != nil {
		return err
	}
	return &upload.OffsetError{Offset: row.Hashed}
}

// checkOpen returns an error if the session cannot be used. The error is the same for all
// reasons, so that a client learns nothing about the uploads of other repositories. If the
// session has become a blob of this repository, the error is an *endedError.
func (r *Registry) checkOpen(row objectRow, repo string) error {
	if row.State == objectOpen && row.Repo == repo && row.Expires > r.now() {
		return nil
	}
	err := upload.ErrUnknown()
	if row.Digest != "" && row.Repo == repo {
		return &endedError{digest: row.Digest, error: err}
	}
	return err
}

// checkRepeated returns the result of a repeated last request whose upload has become a blob:
// nil while the repository has the blob and the store has its content, otherwise ended.
func (r *Registry) checkRepeated(ctx context.Context, repo string, ended *endedError) error {
	b, err := r.FindBlob(ctx, repo, ended.digest, true)
	if errors.Is(err, oci.NewError(oci.BlobUnknown, "")) {
		return ended
	}
	if err != nil {
		return err
	}
	intact, err := r.intact(ctx, b.key, b.Digest, b.Size, checkSum)
	if err == nil && !intact {
		return ended
	}
	return err
}

// lostClaim returns the error for a request that can no longer write to its claimed session.
func (r *Registry) lostClaim(conflict *Conflict, repo string) error {
	if found := conflict.found(0); found != nil {
		if err := r.checkOpen(decode[objectRow](found.Attrs), repo); err != nil {
			return err
		}
	}
	return upload.ErrTakenOver()
}

// cancel makes an open session dead, and returns its last open row.
func (r *Registry) cancel(ctx context.Context, repo, key string) (ended objectRow, err error) {
	rows, err := r.meta.Get(ctx, objectKey(key))
	if err != nil {
		return objectRow{}, fmt.Errorf("read upload session: %w", err)
	}
	open := func(row objectRow) error { return r.checkOpen(row, repo) }
	return r.endSession(ctx, key, decode[objectRow](rows[0].Attrs), open)
}

// endSession makes the row of a session dead if check returns nil for it. It returns the row
// that it replaced; if check returns an error, it returns this error and the row that check
// rejected.
func (r *Registry) endSession(ctx context.Context, key string, row objectRow, check func(objectRow) error) (objectRow, error) {
	for range maxContended {
		if err := check(row); err != nil {
			return row, err
		}
		_, err := r.meta.Update(ctx, Write{
			Key: objectKey(key), Op: Put, If: unchanged(row.Version), Attrs: encode(r.deadRow(row)),
		})
		conflict := asConflict(err)
		if conflict == nil {
			return row, wrap("end upload", err)
		}
		row = decode[objectRow](conflict.found(0).Attrs)
	}
	return objectRow{}, fmt.Errorf("end upload: %w", ErrContended)
}

// deadLife is how long a dead row stays: no request that was presigned, and none that hangs, can
// store bytes under its key after that time.
const deadLife = 30 * 24 * time.Hour

// deadRow returns the dead row of a key. It keeps the attributes of a session that a later
// attempt needs to delete the bytes if the first one fails.
func (r *Registry) deadRow(row objectRow) objectRow {
	return objectRow{
		State: objectDead, Repo: row.Repo, Stored: row.Stored, Hashed: row.Hashed,
		TTL: r.opts.Now().Add(deadLife).Unix(),
	}
}

// stored describes the appended bytes of an upload through the registry.
func (row objectRow) stored() Stored { return Stored{Size: row.Hashed, State: row.Stored} }

// forget deletes the bytes of a dead session, and then the attributes that drop needs.
func (r *Registry) forget(ctx context.Context, key string, row objectRow) error {
	if err := r.drop(ctx, key, row); err != nil || row.Stored == nil {
		return err
	}
	_, err := r.meta.Update(ctx, Write{ // always holds: a dead row stays dead
		Key: objectKey(key), Op: Put, If: inState(objectDead),
		Attrs: encode(r.deadRow(objectRow{Repo: row.Repo})),
	})
	return err
}

// drop deletes all bytes of a dead session: parts, tails, and the content of a completion that
// was never recorded.
func (r *Registry) drop(ctx context.Context, key string, row objectRow) error {
	return errors.Join(r.blobs.Discard(ctx, key, row.stored(), Stored{}), r.blobs.Delete(ctx, key))
}

// rejectContent makes a session dead, and deletes its content, because the content differs from
// the announced digest or size. It does neither if another write has changed the session.
func (r *Registry) rejectContent(ctx context.Context, key string, row objectRow) {
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(key), Op: Put, If: unchanged(row.Version),
		Attrs: encode(r.deadRow(objectRow{Repo: row.Repo})),
	})
	if err == nil {
		err = r.blobs.Delete(ctx, key)
	}
	r.cleanUp("rejected upload", key, err)
}
