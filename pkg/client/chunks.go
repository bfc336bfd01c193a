package client

import (
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	chunkSize = 4 << 20
	// maxChunk bounds what a registry can make this client hold in memory, in bytes: of
	// each of several blobs that are pushed at once.
	maxChunk = 16 << 20
	// maxLost is how often an upload that the registry has lost is started again.
	maxLost = 3
)

// pushChunks sends a blob in chunks (spec, "Pushing a blob in chunks").
func (r *Repository) pushChunks(ctx context.Context, b Blob) (How, error) {
	for lost := 0; ; lost++ {
		u, err := r.StartUpload(ctx, b.Digest.Algorithm())
		if err != nil {
			return "", err
		}
		size := max(chunkSize, u.MinChunk)
		if u.MaxChunk > 0 {
			size = min(size, u.MaxChunk)
		}
		if size > maxChunk {
			r.abandon(ctx, u)
			return "", fmt.Errorf("%w: it wants chunks of %d bytes", ErrNoChunks, size)
		}
		if err = r.appendAll(ctx, u, b, size); err == nil {
			if err = r.FinishUpload(ctx, u, b.Digest); err == nil {
				return Chunked, nil
			}
		}
		b.Progress(-min(u.Offset, b.Size))
		r.abandon(ctx, u)
		if !errors.Is(err, ErrUploadLost) || lost >= maxLost {
			return "", err
		}
	}
}

// appendAll reads the blob once and sends it chunk by chunk.
func (r *Repository) appendAll(ctx context.Context, u *Upload, b Blob, size int64) error {
	content, err := b.Open(0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer content.Close()
	buffer := make([]byte, min(size, b.Size))
	for u.Offset < b.Size {
		chunk := buffer[:min(size, b.Size-u.Offset)]
		if n, err := io.ReadFull(content, chunk); err != nil {
			return fmt.Errorf("%w: it ends after %d of %d bytes: %w", ErrSource, u.Offset+int64(n), b.Size, err)
		}
		before := u.Offset
		if err := r.AppendUpload(ctx, u, chunk); err != nil {
			u.Offset = before // what was counted as sent
			return err
		}
		b.Progress(int64(len(chunk)))
	}
	return nil
}
