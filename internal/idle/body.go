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

// body is the body of a request. Each read extends its deadline.
type body struct {
	io.ReadCloser
	conn    *http.ResponseController
	limit   time.Duration
	stalled atomic.Bool

	mu  sync.Mutex // a transport may still read during Drain
	end time.Time  // of all reads; zero means no limit
}

// Read implements io.Reader. It may return the error of Stalled.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stalled.Load() {
		return 0, errStalled(b.limit)
	}
	_ = b.conn.SetReadDeadline(b.deadline())
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The deadline stays, as net/http reads more before it sends the answer. At the end of
		// the body net/http removes it, and reads to detect that the client disconnects.
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

// Stalled returns the error for a request whose client stopped sending the body, and else
// nil. net/http cancels the context of such a request as if the client had disconnected.
func Stalled(r *http.Request) error {
	if b, ok := r.Body.(*body); ok && b.stalled.Load() {
		return errStalled(b.limit)
	}
	return nil
}

func errStalled(limit time.Duration) *oci.Error {
	return oci.NewError(oci.BlobUploadInvalid,
		"the client sent no byte of the request body for %s; nothing was stored: send it again", limit).
		WithStatus(http.StatusRequestTimeout)
}

// Drain reads and discards the rest of a body, up to limit bytes and for up to within. If
// more is left, net/http closes the connection after the answer.
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
