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

// Blob reads a blob (spec, end-2), from the registry or the store to which it redirects. If size
// is negative, it is the one that the registry reports. An interrupted answer is requested
// again from the offset reached; attempts are counted anew after each byte. The last Read fails
// with ErrContent if size or digest do not match: do not trust any byte before io.EOF. The
// context must live until the reader is closed. The error is BLOB_UNKNOWN, among others.
func (r *Repository) Blob(ctx context.Context, d oci.Digest, size int64) (io.ReadCloser, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	b := &blobReader{ctx: ctx, repo: r, digest: d, size: size, hash: d.Algorithm().New()}
	return b, b.open()
}

// BlobFrom is Blob from an offset on, for a known size. It checks the digest only from offset 0.
func (r *Repository) BlobFrom(ctx context.Context, d oci.Digest, size, offset int64) (io.ReadCloser, error) {
	switch {
	case offset == 0:
		return r.Blob(ctx, d, size)
	case offset < 0 || offset > size:
		return nil, fmt.Errorf("offset %[2]d is outside of %[1]s", d, offset)
	case offset == size:
		return http.NoBody, nil
	}
	b := &blobReader{ctx: ctx, repo: r, digest: d, size: size, offset: offset}
	return b, b.open()
}

// blobReader reads a blob from one or more answers.
type blobReader struct {
	ctx    context.Context // Read has no parameter for it
	repo   *Repository
	digest oci.Digest
	size   int64     // negative: not known yet
	hash   hash.Hash // nil: only a part of the blob is read
	offset int64
	body   io.ReadCloser
	fails  int   // in a row, without a byte
	err    error // of all further reads
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

// stop handles the end of an answer. It returns nil after the wait before the next request.
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
	return b.repo.client.retry(b.ctx, "blob", cut, b.fails, slog.String("digest", string(b.digest)), slog.Int64("offset", b.offset))
}

// open requests the missing bytes.
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
		return fmt.Errorf("%w: the registry does not send the requested bytes from %d on", ErrContent, b.offset)
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
	// A registry without support for ranges sends all bytes again.
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset-at); err != nil {
		return b.stop(err)
	}
	return nil
}

// rangeStart returns the offset of a 206 answer, or -1 if it is missing.
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
