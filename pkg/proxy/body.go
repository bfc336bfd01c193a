package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// bodyIdle is how long a client may send nothing of a body that we wait for: what it has
// sent before takes room in the spool from others.
const bodyIdle = 2 * time.Minute

// clientBody is the body of a request whose reads end in time.
type clientBody struct {
	io.ReadCloser
	idle    time.Duration
	timer   *time.Timer // runs while a read does
	stalled atomic.Bool

	mu sync.Mutex // a transport may still read while we read the rest
}

// limitBody returns the request with a body that gives a client up which stands still.
func (p *Proxy) limitBody(w http.ResponseWriter, r *http.Request) *http.Request {
	b := &clientBody{ReadCloser: r.Body, idle: p.bodyIdle}
	b.timer = time.AfterFunc(b.idle, func() {
		b.stalled.Store(true)
		// For good: net/http reads on before it sends the answer.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // where there is no connection nobody stalls
	})
	b.timer.Stop()
	limited := r.WithContext(r.Context()) // a copy: net/http looks at the body of its own
	limited.Body = b
	return limited
}

// Read implements io.Reader. The error is errStalled, among others.
func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stalled.Load() {
		return 0, errStalled(b.idle)
	}
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && b.stalled.Load() {
		err = errStalled(b.idle)
	}
	return n, err
}

// stalledBody is the error of a body whose client stood still, or nil. net/http takes the
// connection for dead then, and ends the request's context.
func stalledBody(body io.Reader) error {
	if b, ok := body.(*clientBody); ok && b.stalled.Load() {
		return errStalled(b.idle)
	}
	return nil
}

func errStalled(idle time.Duration) *oci.Error {
	stalled := oci.NewError(oci.BlobUploadInvalid, "nothing of the body came for %s, and none of it counts: send it again", idle)
	stalled.Status = http.StatusRequestTimeout
	return stalled
}
