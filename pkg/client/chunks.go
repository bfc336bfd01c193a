package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

const (
	chunkSize = 4 << 20
	// maxChunk bounds what a registry can make this client hold in memory, in bytes: of
	// each of several blobs that are pushed at once.
	maxChunk = 16 << 20
	// maxLost is how often an upload that the registry has lost is started again.
	maxLost = 3
)

// pushChunks sends a blob in chunks (spec, "Pushing a blob in chunks"). It goes on with
// the upload that another process, or an earlier call, left behind.
func (r *Repository) pushChunks(ctx context.Context, b Blob) (PushMethod, error) {
	for lost := 0; ; lost++ {
		u, resumed, err := r.openChunks(ctx, b, lost == 0)
		if err != nil {
			return "", err
		}
		start := u.Offset
		if err = r.appendAll(ctx, u, b); err == nil {
			if err = r.FinishUpload(ctx, u, b.Digest); err == nil {
				r.forget(ctx, b)
				return Chunked, nil
			}
		}
		if r.mayGoOn(ctx, err) {
			return "", err
		}
		b.Progress(start - min(u.Offset, b.Size))
		r.forget(ctx, b)
		if !resumed { // else another process may be at it
			r.abandon(ctx, u)
		}
		again := errors.Is(err, ErrUploadLost) || resumed && errors.Is(err, ErrContent) // what was there may be damaged
		if !again || lost >= maxLost {
			return "", err
		}
	}
}

// mayGoOn reports whether a later call may go on with an upload in chunks after an error.
func (r *Repository) mayGoOn(ctx context.Context, err error) bool {
	if r.client.opts.Resume == nil || errors.Is(err, ErrUploadLost) {
		return false
	}
	return ctx.Err() != nil || temporary(err) || errors.Is(err, ErrSource)
}

// openChunks returns the upload that was left behind, if resume is set and the registry
// still has it, or else a new one.
func (r *Repository) openChunks(ctx context.Context, b Blob, resume bool) (u *Upload, resumed bool, err error) {
	if resume {
		if u, err = r.resumeChunks(ctx, b); u != nil || err != nil {
			return u, true, err
		}
	}
	if u, err = r.StartUpload(ctx, b.Digest.Algorithm()); err != nil {
		return nil, false, err
	}
	if size := u.chunkSize(); size > maxChunk {
		r.abandon(ctx, u)
		return nil, false, fmt.Errorf("%w: it wants chunks of %d bytes", ErrNoChunks, size)
	}
	return u, false, nil
}

// chunkSize is the size of the chunks of an upload, in bytes.
func (u *Upload) chunkSize() int64 {
	size := max(chunkSize, u.MinChunk)
	if u.MaxChunk > 0 {
		size = min(size, u.MaxChunk)
	}
	return size
}

// appendAll reads what the upload lacks of the blob and sends it chunk by chunk.
func (r *Repository) appendAll(ctx context.Context, u *Upload, b Blob) error {
	content, err := b.Open(u.Offset)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer content.Close()
	size := u.chunkSize()
	buffer := make([]byte, min(size, b.Size))
	kept := ""
	for u.Offset < b.Size {
		if at := u.next.String(); at != kept { // some registries answer each chunk with another Location
			r.keepChunks(ctx, b, u)
			kept = at
		}
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

// chunksState is what Options.Resume keeps of an upload in chunks.
type chunksState struct {
	Location string // a secret
	Min, Max int64  // of a chunk, in bytes
}

// chunksOf reads what Resume kept, if it is of an upload in chunks: ids of direct uploads
// are no JSON.
func chunksOf(kept string) (s chunksState, ok bool) {
	err := json.Unmarshal([]byte(kept), &s)
	return s, err == nil && s.Location != ""
}

func (r *Repository) keepChunks(ctx context.Context, b Blob, u *Upload) {
	state, err := json.Marshal(chunksState{Location: u.next.String(), Min: u.MinChunk, Max: u.MaxChunk})
	if err == nil {
		r.remember(ctx, b, string(state))
	}
}

// resumeChunks asks for the upload that was left behind; nil: there is none, or it is of
// no use. The error is that of the context.
func (r *Repository) resumeChunks(ctx context.Context, b Blob) (*Upload, error) {
	if r.client.opts.Resume == nil {
		return nil, nil
	}
	kept, _ := r.client.opts.Resume.Load(r.client.Host(), r.name, b.Digest)
	state, ok := chunksOf(kept)
	if !ok {
		return nil, nil
	}
	next, err := url.Parse(state.Location)
	if err != nil {
		return nil, nil
	}
	u := &Upload{next: next, MinChunk: state.Min, MaxChunk: state.Max}
	err = r.UploadStatus(ctx, u)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil, u.Offset > b.Size:
		return nil, nil
	}
	r.client.opts.Log.LogAttrs(ctx, slog.LevelInfo, "upload goes on",
		slog.String("digest", string(b.Digest)), slog.Int64("offset", u.Offset))
	return u, nil
}
