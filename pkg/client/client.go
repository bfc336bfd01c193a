package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Options of New. The zero value is ready for use: anonymous, over https.
type Options struct {
	// PlainHTTP uses http if the registry's address has no scheme. Loopback addresses
	// always use http.
	PlainHTTP bool

	// Credentials returns the credential for a host (with its port, if it has one). It is
	// called once per client, after the first challenge. If it is nil or returns the zero
	// Credential, the client is anonymous.
	Credentials func(ctx context.Context, host string) (Credential, error)

	// Authorization is sent unchanged with every request to the registry. Credentials is
	// then ignored, and a 401 is returned as an *Error with the challenge.
	Authorization string

	// InternalHosts lists hosts, without ports, to which the registry may send this client
	// although they have internal addresses and the registry has not (docs/client.md).
	InternalHosts []string

	// Transport makes the requests; the default is NewTransport(). It must not negotiate
	// compression (sizes are compared), must time out stalled transfers and must check the
	// addresses that it dials; the client does not. A transport that wraps another one has
	// a method Unwrap.
	Transport http.RoundTripper

	// UserAgent is sent to the registry, never to a store. The default is "pierless".
	UserAgent string

	// Attempts limits how often one request is made, including the first time. The default
	// is 6.
	Attempts int

	// MultipartThreshold is the size in bytes from which blobs are uploaded in parts, if the
	// registry offers direct uploads. If it is 0, parts are used only for blobs that do not
	// fit into one request, after two interrupted attempts, and if Blob.Parts is set.
	MultipartThreshold int64

	// Log records each retry; nil disables it.
	Log *slog.Logger

	// Resume keeps the state of unfinished uploads, in parts and in chunks, between
	// processes; nil disables that.
	Resume Resume

	// Sleep waits for d or until the context ends, and returns the context's error. The
	// default is Sleep; tests replace it.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Resume keeps the state of unfinished blob uploads. The state, of at most a few KiB, grants
// write access: it must be unreadable for others. Methods are called concurrently.
type Resume interface {
	// Load returns the state of the upload of a blob, or "" if there is none.
	Load(registry, repository string, d oci.Digest) (state string)
	// Save replaces this state; "" deletes it.
	Save(registry, repository string, d oci.Digest, state string) error
}

const (
	defaultAttempts  = 6
	defaultUserAgent = "pierless"
)

// Client talks to one registry. It is safe for concurrent use.
type Client struct {
	base url.URL // scheme and host
	opts Options
	http *http.Client
	auth authorizer

	noDirect     atomic.Bool // the registry offers no direct uploads
	noSinglePost atomic.Bool // it ignores the body of a POST that starts an upload
}

// New returns a client of the registry at "host[:port]" or "http(s)://host[:port]". It makes
// no request. docker.io stands for the host of Docker Hub's API.
func New(registry string, opts Options) (*Client, error) {
	base, err := ParseRegistry(registry, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if opts.Attempts <= 0 {
		opts.Attempts = defaultAttempts
	}
	opts.UserAgent = cmp.Or(opts.UserAgent, defaultUserAgent)
	opts.Log = cmp.Or(opts.Log, slog.New(slog.DiscardHandler))
	if opts.Sleep == nil {
		opts.Sleep = Sleep
	}
	if opts.Transport == nil {
		opts.Transport = NewTransport()
	}
	guard := newTargetGuard(opts.Transport, *base, opts.InternalHosts)
	return &Client{
		base: *base, opts: opts, http: &http.Client{Transport: guard, CheckRedirect: checkRedirect},
		auth: authorizer{ask: opts.Credentials, headers: map[string]string{}},
	}, nil
}

// ParseRegistry parses the address of a registry as New does. The URL has a scheme and a
// host only.
func ParseRegistry(registry string, plainHTTP bool) (*url.URL, error) {
	raw, bare := registry, !strings.Contains(registry, "://")
	if bare {
		raw = "https://" + registry
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		// The error does not repeat the address: it may contain a password.
		return nil, errors.New("a registry's address must be host[:port] or http(s)://host[:port], without user, path or query")
	}
	base := &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	if bare && (plainHTTP || IsLoopback(strings.ToLower(u.Hostname()))) {
		base.Scheme = "http"
	}
	if base.Host == "docker.io" || base.Host == "index.docker.io" {
		base.Host = "registry-1.docker.io"
	}
	return base, nil
}

// IsLoopback reports whether a host, in lower case and without a port, is this machine
// independent of DNS.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true // RFC 6761, 6.3
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Sleep waits for d or until the context ends, and returns the context's error. It is the
// default of Options.Sleep.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Host returns the registry's host, with its port if it has one.
func (c *Client) Host() string { return c.base.Host }

// Ping checks that the address is a registry and that it accepts the credentials (spec,
// end-1).
func (c *Client) Ping(ctx context.Context) error {
	resp, err := c.do(ctx, c.newRequest(http.MethodGet, route.Request{Kind: route.Base}))
	return finish(resp, err)
}

// Repository returns a repository of the registry. It makes no request. The error is
// NAME_INVALID.
func (c *Client) Repository(name string) (*Repository, error) {
	if err := oci.CheckName(name); err != nil {
		return nil, err
	}
	return &Repository{client: c, name: name}, nil
}

// Repository is one repository of a registry. It is safe for concurrent use.
type Repository struct {
	client *Client
	name   string
}

// Name returns the repository's name.
func (r *Repository) Name() string { return r.name }

// newRequest returns a request for a path of this repository, with a token for the actions.
func (r *Repository) newRequest(method string, req route.Request, actions ...string) request {
	req.Name = r.name
	k := r.client.newRequest(method, req)
	k.scopes = []string{repositoryScope(r.name, actions...)}
	return k
}

// String returns registry and repository.
func (r *Repository) String() string { return fmt.Sprintf("%s/%s", r.client.base.Host, r.name) }
