package upload

import (
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
)

// Body hashes the bytes that are read through it and remembers how reading ended. With it a
// store's errors can be told apart from those of the client.
type Body struct {
	r      io.Reader
	hashes Hashes
	n      int64
	end    error // io.EOF, or the error that broke off the body
}

// NewBody returns a Body that reads r, which may be nil if it is empty, and adds its bytes to hs.
func NewBody(r io.Reader, hs Hashes) *Body {
	b := &Body{r: r, hashes: hs}
	if r == nil {
		b.end = io.EOF
	}
	return b
}

// Read implements io.Reader. After the end it keeps returning the same error.
func (b *Body) Read(p []byte) (int, error) {
	if b.end != nil {
		return 0, b.end
	}
	n, err := b.r.Read(p)
	b.hashes.Add(p[:n])
	b.n += int64(n)
	b.end = err
	return n, err
}

// Len returns the number of bytes read so far.
func (b *Body) Len() int64 { return b.n }

// Ended reports whether the body was read to its end, be it a regular one or an error.
func (b *Body) Ended() bool { return b.end != nil }

// Broken returns the error for a body that could not be read to its end, or nil. The cause
// is for the log, unless it has a text for clients itself.
func (b *Body) Broken() error {
	var known *oci.Error
	if b.end == nil || errors.Is(b.end, io.EOF) {
		return nil
	}
	if errors.As(b.end, &known) {
		return b.end
	}
	return fmt.Errorf("%w (cause: %w)",
		oci.NewError(oci.BlobUploadInvalid, "the request body ended early, after %d bytes; none of it was stored", b.n), b.end)
}

// Check returns the error for a body that broke off, or that has another length in bytes
// than the request announced; a negative length is not compared.
func (b *Body) Check(length int64) error {
	if err := b.Broken(); err != nil {
		return err
	}
	if length >= 0 && b.n != length {
		return oci.NewError(oci.SizeInvalid, "the request body has %d bytes, but %d were announced", b.n, length)
	}
	return nil
}
