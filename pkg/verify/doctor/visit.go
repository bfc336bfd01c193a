package doctor

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

	"github.com/pierless/pierless/pkg/verify"
)

// maxAnswer is the largest body that is read, in bytes.
const maxAnswer = 8 << 20

// visit is one run: the registry, and what was put into it. One goroutine uses it.
type visit struct {
	ctx    context.Context
	opts   Options
	base   *url.URL
	client *http.Client
	repo   string
	first  *reply // to the first request, which shows TLS and headers

	blobs    *content
	image    *manifest
	prepared map[stage]error
	failed   *reply // that kept the visit from preparing something
	left     leftovers
}

// as is in whose name a request is sent.
type as int

const (
	asUser     as = iota
	asNobody      // without credentials
	asStranger    // with a wrong password
)

// request is what a check sends.
type request struct {
	method string
	target string // a path under the registry's address, or a URL
	as     as
	header http.Header
	body   []byte
}

// reply is what a request got. status is 0 where there was no answer.
type reply struct {
	exchange verify.Exchange
	status   int
	header   http.Header
	body     []byte
	url      *url.URL // that was asked
	resp     *http.Response
	took     time.Duration
	err      error
}

func (r *reply) shown() *verify.Exchange {
	if r == nil {
		return nil
	}
	return &r.exchange
}

// what names the request and its answer in a sentence.
func (r *reply) what() string {
	place := r.url.EscapedPath()
	if r.err != nil && r.status == 0 {
		return fmt.Sprintf("%s %s got no answer: %v", r.exchange.Method, place, r.err)
	}
	return fmt.Sprintf("%s %s answered %d", r.exchange.Method, place, r.status)
}

// anonymous reports whether the visit has no credentials.
func (v *visit) anonymous() bool { return v.opts.Username == "" && v.opts.Password == "" }

func (v *visit) get(target string) *reply {
	return v.do(request{method: http.MethodGet, target: target})
}

// do sends a request, and follows no redirect. Credentials go to the registry alone.
func (v *visit) do(r request) *reply {
	u, err := v.resolve(r.target)
	if err != nil {
		return &reply{err: err, url: v.base, header: http.Header{}, exchange: verify.Exchange{Method: r.method, URL: r.target, Error: err.Error()}}
	}
	var body io.Reader
	if len(r.body) > 0 {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(v.ctx, r.method, u.String(), body)
	if err != nil {
		return &reply{err: err, url: u, header: http.Header{}, exchange: verify.Exchange{Method: r.method, URL: r.target, Error: err.Error()}}
	}
	for k, values := range r.header {
		req.Header[k] = values
	}
	req.Header.Set("User-Agent", "pierless-doctor")
	if u.Scheme == v.base.Scheme && u.Host == v.base.Host {
		v.authorize(req, r.as)
	}
	start := time.Now()
	resp, err := v.client.Do(req)
	var shownURL *url.Error
	if errors.As(err, &shownURL) {
		err = shownURL.Err // without the URL, which may be signed
	}
	got := &reply{url: u, header: http.Header{}, err: err, resp: resp}
	if err == nil {
		defer resp.Body.Close()
		got.body, got.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		got.status, got.header = resp.StatusCode, resp.Header
	}
	got.took = time.Since(start)
	got.exchange = verify.Record(req, r.body, resp, got.body, got.err)
	return got
}

func (v *visit) resolve(target string) (*url.URL, error) {
	if strings.HasPrefix(target, "/") {
		return url.Parse(v.base.String() + target)
	}
	return url.Parse(target)
}

func (v *visit) authorize(req *http.Request, who as) {
	switch {
	case who == asStranger:
		req.SetBasicAuth("pierless-doctor", "a password that nobody has")
	case who == asUser && !v.anonymous():
		req.SetBasicAuth(v.opts.Username, v.opts.Password)
	}
}

// here is a Location as a URL of the registry itself: where it names another host,
// credentials must not follow it there.
func (v *visit) here(r *reply) (string, error) {
	raw := r.header.Get("Location")
	u, err := r.url.Parse(raw)
	if raw == "" || err != nil {
		return "", fmt.Errorf("%s without a URL in Location", r.what())
	}
	u.Scheme, u.Host = v.base.Scheme, v.base.Host
	return u.String(), nil
}

// withQuery is a URL with one more parameter.
func withQuery(target, key, value string) string {
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	return target + sep + key + "=" + url.QueryEscape(value)
}
