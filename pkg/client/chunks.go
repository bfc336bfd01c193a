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
	// maxChunk limits the memory, in bytes per blob, that a registry can make this client use.
	maxChunk = 16 << 20
	// maxLost limits how often an upload is restarted that the registry has lost.
	maxLost = 3
)

// pushChunks sends a blob in chunks (spec, "Pushing a blob in chunks"). It resumes the upload
// that another process, or an earlier call, left.
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
		if r.mayResume(ctx, err) {
			return "", err
		}
		b.Progress(start - min(u.Offset, b.Size))
		r.forget(ctx, b)
		if !resumed { // else another process may be using it
			r.abandon(ctx, u)
		}
		again := errors.Is(err, ErrUploadLost) || resumed && errors.Is(err, ErrContent) // its earlier bytes may be damaged
		if !again || lost >= maxLost {
			return "", err
		}
	}
}

// mayResume reports whether a later call may resume an upload in chunks after an error.
func (r *Repository) mayResume(ctx context.Context, err error) bool {
	if r.client.opts.Resume == nil || errors.Is(err, ErrUploadLost) {
		return false
	}
	return ctx.Err() != nil || temporary(err) || errors.Is(err, ErrSource)
}

// openChunks returns the unfinished upload, if resume is set and the registry still has it, or
// else a new one.
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
		return nil, false, fmt.Errorf("%w of less than %d bytes", ErrNoChunks, size)
	}
	return u, false, nil
}

// chunkSize returns the size of the chunks of an upload, in bytes.
func (u *Upload) chunkSize() int64 {
	size := max(chunkSize, u.MinChunk)
	if u.MaxChunk > 0 {
		size = min(size, u.MaxChunk)
	}
	return size
}

// appendAll sends the missing bytes of the blob, chunk by chunk.
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
			u.Offset = before // the bytes that Progress counted
			return err
		}
		b.Progress(int64(len(chunk)))
	}
	return nil
}

// chunksState is the state of an upload in chunks that Options.Resume keeps.
type chunksState struct {
	Location string // a secret
	Min, Max int64  // of a chunk, in bytes
}

// chunksOf parses the state that Resume kept, if it is of an upload in chunks: ids of direct
// uploads are not JSON.
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

// resumeChunks returns the unfinished upload, or nil if there is none that can be used. The
// error is that of the context.
func (r *Repository) resumeChunks(ctx context.Context, b Blob) (*Upload, error) {
	state, ok := chunksOf(r.remembered(b))
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
	r.client.opts.Log.LogAttrs(ctx, slog.LevelInfo, "upload is resumed",
		slog.String("digest", string(b.Digest)), slog.Int64("offset", u.Offset))
	return u, nil
}
