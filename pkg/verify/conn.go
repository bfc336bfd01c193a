package verify

import (
	"bytes"
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
	// maxAnswer is the largest body that is read, in bytes: no case asks for more.
	maxAnswer = 64 << 20
)

// conn is a registry as all cases of a run reach it.
type conn struct {
	base    *url.URL
	client  *http.Client
	auth    *authorizer
	maxBody int64 // the largest request body that the registry says it takes; 0: no limit
}

func newConn(opts Options) (*conn, error) {
	raw := opts.URL
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	base, err := url.Parse(strings.TrimSuffix(raw, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a registry: use http://host:port or https://host", opts.URL)
	}
	if base.Path == "/v2" {
		base.Path = ""
	}
	if base.User != nil {
		// Reports show the address.
		if opts.Username == "" && opts.Password == "" {
			opts.Username = base.User.Username()
			opts.Password, _ = base.User.Password()
		}
		base.User = nil
	}
	transport := http.DefaultTransport
	if opts.Transport != nil {
		transport = opts.Transport
	} else if t, ok := transport.(*http.Transport); ok {
		// Lengths and bytes are compared, so nobody may compress on the way.
		t = t.Clone()
		t.DisableCompression = true
		t.MaxIdleConnsPerHost = 64
		t.ResponseHeaderTimeout = caseTimeout
		transport = t
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &conn{
		base: base, client: client, maxBody: opts.MaxBody,
		auth: &authorizer{username: opts.Username, password: opts.Password, client: client, tokens: map[string]string{}},
	}, nil
}

// request is what a case asks for.
type request struct {
	method    string
	target    string // a path under the registry's address, or a URL
	raw       bool   // send the target as it is, even where it is no URL
	header    http.Header
	body      []byte
	stream    bool // without Content-Length
	cut       int  // break off after so many bytes of the body; 0: never
	anonymous bool
}

// hop is an answer that sent the client on.
type hop struct {
	status int
	header http.Header
	host   string
}

var errCut = errors.New("broken off on purpose")

// roundTrip sends a request and follows redirects as clients do: with the same
// method and body for 307 and 308, and with credentials for the registry alone.
func (c *conn) roundTrip(ctx context.Context, r request) (resp *http.Response, body []byte, hops []hop, err error) {
	req, err := c.build(ctx, r, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	for {
		resp, body, err = c.send(req, r)
		if err != nil || len(hops) == maxRedirects {
			return resp, body, hops, err
		}
		next, redirected := redirect(resp, r.method)
		if !redirected {
			return resp, body, hops, nil
		}
		hops = append(hops, hop{resp.StatusCode, resp.Header, req.URL.Host})
		if next == "" {
			return resp, body, hops, nil
		}
		r.target, r.raw = next, false
		if req, err = c.build(ctx, r, req.URL); err != nil {
			return resp, body, hops, err
		}
	}
}

// redirect is where an answer sends a request that may be sent again.
func redirect(resp *http.Response, method string) (target string, redirected bool) {
	switch resp.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location"), true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if method == http.MethodGet || method == http.MethodHead {
			return resp.Header.Get("Location"), true
		}
	}
	return "", false
}

func (c *conn) build(ctx context.Context, r request, from *url.URL) (*http.Request, error) {
	u, err := c.resolve(r, from)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://unused", r.reader())
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = u, u.Host
	req.ContentLength = int64(len(r.body))
	if r.stream {
		req.ContentLength = -1
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "pierless-verify")
	return req, nil
}

func (c *conn) resolve(r request, from *url.URL) (*url.URL, error) {
	if r.raw {
		return &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Opaque: c.base.Path + r.target}, nil
	}
	if from != nil {
		return from.Parse(r.target)
	}
	if strings.HasPrefix(r.target, "/") {
		return url.Parse(c.base.String() + r.target)
	}
	return url.Parse(r.target)
}

func (r request) reader() io.Reader {
	switch {
	case r.cut > 0:
		return io.MultiReader(bytes.NewReader(r.body[:r.cut]), failing{})
	case len(r.body) == 0 && !r.stream:
		return nil
	}
	return io.NopCloser(bytes.NewReader(r.body)) // hides the length from net/http, which build sets
}

// failing ends a body too early, which closes the connection.
type failing struct{}

func (failing) Read([]byte) (int, error) {
	time.Sleep(50 * time.Millisecond) // so that what came before is on its way
	return 0, errCut
}

// send sends one request, once more with credentials if the registry asks for them.
func (c *conn) send(req *http.Request, r request) (*http.Response, []byte, error) {
	ours := sameHost(req.URL, c.base) && !r.anonymous
	if ours {
		c.auth.prepare(req)
	}
	resp, body, err := c.once(req)
	if err != nil || !ours || resp.StatusCode != http.StatusUnauthorized {
		return resp, body, err
	}
	again := req.Clone(req.Context())
	if again.Body != nil {
		again.Body = io.NopCloser(r.reader())
	}
	known, authErr := c.auth.answer(again, resp)
	if authErr != nil || !known {
		return resp, body, authErr
	}
	return c.once(again)
}

// sameHost tells whether two URLs are of one host and port, however they are written.
func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

func (c *conn) once(req *http.Request) (*http.Response, []byte, error) {
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp, body, fmt.Errorf("the body broke off after %d bytes: %w", len(body), err)
	}
	return resp, body, nil
}
