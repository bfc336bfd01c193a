package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// Upload is where an upload session stands.
type Upload struct {
	ID     string
	Offset int64 // bytes that are stored
}

// Chunk is the body of one request of an upload.
type Chunk = upload.Chunk

// Finish is the last request of an upload.
type Finish = upload.Finish

// StartUpload opens a session. An algorithm other than sha256 that is announced
// here is computed while the bytes arrive; an empty one means sha256.
func (r *Registry) StartUpload(ctx context.Context, repo string, algorithm oci.Algorithm) (Upload, error) {
	id, key := r.newUpload()
	attrs := r.openRow(repo)
	attrs[attrOffset], attrs[attrNext] = int64(0), int64(0)
	if err := saveHashes(upload.NewHashes(algorithm), attrs); err != nil {
		return Upload{}, err
	}
	if err := r.transact(ctx, r.opening(key, attrs)...); err != nil {
		return Upload{}, fmt.Errorf("open upload session: %w", err)
	}
	return Upload{ID: id}, nil
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

// UploadStatus says how far an upload has come. The error is BLOB_UPLOAD_UNKNOWN.
func (r *Registry) UploadStatus(ctx context.Context, repo, id string) (Upload, error) {
	rows, err := r.get(ctx, objectKey(uploadKey(id)))
	if err != nil {
		return Upload{}, fmt.Errorf("read upload session: %w", err)
	}
	if err := r.checkOpen(rows[0].Attrs, repo); err != nil {
		return Upload{}, err
	}
	return Upload{ID: id, Offset: rows[0].Attrs.number(attrOffset)}, nil
}

// checkOpen says why a session cannot be used, in one answer for all reasons: a
// stranger learns nothing of other repositories' uploads.
func (r *Registry) checkOpen(attrs Attrs, repo string) error {
	if attrs.text(attrState) != stateOpen || attrs.text(attrRepo) != repo || attrs.number(attrExpires) <= r.now() {
		return upload.ErrUnknown()
	}
	return nil
}

// AppendUpload stores a chunk behind what the upload has. Nothing of the chunk
// counts unless all of it arrived. Errors: BLOB_UPLOAD_UNKNOWN, an *upload.OffsetError,
// BLOB_UPLOAD_INVALID where the body broke off or another request took over,
// SIZE_INVALID.
func (r *Registry) AppendUpload(ctx context.Context, repo, id string, c Chunk) (Upload, error) {
	s, err := r.claim(ctx, repo, id, c)
	if err != nil {
		return Upload{}, err
	}
	if s.kept() {
		return Upload{}, errKept()
	}
	stored, err := r.store(ctx, &s, c)
	if err != nil {
		return Upload{}, err
	}
	attrs := Attrs{
		attrOffset: stored.Size, attrStored: stored.State, attrExpires: r.sessionEnd(),
	}
	if err := saveHashes(s.hashes, attrs); err != nil {
		return Upload{}, err
	}
	// The offset keeps out a repetition of this write that arrives after one of the
	// claim's: later chunks would be lost.
	_, err = r.update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: All(Equal(attrWrite, s.nonce), Equal(attrOffset, s.before.Size)),
		Attrs: attrs, Add: map[string]int64{attrNext: -stored.Unused},
	})
	var conflict *Conflict
	if errors.As(err, &conflict) {
		r.cleanUp("chunk that lost its upload", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		return Upload{}, r.lostClaim(conflict, repo)
	}
	if err != nil {
		return Upload{}, fmt.Errorf("record chunk: %w", err)
	}
	return Upload{ID: id, Offset: stored.Size}, nil
}

// session is a claimed upload.
type session struct {
	key    string
	nonce  string // of the claim's last write: the row's generation
	row    Attrs
	before Stored
	claim  Claim
	hashes upload.Hashes
}

// claim takes an upload over: whoever claimed it before can no longer record
// anything, and gets no part numbers in common with this claim. So a request
// that hangs, or was given up by its client, blocks nobody.
func (r *Registry) claim(ctx context.Context, repo, id string, c Chunk) (session, error) {
	s := session{key: uploadKey(id), nonce: r.nonce()}
	parts := partsFor(c.Length)
	conds := []Cond{Equal(attrState, stateOpen), Equal(attrRepo, repo), Greater(attrExpires, r.now())}
	if c.Offset >= 0 {
		conds = append(conds, Equal(attrOffset, c.Offset))
	}
	row, err := r.updateAs(ctx, s.nonce, Write{
		Key: objectKey(s.key), Op: Set, If: All(conds...), Add: map[string]int64{attrNext: parts},
		Attrs: Attrs{attrExpires: r.sessionEnd()}, // it may take long from here
	})
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return session{}, r.refuseClaim(conflict, repo)
	}
	if err != nil {
		return session{}, fmt.Errorf("claim upload session: %w", err)
	}
	s.row = row.Attrs
	s.before = Stored{Size: row.Attrs.number(attrOffset), State: row.Attrs.bytes(attrStored)}
	s.claim = Claim{Nonce: s.nonce, First: row.Attrs.number(attrNext) - parts, Count: parts}
	s.hashes, err = loadHashes(row.Attrs)
	return s, err
}

