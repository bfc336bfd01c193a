package proxy

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

const (
	// defaultSpoolMax is the limit of the spool, in bytes.
	defaultSpoolMax = 20 << 30
	// small is the largest blob, in bytes, that is sent to the registry in one request.
	// A Lambda function takes some more.
	small = 4 << 20
	// idleLife is how long an upload is kept that nobody goes on with.
	idleLife = time.Hour
)

// Options of New.
type Options struct {
	// Registry is the registry's address: a host with or without a port, or a URL
	// without a path. A loopback address without a scheme is plain HTTP.
	Registry string
	// PlainHTTP asks a host without a scheme over plain HTTP.
	PlainHTTP bool
	// Listen is the address, host:port, on which the handler is served. internal/guard refuses
	// requests for host names that are neither localhost, nor this one, nor in AllowHosts.
	Listen string
	// AllowHosts are more hosts, with or without a port, that clients may know us by.
	AllowHosts []string
	// Spool is the folder in which this one makes its own; empty means the system's for
	// temporary files.
	Spool string
	// SpoolMax is how much the spool may hold, in bytes; 0 means 20 GiB. Besides, some
	// room is always left on its disk.
	SpoolMax int64
	// Log receives refusals; nil means slog.Default.
	Log *slog.Logger
	// InternalHosts are hosts to which the registry may send this proxy although they are at
	// internal addresses and the registry is not: client.Options.InternalHosts.
	InternalHosts []string
	// Transport carries the requests to the registry and the store; nil means one of
	// its own.
	Transport http.RoundTripper
}

// Proxy is an http.Handler. It is safe for concurrent use.
type Proxy struct {
	upstream  *url.URL
	guard     guard.Guard
	spool     *spool
	sessions  sessions
	transport http.RoundTripper
	log       *slog.Logger

	internalHosts []string
	errorLog      *log.Logger

	sleep  func(context.Context, time.Duration) error
	limits idle.Limits

	stop    chan struct{}
	stopped sync.Once
	behind  sync.WaitGroup // what goes on after an answer
}

// New returns a proxy, whose spool Close removes. The error is about the options or the
// spool's folder; the registry is not asked.
func New(opts Options) (*Proxy, error) {
	upstream, err := client.ParseRegistry(opts.Registry, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if opts.Spool == "" {
		opts.Spool = os.TempDir()
	}
	if opts.SpoolMax == 0 {
		opts.SpoolMax = defaultSpoolMax
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	p := &Proxy{
		upstream: upstream, guard: guard.New(opts.Listen, opts.AllowHosts), transport: opts.Transport, log: opts.Log,
		internalHosts: opts.InternalHosts, errorLog: slog.NewLogLogger(opts.Log.Handler(), slog.LevelDebug),
		sleep: client.Sleep, limits: idle.Default(), stop: make(chan struct{}),
	}
	if p.transport == nil {
		p.transport = client.NewTransport() // nothing is asked for or unpacked on the way
	}
	if p.spool, err = openSpool(opts.Spool, opts.SpoolMax); err != nil {
		return nil, err
	}
	p.behind.Go(p.expireIdle)
	return p, nil
}

// Upstream is the registry's address, with its scheme.
func (p *Proxy) Upstream() string { return p.upstream.String() }

// Spool is the folder in which uploads wait.
func (p *Proxy) Spool() string { return p.spool.dir }

// Close ends the uploads that are open and removes the spool. Requests that are under
// way must have ended.
func (p *Proxy) Close() error {
	p.stopped.Do(func() { close(p.stop) })
	for _, s := range p.sessions.removeIdle(time.Time{}) {
		s.discard()
	}
	p.behind.Wait()
	return p.spool.close()
}

// expireIdle drops the uploads that nobody goes on with.
func (p *Proxy) expireIdle() {
	tick := time.NewTicker(idleLife / 20)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			p.expire(now.Add(-idleLife))
		}
	}
}

// expire drops the uploads that nobody has used since a moment. The registry ends its
// own by itself: whose credentials should ask for that?
func (p *Proxy) expire(since time.Time) {
	for _, s := range p.sessions.removeIdle(since) {
		s.discard()
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	oci.SetSecurityHeaders(w.Header())
	w, r = idle.Watch(w, r, p.limits)
	if err := p.guard.Check(r); err != nil {
		p.fail(w, r, oci.NewError(oci.Denied, "pierless proxy: %s", err))
		return
	}
	if err := p.serve(w, r); err != nil {
		p.fail(w, r, err)
	}
}

// serve answers the request, unless it returns an error.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) error {
	req, err := route.ParseEscaped(r.URL.EscapedPath())
	switch {
	case err != nil: // the registry may know it
	case req.Kind == route.UploadStart && r.Method == http.MethodPost:
		return p.start(w, r, req)
	case req.Kind == route.Upload:
		if s := p.sessions.find(req); s != nil {
			return p.upload(w, r, s)
		}
	}
	p.pass(w, r, nil)
	return nil
}

// repository is the registry's side of a request: what it does carries the request's
// own credentials.
func (p *Proxy) repository(r *http.Request, name string) (*client.Repository, error) {
	given := r.Header.Values("Authorization")
	if len(given) > 1 {
		return nil, oci.NewError(oci.Unauthorized, "there are two Authorization headers: which one counts?")
	}
	opts := client.Options{
		Transport: p.transport, InternalHosts: p.internalHosts, UserAgent: r.UserAgent(), Log: p.log, Sleep: p.sleep,
	}
	if len(given) == 1 {
		opts.Authorization = given[0]
	} else {
		opts.Transport = nobody{p.transport}
	}
	c, err := client.New(p.upstream.String(), opts)
	if err != nil {
		return nil, errors.Join(errUnreachable(), fmt.Errorf("client: %w", err))
	}
	return c.Repository(name)
}

// nobody is a transport for requests without credentials: it hides from pkg/client that
// the registry wants some, so that no anonymous token is asked for. The client was told
// at the start of its upload.
type nobody struct{ next http.RoundTripper }

// Unwrap returns the transport that makes the requests.
func (n nobody) Unwrap() http.RoundTripper { return n.next }

// RoundTrip implements http.RoundTripper.
func (n nobody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	if err == nil {
		resp.Header.Del("WWW-Authenticate")
	}
	return resp, err
}
