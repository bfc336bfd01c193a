package client

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Blob reads a blob (spec, end-2), wherever the registry sends the client for it. A
// negative size: as large as the registry says. What is cut off is asked for again from
// there on, as often as it goes forward. The last Read fails with ErrContent where size or
// digest are others: nothing that was read may be believed before io.EOF. The context
// must live until the reader is closed. The error is BLOB_UNKNOWN, among others.
func (r *Repository) Blob(ctx context.Context, d oci.Digest, size int64) (io.ReadCloser, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	b := &blobReader{ctx: ctx, repo: r, digest: d, size: size, hash: d.Algorithm().New()}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// BlobFrom is Blob from an offset on, of a blob whose size is known. From 0 it is Blob;
// else nobody checks the digest of what is read.
func (r *Repository) BlobFrom(ctx context.Context, d oci.Digest, size, offset int64) (io.ReadCloser, error) {
	switch {
	case offset == 0:
		return r.Blob(ctx, d, size)
	case offset < 0 || offset > size:
		return nil, fmt.Errorf("%s has no byte %d", d, offset)
	case offset == size:
		return http.NoBody, nil
	}
	b := &blobReader{ctx: ctx, repo: r, digest: d, size: size, offset: offset}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// blobReader reads a blob from one answer after the other.
type blobReader struct {
	ctx    context.Context // a reader has no other way to get one
	repo   *Repository
	digest oci.Digest
	size   int64     // negative: not known yet
	hash   hash.Hash // nil: what is read is not all
	offset int64
	body   io.ReadCloser
	fails  int   // in a row without a byte
	err    error // the end
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.body == nil {
			if b.err = b.open(); b.err != nil {
				break
			}
		}
		n, err := b.body.Read(p)
		if n > 0 {
			b.fails = 0
			b.offset += int64(n)
			if b.hash != nil {
				b.hash.Write(p[:n])
			}
		}
		if err != nil || b.size >= 0 && b.offset > b.size {
			b.err = b.stop(err)
		}
		if n > 0 {
			if b.err != nil && !errors.Is(b.err, io.EOF) {
				return n, b.err
			}
			return n, nil
		}
	}
	return 0, b.err
}

// stop looks at an answer that ended: nil where there is more to ask for.
func (b *blobReader) stop(err error) error {
	b.body.Close()
	b.body = nil
	switch {
	case b.size >= 0 && b.offset > b.size:
		return fmt.Errorf("%w: %s has more than %d bytes", ErrContent, b.digest, b.size)
	case b.offset == b.size, b.size < 0 && errors.Is(err, io.EOF):
		if b.hash == nil {
			return io.EOF
		}
		if got := b.digest.Algorithm().Digest(b.hash); got != b.digest {
			return fmt.Errorf("%w: %d bytes have the digest %s, not %s", ErrContent, b.offset, got, b.digest)
		}
		return io.EOF
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	}
	b.fails++
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	cut := &networkError{method: http.MethodGet, where: b.repo.String() + "@" + string(b.digest), err: err}
	wait, again := b.repo.client.retryWait(b.ctx, cut, b.fails)
	if !again {
		return cut
	}
	b.repo.client.opts.Log.LogAttrs(b.ctx, slog.LevelWarn, "blob was cut off", slog.String("digest", string(b.digest)),
		slog.Int64("offset", b.offset), slog.Duration("wait", wait), slog.Any("error", cut))
	return b.repo.client.opts.Sleep(b.ctx, wait)
}

// open asks for what is missing.
func (b *blobReader) open() error {
	k := b.repo.blobRequest(http.MethodGet, b.digest, "pull")
	if b.offset > 0 {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.repo.client.do(b.ctx, k)
	if err != nil {
		return err
	}
	at := int64(0)
	if resp.StatusCode == http.StatusPartialContent {
		at = rangeStart(resp.Header)
	}
	if at < 0 || at > b.offset {
		resp.Body.Close()
		return fmt.Errorf("%w: asked for the bytes from %d, the registry sends others", ErrContent, b.offset)
	}
	if at == 0 && resp.ContentLength >= 0 {
		if b.size < 0 {
			b.size = resp.ContentLength
		}
		if resp.ContentLength != b.size {
			resp.Body.Close()
			return fmt.Errorf("%w: %s has %d bytes, not %d", ErrContent, b.digest, resp.ContentLength, b.size)
		}
	}
	b.body = resp.Body
	// A registry that knows no ranges sends all of it again.
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset-at); err != nil {
		return b.stop(err)
	}
	return nil
}

// rangeStart is the first byte of an answer 206; negative where it does not say.
func rangeStart(h http.Header) int64 {
	spec, found := strings.CutPrefix(h.Get("Content-Range"), "bytes ")
	first, _, _ := strings.Cut(spec, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if !found || err != nil {
		return -1
	}
	return start
}

// Close implements io.Closer.
func (b *blobReader) Close() error {
	if b.err == nil {
		b.err = errors.New("the blob is closed")
	}
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
