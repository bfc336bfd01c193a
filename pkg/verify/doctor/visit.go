package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/verify"
)

// visit is the state of a run: the registry, and the content pushed to it. It is for
// one goroutine.
type visit struct {
	ctx    context.Context // of the current check
	opts   Options
	client *verify.Client
	repo   string
	first  *verify.Reply // to the first request: it shows TLS and headers

	blobs    *content
	image    *manifest
	prepared map[stage]error
	failed   *verify.Reply // that made the setup of a check fail
	cleaned  *verify.CleanUp
}

// as selects the credentials of a request.
type as int

const (
	asUser     as = iota
	asNobody      // without credentials
	asStranger    // with a wrong password
)

type request = verify.Request

func (v *visit) get(target string) *verify.Reply {
	return v.do(request{Method: http.MethodGet, Target: target})
}

// do sends a request with the user's credentials. It does not follow redirects.
func (v *visit) do(r request) *verify.Reply { return v.doAs(asUser, r) }

// doAs sends a request with these credentials, always as Basic: tokens have their own
// check. They go to the registry only.
func (v *visit) doAs(who as, r request) *verify.Reply {
	if strings.HasPrefix(r.Target, "/") {
		r.Target = v.client.Base.String() + r.Target
	}
	r.Anonymous = true
	if u, err := url.Parse(r.Target); err == nil && u.Scheme == v.client.Base.Scheme && u.Host == v.client.Base.Host {
		switch {
		case who == asStranger:
			r = withHeader(r, basic("pierless-doctor", "a wrong password"))
		case who == asUser && !v.client.Anonymous():
			r = withHeader(r, basic(v.client.Username, v.client.Password))
		}
	}
	ctx, cancel := context.WithTimeout(v.ctx, requestTimeout)
	defer cancel()
	return v.client.Do(ctx, r)
}

// basic returns the header of Basic credentials.
func basic(username, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(username, password)
	return r.Header
}

// withHeader returns the request with additional headers.
func withHeader(r request, extra http.Header) request {
	header := http.Header{}
	maps.Copy(header, r.Header)
	maps.Copy(header, extra)
	r.Header = header
	return r
}

// here returns a Location as a URL of the registry: if it is on another host,
// credentials must not be sent there.
func (v *visit) here(r *verify.Reply) (string, error) {
	raw := r.Header.Get("Location")
	u, err := r.URL.Parse(raw)
	if raw == "" || err != nil {
		return "", fmt.Errorf("%s without a URL in Location", r)
	}
	u.Scheme, u.Host = v.client.Base.Scheme, v.client.Base.Host
	return u.String(), nil
}

// ok returns a passed check.
func ok(format string, args ...any) verify.Result {
	return verify.Result{Status: verify.Passed, Detail: fmt.Sprintf(format, args...)}
}

// unknown returns a check that could not be completed. r may be nil.
func unknown(r *verify.Reply, format string, args ...any) verify.Result {
	return verify.Result{Status: verify.Skipped, Detail: fmt.Sprintf(format, args...), Exchange: exchangeOf(r)}
}

// wrong returns a failed check: its reply, which may be nil, and the setting to change. If
// the request got no response, the check is unknown instead.
func wrong(r *verify.Reply, set, format string, args ...any) verify.Result {
	if r != nil && r.Status == 0 {
		return unknown(r, "%s", r)
	}
	return unanswered(r, set, format, args...)
}

// unanswered returns a failed check whose fault is that the request got no response.
func unanswered(r *verify.Reply, set, format string, args ...any) verify.Result {
	return verify.Result{Status: verify.Failed, Detail: fmt.Sprintf(format, args...), Set: set, Exchange: exchangeOf(r)}
}

func exchangeOf(r *verify.Reply) *verify.Exchange {
	if r == nil {
		return nil
	}
	return &r.Exchange
}
