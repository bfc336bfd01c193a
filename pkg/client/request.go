package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// request is a request that can be made again.
type request struct {
	method string
	url    *url.URL
	label  string // what messages show of the path
	header http.Header
	body   func() (io.ReadCloser, error) // opens the body, for each try; nil: none
	size   int64                         // of the body, in bytes; negative: not known
	// progress hears how many bytes of the body were sent, and of those of a try that
	// failed once more, with a minus. nil: nobody does.
	progress func(delta int64)
	scopes   []string
	// missing is the code of a 404 that brings none.
	missing oci.Code
	// noRetry: the request must not be repeated by itself.
	noRetry bool
	// store: a presigned request, which is told nothing of ours, whatever its host.
	store bool
}

// newRequest is a request for one of the grammar's paths.
func (c *Client) newRequest(method string, req route.Request) request {
	u := c.base
	u.Path = req.Path()
	k := request{method: method, url: &u, header: http.Header{}, label: u.Path}
	switch req.Kind {
	case route.Upload, route.Direct, route.DirectParts, route.Verification:
		req.Upload = "<id>" // the right to write
		k.label, k.missing = req.Path(), oci.BlobUploadUnknown
	case route.Blob:
		k.missing = oci.BlobUnknown
	case route.Manifest:
		k.missing = oci.ManifestUnknown
	case route.Base, route.Catalog, route.UploadStart, route.TagList, route.Referrers, route.DirectStart, route.Token:
		k.missing = oci.NameUnknown
	}
	return k
}

// withQuery adds a query, given as names and values.
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

// do makes a request, again where that may help, and returns an answer 2xx with its
// body open. The error is an *Error, a *StoreError after a redirect, or says that no
// answer came.
func (c *Client) do(ctx context.Context, k request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.try(ctx, k)
		if err == nil {
			return resp, nil
		}
		var answer *Error
		if errors.As(err, &answer) {
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

// try makes a request one time.
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
		return nil, c.cleanError(ctx, k, err, sent)
	}
	if k.store || !sameOrigin(resp.Request.URL, &c.base) {
		return nil, storeError(resp)
	}
	return nil, c.explained(answerError(resp, k))
}

// send adds what this client says of itself, to the registry alone.
func (c *Client) send(req *http.Request, k request) (*http.Response, error) {
	if k.store || !sameOrigin(req.URL, &c.base) {
		req.Header.Set("User-Agent", "") // not even that of net/http
		return c.plain.Do(req)
	}
	if c.opts.Authorization != "" {
		req.Header.Set("Authorization", c.opts.Authorization)
	}
	scoped := auth.WithScopesForHost(req.Context(), req.URL.Host, k.scopes...)
	return c.auth.Do(req.WithContext(scoped))
}

// build makes the request of one try. The source tells whether the body could be read.
func (k request) build(ctx context.Context) (*http.Request, *source, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, k.url.String(), nil)
	if err != nil {
		return nil, nil, errors.New("the address of the next request is malformed")
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if !k.store {
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

// cleanError makes what net/http and the authorization return an error without URLs.
func (c *Client) cleanError(ctx context.Context, k request, err error, sent int64) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", k.method, k.label, ctx.Err())
	}
	var refused *TargetError
	if errors.As(err, &refused) {
		return refused
	}
	if denied := authError(err); denied != nil {
		return c.explained(denied)
	}
	var u *url.Error
	if !errors.As(err, &u) {
		// Not the connection: the authorization, which puts the address before its cause.
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return &loginError{method: k.method, path: k.label, err: err}
	}
	where := k.url.Host + k.label
	for {
		if !errors.As(err, &u) {
			return &networkError{method: k.method, where: where, err: err, sent: sent}
		}
		if at, parseErr := url.Parse(u.URL); parseErr == nil && at.Host != k.url.Host {
			where = at.Host
		}
		err = u.Err
	}
}

// store makes a request that ends with a blob in the registry: exactly 201 says so.
func (c *Client) store(ctx context.Context, k request) error {
	resp, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	drain(resp)
	return stored(resp, k)
}

// stored is an error unless the answer is that of a registry which has stored something:
// a front door may say 200 to everything.
func stored(resp *http.Response, k request) error {
	if resp.StatusCode == http.StatusCreated {
		return nil
	}
	return &Error{Method: k.method, Path: k.label, Status: resp.StatusCode, Errors: oci.Errors{
		oci.NewError(oci.Unknown, "the registry does not say that it has stored the content: that would be 201"),
	}}
}

// remove makes a DELETE. What a repeated one does not find any more, the first one has
// deleted.
func (c *Client) remove(ctx context.Context, k request) error {
	err := finish(c.do(ctx, k))
	var answer *Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound && answer.attempt > 1 {
		return nil
	}
	return err
}

// finish reads an answer to its end, so that the connection can be used again.
func finish(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // a longer one is not worth the connection
	resp.Body.Close()
}

// answer is an answer that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// read makes a request and reads the answer, of at most limit bytes; again where it
// breaks off.
func (c *Client) read(ctx context.Context, k request, limit int64) (answer, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.do(ctx, k)
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		if int64(len(body)) > limit {
			return answer{}, fmt.Errorf("%s %s: the answer has more than %d bytes", k.method, k.label, limit)
		}
		if err == nil {
			return answer{resp.StatusCode, resp.Header, body}, nil
		}
		if ctx.Err() != nil {
			return answer{}, fmt.Errorf("%s %s: %w", k.method, k.label, ctx.Err())
		}
		err = &networkError{method: k.method, where: k.url.Host + k.label, err: err}
		wait, again := c.retryWait(ctx, err, attempt)
		if !again {
			return answer{}, err
		}
		if err := c.opts.Sleep(ctx, wait); err != nil {
			return answer{}, err
		}
	}
}

// location is where an answer sends the next request of an upload. A registry behind a
// front door that ends TLS may think that it is spoken to over http: that is not followed
// down.
func (c *Client) location(resp *http.Response) (*url.URL, error) {
	header := resp.Header.Get("Location")
	if header == "" {
		return nil, errors.New("the registry does not say where the upload goes on: no Location")
	}
	u, err := resp.Request.URL.Parse(header)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the registry does not say where the upload goes on: its Location is no URL")
	}
	ours := c.base.Scheme == "https" && u.Scheme == "http" && u.Hostname() == c.base.Hostname()
	if ours && (u.Port() == "" || u.Port() == "80" || u.Port() == c.base.Port()) {
		u.Scheme, u.Host = c.base.Scheme, c.base.Host
	}
	return u, nil
}

// contentLength is the length that an answer announces; -1 where it does not.
func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
