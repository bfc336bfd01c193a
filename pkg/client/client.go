package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Credential is what a registry may be told: a user name and a password, a token that is
// traded for others, or one that is sent as it is. The zero value is nobody.
type Credential = auth.Credential

// Options of New. The zero value is ready for use: nobody in particular, over https.
type Options struct {
	// PlainHTTP speaks http where the registry's address has no scheme. Loopback
	// addresses need no such word.
	PlainHTTP bool

	// Credentials returns what a host (with its port, if it has one) is told when it asks.
	// It is asked once per host; nil, or a zero Credential: anonymous.
	Credentials func(ctx context.Context, host string) (Credential, error)

	// Authorization is sent as it is with every request to the registry. Credentials is not
	// used then, and a 401 comes back as an *Error that has the challenge.
	Authorization string

	// InternalHosts are hosts, without ports, to which the registry may send this client
	// although they are at internal addresses and the registry is not (docs/client.md).
	InternalHosts []string

	// Transport makes the requests; nil: NewTransport(). It must not add compression, as
	// sizes are compared, and must time out stalled transfers and check the addresses that
	// it dials: the client does not. One that wraps another has a method Unwrap.
	Transport http.RoundTripper

	// UserAgent is sent to the registry, never to a store; empty: "pierless".
	UserAgent string

	// Attempts is how often one request is made at most, the first time included; 0: 6.
	Attempts int

	// MultipartThreshold is the size in bytes from which blobs are offered in parts, where the
	// registry takes direct uploads; 0: only what cannot come otherwise, what was cut off
	// twice, and what Blob.Parts asks for.
	MultipartThreshold int64

	// Log hears of each request that is repeated; nil: nobody does.
	Log *slog.Logger

	// Resume keeps unfinished uploads, in parts and in chunks, between processes; nil: they
	// are forgotten.
	Resume Resume

	// Sleep waits; tests replace it. The error is that of the context.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Resume remembers the upload of a blob that did not end yet, by an id of at most a few
// KiB. The id is the right to write: it must be kept where others cannot read it. Methods
// are called from several goroutines.
type Resume interface {
	Load(registry, repository string, d oci.Digest) (id string, ok bool)
	Save(registry, repository string, d oci.Digest, id string) error
	Drop(registry, repository string, d oci.Digest) error
}

const (
	defaultAttempts  = 6
	defaultUserAgent = "pierless"
)

// Client talks to one registry. It is safe for concurrent use.
type Client struct {
	base url.URL // scheme and host
	opts Options
	auth *auth.Client

	logins *logins
	plain  *http.Client // for hosts that are told nothing

	noDirect     atomic.Bool // the registry has said that it takes no direct uploads
	noSinglePost atomic.Bool // it answers POST with a blob by asking for a PUT
}

// New returns a client of the registry at "host[:port]" or "http(s)://host[:port]". No
// request is made. docker.io is taken for the host that its API has.
func New(registry string, opts Options) (*Client, error) {
	base, err := ParseRegistry(registry, opts.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if opts.Attempts <= 0 {
		opts.Attempts = defaultAttempts
	}
	if opts.UserAgent == "" {
		opts.UserAgent = defaultUserAgent
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Sleep == nil {
		opts.Sleep = Sleep
	}
	if opts.Transport == nil {
		opts.Transport = NewTransport()
	}
	c := &Client{base: *base, opts: opts}
	guard := newTargetGuard(opts.Transport, c.base, opts.InternalHosts)
	c.plain = &http.Client{Transport: guard, CheckRedirect: checkRedirect}
	c.logins = &logins{ask: opts.Credentials, known: map[string]Credential{}}
	c.auth = newAuth(c.plain, c.logins, opts)
	return c, nil
}

// ParseRegistry reads the address of a registry as New does: the URL has a scheme and a
// host, nothing else.
func ParseRegistry(registry string, plainHTTP bool) (*url.URL, error) {
	raw, bare := registry, !strings.Contains(registry, "://")
	if bare {
		raw = "https://" + registry
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		// The address is not repeated: somebody may have put a password in it.
		return nil, errors.New("a registry's address is host[:port] or http(s)://host[:port], with nothing before or behind it")
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

// IsLoopback reports whether a host, in lower case and without a port, is always this
// machine, whatever a name server says.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true // RFC 6761, 6.3
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Sleep waits for d or until the context ends: what Options.Sleep is where it is not set.
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

// Ping asks whether there is a registry that lets the caller in (spec, end-1).
func (c *Client) Ping(ctx context.Context) error {
	resp, err := c.do(ctx, c.newRequest(http.MethodGet, route.Request{Kind: route.Base}))
	return finish(resp, err)
}

// Catalog lists the repositories, page by page (from Docker's HTTP API V2). Many
// registries have no such list, or not for everybody.
func (c *Client) Catalog(ctx context.Context) iter.Seq2[string, error] {
	return listStrings(ctx, c, c.newRequest(http.MethodGet, route.Request{Kind: route.Catalog}), "repositories")
}

// Repository returns a repository of the registry. No request is made. The error is
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

// newRequest is a request for a path of this repository. Actions are those that a token
// must allow.
func (r *Repository) newRequest(method string, req route.Request, actions ...string) request {
	req.Name = r.name
	k := r.client.newRequest(method, req)
	k.scopes = []string{auth.ScopeRepository(r.name, actions...)}
	return k
}

// String names registry and repository.
func (r *Repository) String() string { return fmt.Sprintf("%s/%s", r.client.base.Host, r.name) }
