package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxRedirects = 5
	// maxResponse limits the response bodies that are read, in bytes: no case expects more.
	maxResponse = 64 << 20
)

// ClientOptions configures a Client.
type ClientOptions struct {
	// URL is the registry's address: http://host:port, https://host, or host:port with
	// the scheme Scheme. It may contain a user and a password.
	URL, Scheme string
	// Username and Password answer the registry's challenges.
	Username, Password string
	UserAgent          string
	// Transport sends the requests; nil means a new one.
	Transport http.RoundTripper
}

// Client sends requests to one registry. It records the responses, and the content that they
// created: see CleanUp.
type Client struct {
	// Base is the registry's address without user and path "/v2": reports show it.
	Base               *url.URL
	Username, Password string

	http      *http.Client
	userAgent string
	auth      *authorizer
	created   created
}

// NewClient returns a client for the registry at an address. The error is about the
// address.
func NewClient(opts ClientOptions) (*Client, error) {
	raw := opts.URL
	if !strings.Contains(raw, "://") {
		raw = opts.Scheme + "://" + raw
	}
	base, err := url.Parse(strings.TrimSuffix(raw, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a registry: use http://host:port or https://host", opts.URL)
	}
	if base.User != nil && opts.Username == "" && opts.Password == "" {
		opts.Username = base.User.Username()
		opts.Password, _ = base.User.Password()
	}
	base.User, base.Path = nil, strings.TrimSuffix(base.Path, "/v2")
	transport := opts.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // lengths and bytes are compared
		t.MaxIdleConnsPerHost = 64
		t.ResponseHeaderTimeout = caseTimeout
		transport = t
	}
	c := &Client{Base: base, Username: opts.Username, Password: opts.Password, userAgent: opts.UserAgent, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, created: created{repositories: map[string]*holding{}}}
	c.auth = &authorizer{username: c.Username, password: c.Password, client: c.http, tokens: map[string]string{}}
	return c, nil
}

// Anonymous reports whether the client has no credentials.
func (c *Client) Anonymous() bool { return c.Username == "" && c.Password == "" }

// Accepts checks the reply to GET /v2/: a wrong address or password would fail every
// case. The error is ErrUnreachable or the context's.
func (c *Client) Accepts(ctx context.Context, ping *Reply) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case ping.Status == 0:
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.Base, ping.Err)
	case ping.Status == http.StatusUnauthorized && c.Anonymous():
		return fmt.Errorf("%w at %s without credentials: give a user and a password", ErrUnreachable, c.Base)
	case ping.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w at %s with these credentials", ErrUnreachable, c.Base)
	}
	return nil
}

// Request is a request to the registry, or to the store that it redirects to.
type Request struct {
	Method string
	Target string // a path of the registry, or a URL
	Header http.Header
	Body   []byte
	Stream bool // send the body without Content-Length
	// Anonymous sends no credentials but those in Header.
	Anonymous bool

	raw bool // send the target unchanged, even if it is not a valid URL
	cut int  // abort after this many bytes of the body; 0: never
}

// Reply is the recorded response to a request.
type Reply struct {
	Exchange Exchange
	Status   int // 0: no response
	Header   http.Header
	Body     []byte
	URL      *url.URL       // of the last request, after redirects
	Response *http.Response // nil: no response
	Took     time.Duration  // from the request to the end of the body
	Err      error          // why there is no response, or an incomplete one

	hops []hop
}

// hop is a redirect that was followed.
type hop struct {
	status int
	header http.Header
}

var errCut = errors.New("aborted on purpose")

// Do sends a request, and a second time with credentials if the registry asks for them.
// It does not follow redirects.
func (c *Client) Do(ctx context.Context, r Request) *Reply {
	reply := c.do(ctx, r)
	reply.Exchange = exchangeOf(r, reply)
	return reply
}

// follow sends a request and follows redirects as clients do: with the same method and
// body for 307 and 308, and with credentials for the registry only.
func (c *Client) follow(ctx context.Context, first Request) *Reply {
	r := first
	reply := c.do(ctx, r)
	var hops []hop
	for reply.Err == nil && len(hops) < maxRedirects {
		next, redirected := redirect(reply, r.Method)
		if !redirected {
			break
		}
		hops = append(hops, hop{reply.Status, reply.Header})
		u, err := reply.URL.Parse(next)
		if next == "" || err != nil {
			reply.Err = err
			break
		}
		r.Target, r.raw = u.String(), false
		reply = c.do(ctx, r)
	}
	reply.hops = hops
	reply.Exchange = exchangeOf(first, reply)
	return reply
}