// endedError is a refused claim on a session that was completed before. It
// carries what the client may be asking for again.
type endedError struct {
	digest oci.Digest
	error
}

func (e *endedError) Unwrap() error { return e.error }

func (r *Registry) refuseClaim(conflict *Conflict, repo string) error {
	old := conflict.old(0).Attrs
	if err := r.checkOpen(old, repo); err != nil {
		if done := old.digest(attrDigest); done != "" && old.text(attrRepo) == repo {
			return &endedError{digest: done, error: err}
		}
		return err
	}
	return &upload.OffsetError{Offset: old.number(attrOffset)}
}

// lostClaim says what became of a session while this request held a claim on it.
func (r *Registry) lostClaim(conflict *Conflict, repo string) error {
	if old := conflict.old(0); old != nil {
		if err := r.checkOpen(old.Attrs, repo); err != nil {
			return err
		}
	}
	return upload.ErrTakenOver()
}

// store appends the chunk's body and hashes it. After an error nothing of it is
// left to be recorded, and the claim is given up.
func (r *Registry) store(ctx context.Context, s *session, c Chunk) (Stored, error) {
	if c.Length == 0 || c.Body == nil {
		unchanged := s.before
		unchanged.Unused = s.claim.Count
		return unchanged, nil
	}
	stored, err := r.appendBody(ctx, s, c)
	if err != nil {
		r.giveBack(ctx, s, stored.Unused)
	}
	return stored, err
}

// appendBody is store's; beside an error only Unused counts.
func (r *Registry) appendBody(ctx context.Context, s *session, c Chunk) (Stored, error) {
	claim := s.claim
	claim.More = func(ctx context.Context) (first, count int64, err error) { return r.extend(ctx, s) }
	body := upload.NewBody(c.Body, s.hashes)
	stored, err := r.blobs.Append(ctx, s.key, claim, s.before, body)
	switch {
	case body.Broken() != nil:
		if err == nil {
			r.cleanUp("broken chunk", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		}
		return stored, body.Broken()
	case errors.Is(err, ErrTooLarge):
		return stored, oci.NewError(oci.SizeInvalid,
			"the blob is larger than what the store can hold in pieces of this size: %s", oci.WaysPast)
	case errors.Is(err, ErrBusy):
		return stored, fmt.Errorf("%w (cause: %w)",
			oci.NewError(oci.Unavailable, "too many uploads are in progress: try again later"), err)
	case err != nil:
		return stored, fmt.Errorf("append to upload: %w", err)
	}
	if err := body.Check(c.Length); err != nil {
		r.cleanUp("chunk of wrong length", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		return stored, err
	}
	return stored, nil
}

// CancelUpload ends a session and drops its bytes. The error is
// BLOB_UPLOAD_UNKNOWN; a completion that was faster is not undone.
func (r *Registry) CancelUpload(ctx context.Context, repo, id string) error {
	key := uploadKey(id)
	ended, err := r.cancel(ctx, repo, key)
	if err != nil {
		return err
	}
	drop := r.discard
	if (session{row: ended}).kept() {
		drop = r.drop
	}
	r.cleanUp("cancelled upload", key, drop(ctx, key, ended))
	return nil
}

// cancel ends a session that is open, and returns what it was.
func (r *Registry) cancel(ctx context.Context, repo, key string) (ended Attrs, err error) {
	rows, err := r.get(ctx, objectKey(key))
	if err != nil {
		return nil, fmt.Errorf("read upload session: %w", err)
	}
	return r.endSession(ctx, key, rows[0].Attrs, func(row Attrs) error { return r.checkOpen(row, repo) })
}

// discard drops what an ended session had stored and not completed.
func (r *Registry) discard(ctx context.Context, key string, ended Attrs) error {
	stored := Stored{Size: ended.number(attrOffset), State: ended.bytes(attrStored)}
	return r.blobs.Discard(ctx, key, stored, Stored{})
}
