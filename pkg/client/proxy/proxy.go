package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// defaultSpoolLimit is 20 GiB.
	defaultSpoolLimit = 20 << 30
	// small is the largest blob that is sent to the registry in one request, in bytes: less
	// than a Lambda function accepts.
	small = 4 << 20
	// idleLife is how long an upload is kept without requests.
	idleLife = time.Hour
)

// Options of New.
type Options struct {
	// Registry is the registry's address: a host with or without a port, or a URL without a
	// path. A loopback address without a scheme is plain HTTP.
	Registry string
	// PlainHTTP selects plain HTTP for a host without a scheme.
	PlainHTTP bool
	// Listen is the address, host:port, on which the handler is served. Requests for host
	// names other than localhost, this one and AllowHosts are refused (internal/guard).
	Listen string
	// AllowHosts are more hosts, with or without a port, that clients use for the proxy.
	AllowHosts []string
	// Spool is the directory for unfinished uploads; empty means os.TempDir.
	Spool string
	// SpoolLimit is the size of the spool in bytes; 0 means 20 GiB. The spool also keeps
	// some space free on its disk.
	SpoolLimit int64
	// Log records refused requests; nil means slog.Default.
	Log *slog.Logger
	// InternalHosts are passed to client.Options.InternalHosts: hosts at internal addresses
	// to which a registry at a public one may redirect the proxy.
	InternalHosts []string
	// Transport sends the requests to the registry and the store; nil means
	// client.NewTransport.
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

	sleep  func(context.Context, time.Duration) error // between tries
	limits idle.Limits

	stop   context.CancelFunc // of the expiry of uploads
	behind sync.WaitGroup     // work after an answer
}

// New returns a proxy, which Close ends. It makes no request to the registry. An error is about the options or the spool's directory.
func New(opts Options) (*Proxy, error) {
	upstream, err := client.ParseRegistry(opts.Registry, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	opts.Spool = cmp.Or(opts.Spool, os.TempDir())
	opts.SpoolLimit = cmp.Or(opts.SpoolLimit, defaultSpoolLimit)
	opts.Log = cmp.Or(opts.Log, slog.Default())
	p := &Proxy{
		upstream: upstream, guard: guard.New(opts.Listen, opts.AllowHosts), transport: opts.Transport, log: opts.Log,
		internalHosts: opts.InternalHosts, sleep: client.Sleep, limits: idle.Default(),
	}
	if p.transport == nil {
		p.transport = client.NewTransport() // it changes no Accept-Encoding, and decompresses nothing
	}
	if p.spool, err = openSpool(opts.Spool, opts.SpoolLimit); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.behind.Go(func() { p.expireIdle(ctx) })
	return p, nil
}

// Upstream returns the registry's address, with its scheme.
func (p *Proxy) Upstream() string { return p.upstream.String() }

// Spool returns the directory that keeps unfinished uploads.
func (p *Proxy) Spool() string { return p.spool.dir }

// Close ends the open uploads and removes their bytes. All requests must have ended.
func (p *Proxy) Close() {
	p.stop()
	p.sessions.expire(time.Time{})
	p.behind.Wait()
}

// expireIdle discards uploads without requests until the context ends.
func (p *Proxy) expireIdle(ctx context.Context) {
	tick := time.NewTicker(idleLife / 20)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.sessions.expire(now.Add(-idleLife))
		}
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
	case err != nil: // the registry may know the path
	case req.Kind == route.UploadStart && r.Method == http.MethodPost:
		return p.start(w, r, req)
	case req.Kind == route.Upload:
		if s := p.sessions.find(req.Name, req.Upload); s != nil {
			return p.upload(w, r, s)
		}
	}
	p.forward(w, r, nil)
	return nil
}

// repository returns a client for a repository of the registry. It sends the credentials of
// the request, and no others.
func (p *Proxy) repository(r *http.Request, name string) (*client.Repository, error) {
	given := r.Header.Values("Authorization")
	if len(given) > 1 {
		return nil, oci.NewError(oci.Unauthorized, "the request has two Authorization headers: send one")
	}
	opts := client.Options{
		Transport: p.transport, InternalHosts: p.internalHosts, UserAgent: r.UserAgent(), Log: p.log, Sleep: p.sleep,
	}
	if len(given) == 1 {
		opts.Authorization = given[0]
	} else {
		opts.Transport = anonymousTransport{p.transport}
	}
	c, err := client.New(p.upstream.String(), opts)
	if err != nil {
		return nil, errors.Join(errUnreachable(), fmt.Errorf("client: %w", err))
	}
	return c.Repository(name)
}

// anonymousTransport removes the registry's challenge, so that pkg/client does not fetch an
// anonymous token. The client has seen the challenge when it opened its upload.
type anonymousTransport struct{ next http.RoundTripper }

// Unwrap returns the transport that makes the requests.
func (t anonymousTransport) Unwrap() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t anonymousTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		resp.Header.Del("WWW-Authenticate")
	}
	return resp, err
}