// redirect returns the Location of a response that redirects this method.
func redirect(reply *Reply, method string) (target string, redirected bool) {
	switch reply.Status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		redirected = true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		redirected = method == http.MethodGet || method == http.MethodHead
	}
	return reply.Header.Get("Location"), redirected
}

// do sends a request, answers a challenge once, and records the created content.
func (c *Client) do(ctx context.Context, r Request) *Reply {
	reply := c.answered(ctx, r)
	c.created.note(c.Base, r, reply)
	return reply
}

// answered sends a request, and a second time with credentials if the registry asks for them.
func (c *Client) answered(ctx context.Context, r Request) *Reply {
	req, err := c.build(ctx, r)
	if err != nil {
		return &Reply{Header: http.Header{}, URL: c.Base, Err: err}
	}
	ours := sameHost(req.URL, c.Base) && !r.Anonymous
	if ours {
		c.auth.prepare(req)
	}
	reply := c.send(req)
	if reply.Err != nil || !ours || reply.Status != http.StatusUnauthorized {
		return reply
	}
	again, _ := c.build(ctx, r) // succeeded before
	known, err := c.auth.answer(again, reply.Header)
	if err != nil || !known {
		reply.Err = err
		return reply
	}
	return c.send(again)
}

func (c *Client) build(ctx context.Context, r Request) (*http.Request, error) {
	u, err := c.resolve(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://unused", r.reader())
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = u, u.Host
	req.ContentLength = int64(len(r.Body))
	if r.Stream {
		req.ContentLength = -1
	}
	if r.Header != nil {
		req.Header = r.Header.Clone()
	}
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

func (c *Client) resolve(r Request) (*url.URL, error) {
	switch {
	case r.raw:
		return &url.URL{Scheme: c.Base.Scheme, Host: c.Base.Host, Opaque: c.Base.Path + r.Target}, nil
	case strings.HasPrefix(r.Target, "/"):
		return url.Parse(c.Base.String() + r.Target)
	}
	return url.Parse(r.Target)
}

func (r Request) reader() io.Reader {
	switch {
	case r.cut > 0:
		return io.MultiReader(bytes.NewReader(r.Body[:r.cut]), failing{})
	case len(r.Body) == 0 && !r.Stream:
		return nil
	}
	return io.NopCloser(bytes.NewReader(r.Body)) // hides the length from net/http, which build sets
}

// failing is a body that ends with an error, which closes the connection.
type failing struct{}

func (failing) Read([]byte) (int, error) {
	time.Sleep(50 * time.Millisecond) // until the bytes before it are sent
	return 0, errCut
}

// sameHost reports whether two URLs have the same host and port, however they are written.
func sameHost(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		return cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
	}
	return strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// send sends one request. Its error does not contain the URL, which may be signed.
func (c *Client) send(req *http.Request) *Reply {
	start := time.Now()
	reply := &Reply{Header: http.Header{}, URL: req.URL}
	resp, err := c.http.Do(req)
	if failed := new(url.Error); errors.As(err, &failed) {
		err = failed.Err
	}
	if reply.Err = err; err != nil {
		return reply
	}
	defer resp.Body.Close()
	reply.Response, reply.Status, reply.Header = resp, resp.StatusCode, resp.Header
	if reply.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse)); err != nil {
		reply.Err = fmt.Errorf("the response ended after %d bytes: %w", len(reply.Body), err)
	}
	reply.Took = time.Since(start)
	return reply
}

// String names the request and its response in a sentence.
func (r *Reply) String() string {
	if r.Status == 0 {
		return fmt.Sprintf("%s %s got no response: %v", r.Exchange.Method, r.URL.EscapedPath(), r.Err)
	}
	return fmt.Sprintf("%s %s answered %d", r.Exchange.Method, r.URL.EscapedPath(), r.Status)
}

// AddQuery appends a parameter to a URL as clients do to an upload's Location: the
// existing query stays unchanged.
func AddQuery(target, key, value string) string {
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	return target + sep + key + "=" + url.QueryEscape(value)
}
