package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// CompleteUpload turns an upload into a blob of the repository. If the client repeats the
// request because the answer was lost, it succeeds again. Errors: those of AppendUpload,
// DIGEST_INVALID and SIZE_INVALID. Both leave the upload unchanged, except for a wrong sha512
// that the client did not announce at the start: see keep.
func (r *Registry) CompleteUpload(ctx context.Context, repo, id string, f Finish) error {
	s, err := r.claim(ctx, repo, id, f.Chunk)
	if ended, found := errors.AsType[*endedError](err); found && ended.digest == f.Digest {
		if err := r.checkRepeated(ctx, repo, ended); err != nil {
			return err
		}
		return r.drain(f.Chunk)
	}
	if err != nil {
		return err
	}
	b := newBlob{repo: repo, digest: f.Digest, key: s.key, version: s.Version}
	if s.Complete {
		return r.completeAgain(ctx, s, f, b)
	}
	if s.before.Size == 0 {
		s.hashes = upload.NewHashes(f.Digest.Algorithm())
		if b.size = f.Chunk.Length; b.size >= 0 && b.size <= smallBlob {
			return r.completeSmall(ctx, s, f, b)
		}
	}
	stored, err := r.store(ctx, &s, f.Chunk)
	if err != nil {
		return err
	}
	b.size, b.version = stored.Size, s.Version // store may have extended the claim
	computed, err := f.Check(s.hashes, stored.Size)
	if err != nil {
		r.cleanUp("refused last chunk", s.key, r.blobs.Discard(ctx, s.key, stored, s.before))
		r.giveBack(ctx, &s, stored.Unused)
		return err
	}
	err = r.retryContended(ctx, func() error { return r.blobs.Complete(ctx, s.key, stored) })
	if err := r.checkCompleted(ctx, s, b, computed, err); err != nil {
		r.giveBack(ctx, &s, stored.Unused)
		return err
	}
	return r.commit(ctx, b)
}

// completeSmall completes an upload whose only chunk is small, with a single Put.
func (r *Registry) completeSmall(ctx context.Context, s session, f Finish, b newBlob) error {
	content, err := readSmall(f.Chunk)
	if err != nil {
		return err
	}
	s.hashes.Add(content)
	if _, err := f.Check(s.hashes, b.size); err != nil {
		return err
	}
	done, err := r.linkIfExists(ctx, b)
	if done || err != nil {
		return err
	}
	err = r.retry(ctx, func() error { return r.blobs.Put(ctx, s.key, content) })
	if err := r.checkCompleted(ctx, s, b, true, err); err != nil {
		return err
	}
	return r.commit(ctx, b)
}

// checkCompleted checks err, the result of completing a key. It reads the content once if an
// earlier request had completed the key, or if computed is false: the digest could not be
// computed while the bytes arrived.
func (r *Registry) checkCompleted(ctx context.Context, s session, b newBlob, computed bool, err error) error {
	taken := errors.Is(err, ErrTaken)
	if err != nil && !taken {
		return fmt.Errorf("complete upload: %w", err)
	}
	if !taken && computed {
		return nil
	}
	hs, size, err := r.hashKey(ctx, s.key, 0, b.digest.Algorithm())
	if err != nil {
		return err
	}
	got, _ := hs.Digest(b.digest.Algorithm())
	switch {
	case size == b.size && got == b.digest:
		return nil
	case size == b.size && hs.Same(s.hashes):
		// The content is what this request sent, but its digest is wrong.
		if err := r.keep(ctx, s); err != nil {
			return err
		}
		return upload.CheckDigest(got, b.digest)
	}
	r.rejectContent(ctx, s.key, s.objectRow)
	return oci.NewError(oci.BlobUploadInvalid, "an earlier request completed this upload with other content: start a new one")
}

// hashKey hashes the content of a key from offset to the end, and returns the number of bytes
// that it read.
func (r *Registry) hashKey(ctx context.Context, key string, offset int64, a oci.Algorithm) (upload.Hashes, int64, error) {
	content, err := r.blobs.Open(ctx, key, offset, -1)
	if errors.Is(err, ErrNoContent) {
		return nil, 0, oci.NewError(oci.BlobUploadInvalid, "the store no longer has the bytes of this upload: start a new one")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read back upload: %w", err)
	}
	defer content.Close()
	hs := upload.NewHashes(a)
	body := upload.NewBody(content, hs)
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, 0, fmt.Errorf("read back upload: %w", err)
	}
	return hs, body.Len(), nil
}

// keep records that the store has the whole content of an upload and only the digest was
// wrong, so that the client can repeat the last request with the correct digest. If another
// request has taken over the upload, keep changes nothing: that request gets ErrTaken and
// reads the content itself.
func (r *Registry) keep(ctx context.Context, s session) error {
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: unchanged(s.Version),
		Attrs: encode(objectRow{Complete: true, Expires: r.sessionEnd()}),
	})
	if asConflict(err) != nil {
		return nil
	}
	return wrap("keep refused upload", err)
}

// completeAgain handles the repeated last request of an upload that keep has recorded. If the
// request sends bytes again, they must equal the stored ones.
func (r *Registry) completeAgain(ctx context.Context, s session, f Finish, b newBlob) error {
	if f.Chunk.Body != nil && f.Chunk.Length != 0 {
		if err := r.checkSame(ctx, s, f.Chunk); err != nil {
			return err
		}
	}
	hs, size, err := r.hashKey(ctx, s.key, 0, f.Digest.Algorithm())
	if err != nil {
		return err
	}
	if _, err := f.Check(hs, size); err != nil {
		return err
	}
	b.size = size
	return r.commit(ctx, b)
}

// checkSame compares a chunk with the stored content after the recorded chunks.
func (r *Registry) checkSame(ctx context.Context, s session, c Chunk) error {
	hs := upload.NewHashes()
	body := upload.NewBody(c.Body, hs)
	if _, err := io.Copy(io.Discard, body); err != nil {
		return body.Broken()
	}
	stored, _, err := r.hashKey(ctx, s.key, s.before.Size, "")
	if err == nil && !stored.Same(hs) {
		return errKept()
	}
	return err
}

// firstRead is the number of bytes of a body that must arrive before readSmall allocates
// memory for the announced length.
const firstRead = 64 << 10

// readSmall reads a body of known length, at most smallBlob, into memory.
func readSmall(c Chunk) ([]byte, error) {
	body := upload.NewBody(c.Body, nil)
	content := bytes.NewBuffer(make([]byte, 0, min(c.Length, firstRead)+bytes.MinRead))
	if _, err := io.CopyN(content, body, firstRead); err == nil {
		content.Grow(int(max(c.Length-firstRead, 0)) + bytes.MinRead) // at most smallBlob in all
		_, _ = content.ReadFrom(body)                                 // body.Check returns the error
	}
	return content.Bytes(), body.Check(c.Length)
}

// drain reads and discards the body of a request whose result is already known, so that the
// server can reuse the connection.
func (r *Registry) drain(c Chunk) error {
	body := upload.NewBody(c.Body, nil)
	_, _ = io.Copy(io.Discard, body)
	return body.Broken()
}
