package idle

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// body is the body of a request, read with a deadline that moves on with each read.
type body struct {
	io.ReadCloser
	conn    *http.ResponseController
	limit   time.Duration
	stalled atomic.Bool

	mu  sync.Mutex // a transport may still read while Drain does
	end time.Time  // of all reads; zero: none
}

// Read implements io.Reader. The error is one of Stalled's, among others.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stalled.Load() {
		return 0, errStalled(b.limit)
	}
	_ = b.conn.SetReadDeadline(b.deadline())
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The deadline stays: net/http reads on before it sends the answer. At the body's
		// end net/http removes it, and reads to see whether the client leaves.
		b.stalled.Store(true)
		err = errStalled(b.limit)
	}
	return n, err
}

func (b *body) deadline() time.Time {
	next := time.Now().Add(b.limit)
	if !b.end.IsZero() && b.end.Before(next) {
		return b.end
	}
	return next
}

// Stalled returns the error for a request whose client sent nothing more of its body, or
// nil. net/http ends the request's context then, as if the client were gone.
func Stalled(r *http.Request) error {
	if b, ok := r.Body.(*body); ok && b.stalled.Load() {
		return errStalled(b.limit)
	}
	return nil
}

func errStalled(limit time.Duration) *oci.Error {
	stalled := oci.NewError(oci.BlobUploadInvalid,
		"the client sent nothing of the request body for %s, and nothing of it was stored: send it again", limit)
	stalled.Status = http.StatusRequestTimeout
	return stalled
}

// Drain reads and drops what is left of a body, at most limit bytes, for at most within. If
// it has not ended then, net/http closes the connection after the answer.
func Drain(r *http.Request, limit int64, within time.Duration) {
	if b, ok := r.Body.(*body); ok {
		b.mu.Lock()
		b.end = time.Now().Add(within)
		b.mu.Unlock()
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, limit)) // a client that stops sending may still read
	}
}
