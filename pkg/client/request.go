package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// request is a request that can be repeated.
type request struct {
	method string
	url    *url.URL
	label  string // the path for messages: without the id of an upload
	header http.Header
	body   func() (io.ReadCloser, error) // opens the body for each attempt; nil: none
	size   int64                         // of the body, in bytes; negative: unknown
	// progress, if non-nil, is called with the bytes sent; the bytes of a failed attempt
	// are reported again as a negative delta.
	progress func(delta int64)
	scopes   []string
	missing  oci.Code // of a 404 without an error code
	noRetry  bool
	// presigned requests go to the registry's store. They carry no credentials, on any host.
	presigned bool
	token     bool // a request to the token service
}

// newRequest returns a request for a path of the API.
func (c *Client) newRequest(method string, req route.Request) request {
	u := c.base
	u.Path = req.Path()
	endpoint := route.API().Endpoint(req.Kind)
	if strings.HasSuffix(endpoint.Path, "{id}") {
		req.Upload = hiddenID // it grants write access
	}
	return request{method: method, url: &u, header: http.Header{}, label: req.Path(), missing: endpoint.Unknown}
}

// withQuery returns the request with query parameters, given as names and values.
func (k request) withQuery(pairs ...string) request {
	u := *k.url
	q := u.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	u.RawQuery = q.Encode()
	k.url = &u
	return k
}

// do sends a request, with retries, and returns a 2xx answer with its body open. The error
// is an *Error, a *StoreError (also after a redirect), a *TargetError, or a failure to get
// an answer.
func (c *Client) do(ctx context.Context, k request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.try(ctx, k)
		if err == nil {
			return resp, nil
		}
		if answer, ok := errors.AsType[*Error](err); ok {
			answer.attempt = attempt
		}
		if k.noRetry {
			return nil, err
		}
		if err := c.retry(ctx, "request", err, attempt, slog.String("method", k.method), slog.String("path", k.label)); err != nil {
			return nil, err
		}
	}
}

// try sends a request once.
func (c *Client) try(ctx context.Context, k request) (*http.Response, error) {
	req, src, err := k.build(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(req, k)
	if err == nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
		src.close()
		return resp, nil
	}
	sent := src.taken()
	broken := src.discard()
	switch {
	case broken != nil:
		if err == nil {
			resp.Body.Close()
		}
		return nil, broken
	case err != nil:
		return nil, c.requestError(ctx, k, err, sent)
	case c.isForeign(resp.Request.URL, k):
		return nil, storeError(resp)
	}
	refused := answerError(resp, k)
	if k.token {
		refused.fromTokenService, refused.Excerpt = true, ""
		return nil, refused
	}
	return nil, c.explained(refused)
}

// isForeign reports whether a request leads to the store of the registry.
func (c *Client) isForeign(u *url.URL, k request) bool {
	return k.presigned || !k.token && !sameOrigin(u, &c.base)
}

// send adds credentials and User-Agent, for the registry only.
func (c *Client) send(req *http.Request, k request) (*http.Response, error) {
	if c.isForeign(req.URL, k) {
		req.Header.Set("User-Agent", "") // not even that of net/http
		return c.http.Do(req)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	switch {
	case k.token:
		req.GetBody = nil // no redirect gets the refresh token
	case c.opts.Authorization != "":
		req.Header.Set("Authorization", c.opts.Authorization)
	default:
		return c.sendAuthorized(req, mergeScopes(k.scopes))
	}
	return c.http.Do(req)
}

// build returns the request of one attempt, and the source of its body.
func (k request) build(ctx context.Context) (*http.Request, *source, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, k.url.String(), nil)
	if err != nil {
		return nil, nil, errors.New("the address of the next request is malformed")
	}
	maps.Copy(req.Header, k.header)
	if !k.presigned {
		req.Header.Set("Accept-Encoding", "identity") // sizes and digests are those of the content
	}
	src := &source{progress: k.progress}
	if k.body == nil {
		return req, src, nil
	}
	req.GetBody = func() (io.ReadCloser, error) { return src.open(k.body, k.size) }
	if req.Body, err = req.GetBody(); err != nil {
		return nil, nil, err
	}
	req.ContentLength = k.size
	if k.size == 0 {
		req.Body.Close()
		req.Body = http.NoBody
	}
	return req, src, nil
}

