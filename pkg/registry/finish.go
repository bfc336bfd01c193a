package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// finished looks at what came of completing a key. If an earlier request completed it, and
// its answer was lost, or if the digest is still unproven, the content is read once.
func (r *Registry) finished(ctx context.Context, s session, c commit, computed bool, err error) error {
	taken := errors.Is(err, ErrTaken)
	if err != nil && !taken {
		return fmt.Errorf("complete upload: %w", err)
	}
	if !taken && computed {
		return nil
	}
	hs, size, err := r.hashKey(ctx, s.key, 0, c.digest.Algorithm())
	if err != nil {
		return err
	}
	got, _ := hs.Digest(c.digest.Algorithm())
	switch {
	case size == c.size && got == c.digest:
		return nil
	case size == c.size && hs.Same(s.hashes):
		// The bytes are this request's, only the digest is wrong.
		if err := r.keep(ctx, s); err != nil {
			return err
		}
		return upload.CheckDigest(got, c.digest)
	}
	r.spoil(ctx, s.key, Attrs{attrWrite: s.nonce, attrRepo: c.repo})
	return oci.NewError(oci.BlobUploadInvalid, "an earlier request completed this upload with other content: start a new one")
}

// hashKey hashes the content of a key from offset on.
func (r *Registry) hashKey(ctx context.Context, key string, offset int64, a oci.Algorithm) (upload.Hashes, int64, error) {
	content, err := r.blobs.Open(ctx, key, offset, -1)
	if errors.Is(err, ErrNoContent) {
		return nil, 0, oci.NewError(oci.BlobUploadInvalid, "the upload's bytes are gone: start a new one")
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

// keep records that the content of an upload is in place, and only its digest was refused:
// the last request can be repeated with the right one. If another request has taken the
// upload over, that one finds the content by itself.
func (r *Registry) keep(ctx context.Context, s session) error {
	_, err := r.update(ctx, Write{Key: objectKey(s.key), Op: Set, If: Equal(attrWrite, s.nonce), Attrs: Attrs{
		attrComplete: int64(1), attrExpires: r.sessionEnd(),
	}})
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return nil
	}
	return wrap("keep refused upload", err)
}

// kept reports whether the upload has its content in place, after a refused digest.
func (s session) kept() bool { return s.row.number(attrComplete) == 1 }

func errKept() error {
	return oci.NewError(oci.BlobUploadInvalid,
		"this upload has all its bytes, and only its digest was refused: repeat its last request with the right digest, or start a new one")
}

// finishKept is the last request of an upload whose content is in place. Bytes that it
// brings again must be those that are there.
func (r *Registry) finishKept(ctx context.Context, s session, f Finish, c commit) error {
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
	c.size = size
	return r.commit(ctx, c)
}

// checkSame compares a chunk with the content that is in place from its offset on.
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
