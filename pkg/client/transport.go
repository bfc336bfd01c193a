package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// idleTimeout is how long a transfer may stall, in either direction, before its connection
	// is closed: one that is alive would wait for ever.
	idleTimeout = 2 * time.Minute
	// answerTimeout is how long an answer may take to begin once the request is sent: some
	// registries copy the blob before they answer.
	answerTimeout = 10 * time.Minute
)

// errStalled means that nothing moved on a connection that was alive.
var errStalled = errors.New("the transfer stalled")

// NewTransport returns a transport for large bodies: large buffers, many kept connections, and
// no compression, as sizes are compared. It times out transfers that stall for two minutes,
// and answers that do not begin within ten minutes of the request's end. It refuses to dial
// addresses to which the registry must not send the client.
func NewTransport() http.RoundTripper {
	return &stallGuard{idle: idleTimeout, answer: answerTimeout, next: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           checkedDial(&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}),
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		ResponseHeaderTimeout: answerTimeout,
		WriteBufferSize:       256 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
	}}
}

// stallGuard is a transport that cancels stalled requests.
type stallGuard struct {
	next         http.RoundTripper
	idle, answer time.Duration
}

// transfer is the body of a request that is being sent.
type transfer interface {
	// state returns how many bytes were read, whether the source is to blame for a stall, and
	// whether the body was read to its end.
	state() (taken int64, waiting, all bool)
}

// Unwrap returns the transport that makes the requests.
func (g *stallGuard) Unwrap() http.RoundTripper { return g.next }

// RoundTrip implements http.RoundTripper.
func (g *stallGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	guarded, stop := req.WithContext(ctx), func() {}
	if req.Body != nil && req.Body != http.NoBody {
		sending, ok := req.Body.(transfer)
		if !ok {
			counted := &countedBody{ReadCloser: req.Body}
			guarded.Body, sending = counted, counted
		}
		stop = g.watch(sending, cancel)
	}
	resp, err := g.next.RoundTrip(guarded)
	stop()
	if err != nil {
		err = stalled(ctx, err)
		cancel(nil)
		return nil, err
	}
	timer := time.AfterFunc(g.idle, func() { cancel(errStalled) })
	timer.Stop()
	resp.Body = &guardedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, idle: g.idle}
	return resp, nil
}

// stalled returns errStalled if that is why the request was cancelled, else its error.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// watch cancels a request whose body stalls or that is not answered in time.
func (g *stallGuard) watch(t transfer, cancel context.CancelCauseFunc) (stop func()) {
	const looks = 8 // per idle timeout
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(g.idle / looks)
		defer tick.Stop()
		at, since := int64(-1), time.Now()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			taken, waiting, all := t.state()
			limit := g.idle
			if all {
				limit = g.answer
			}
			switch {
			case taken != at || waiting:
				at, since = taken, time.Now()
			case time.Since(since) >= limit:
				cancel(errStalled)
				return
			}
		}
	}()
	return func() { close(done) }
}

// countedBody is a body that counts the bytes read.
type countedBody struct {
	io.ReadCloser
	taken           atomic.Int64
	waiting, closed atomic.Bool
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	b.waiting.Store(true)
	defer b.waiting.Store(false)
	n, err := b.ReadCloser.Read(p)
	b.taken.Add(int64(n))
	return n, err
}

// Close implements io.Closer. The transport closes a body that it has read to its end.
func (b *countedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

func (b *countedBody) state() (taken int64, waiting, all bool) {
	return b.taken.Load(), b.waiting.Load(), b.closed.Load()
}

// guardedBody is the body of an answer. Its reads time out.
type guardedBody struct {
	io.ReadCloser
	ctx    context.Context // that of the request
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

// Read implements io.Reader.
func (b *guardedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	defer b.timer.Stop()
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = stalled(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *guardedBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