// requestError turns an error of net/http or of the authorization into one without URLs.
func (c *Client) requestError(ctx context.Context, k request, err error, sent int64) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", k.method, k.label, ctx.Err())
	}
	if refused, ok := errors.AsType[*TargetError](err); ok {
		return refused
	}
	if answer, ok := errors.AsType[*Error](err); ok { // of the token service
		return c.explained(answer)
	}
	var u *url.Error
	if !errors.As(err, &u) {
		return fmt.Errorf("%s %s: %w", k.method, k.label, err)
	}
	where := k.url.Host + k.label
	for errors.As(err, &u) {
		if at, parseErr := url.Parse(u.URL); parseErr == nil && at.Host != k.url.Host {
			where = at.Host
		}
		err = u.Err
	}
	return &networkError{method: k.method, where: where, err: err, sent: sent}
}

// store sends a request that completes a blob.
func (c *Client) store(ctx context.Context, k request) error {
	resp, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	drain(resp)
	return stored(resp, k)
}

// stored returns an error unless the status is 201: a proxy in front of the registry may
// answer 200 to everything.
func stored(resp *http.Response, k request) error {
	if resp.StatusCode == http.StatusCreated {
		return nil
	}
	return &Error{Method: k.method, Path: k.label, Status: resp.StatusCode, Errors: oci.Errors{
		oci.NewError(oci.Unknown, "the registry does not confirm with 201 that it stored the content"),
	}}
}

// remove sends a DELETE.
func (c *Client) remove(ctx context.Context, k request) error { return gone(finish(c.do(ctx, k))) }

// gone accepts a 404 to the retry of a DELETE: the first attempt deleted it.
func gone(err error) error {
	if isRepeated404(err) {
		return nil
	}
	return err
}

// isRepeated404 reports whether an error is a 404 to a retry: the first attempt may have
// succeeded.
func isRepeated404(err error) bool {
	answer, ok := errors.AsType[*Error](err)
	return ok && answer.Status == http.StatusNotFound && answer.attempt > 1
}

// finish drains an answer unless there is an error.
func finish(resp *http.Response, err error) error {
	if err == nil {
		drain(resp)
	}
	return err
}

// drain reads an answer to its end so that the connection can be reused; a longer one is not
// worth it.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
}

// answer is an answer that was read completely.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// read sends a request and reads the answer, of at most limit bytes. It repeats the request
// if the answer is interrupted.
func (c *Client) read(ctx context.Context, k request, limit int64) (answer, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.do(ctx, k)
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		switch {
		case int64(len(body)) > limit:
			return answer{}, fmt.Errorf("%s %s: the answer has more than %d bytes", k.method, k.label, limit)
		case err == nil:
			return answer{resp.StatusCode, resp.Header, body}, nil
		case ctx.Err() != nil:
			return answer{}, fmt.Errorf("%s %s: %w", k.method, k.label, ctx.Err())
		}
		err = &networkError{method: k.method, where: k.url.Host + k.label, err: err}
		if k.noRetry {
			return answer{}, err
		}
		if err := c.retry(ctx, "request", err, attempt); err != nil {
			return answer{}, err
		}
	}
}

// location returns the URL for the next request of an upload. A registry behind a proxy that
// terminates TLS may answer with its own host and http: the client stays on https.
func (c *Client) location(resp *http.Response) (*url.URL, error) {
	header := resp.Header.Get("Location")
	u, err := resp.Request.URL.Parse(header)
	if header == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the registry sent no valid Location to continue the upload at")
	}
	ours := c.base.Scheme == "https" && u.Scheme == "http" && u.Hostname() == c.base.Hostname()
	if ours && (u.Port() == "" || u.Port() == "80" || u.Port() == c.base.Port()) {
		u.Scheme, u.Host = c.base.Scheme, c.base.Host
	}
	return u, nil
}

// contentLength returns the Content-Length of an answer, or -1 if it has none.
func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
