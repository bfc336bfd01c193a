package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/pierless/pierless/pkg/oci"
)

// newAuth returns the client for requests to the registry: it answers challenges, keeps
// tokens by their scopes, and sends no credentials to another origin.
func newAuth(plain *http.Client, l *logins, opts Options) *auth.Client {
	return &auth.Client{
		Client:     plain,
		Header:     http.Header{"User-Agent": {opts.UserAgent}},
		Credential: l.credential,
		Cache:      auth.NewCache(),
		ClientID:   "pierless",
	}
}

// logins asks for credentials once per host: a helper may be slow, or ask a person.
type logins struct {
	ask func(context.Context, string) (Credential, error) // nil: nobody

	mu    sync.Mutex
	known map[string]Credential
}

func (l *logins) credential(ctx context.Context, host string) (Credential, error) {
	if l.ask == nil {
		return Credential{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if cred, ok := l.known[host]; ok {
		return cred, nil
	}
	cred, err := l.ask(ctx, host)
	if err == nil {
		l.known[host] = cred
	}
	return cred, err
}

// sent is the credential that a host was given; zero: none.
func (l *logins) sent(host string) Credential {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[host]
}

// explained adds to a 401 whom the registry refuses, and why. Credentials themselves are
// never shown.
func (c *Client) explained(e *Error) *Error {
	if e.Status != http.StatusUnauthorized {
		return e
	}
	e.Registry = c.base.Host
	cred := c.logins.sent(c.base.Host)
	basic := strings.HasPrefix(strings.ToLower(e.Challenge), "basic")
	switch {
	case c.opts.Authorization != "": // the caller knows whose it is
	case cred == (Credential{}):
		e.login = "no credentials are known for the registry " + e.Registry
	case cred.Password == "":
		e.login = "the registry " + e.Registry + " refuses the token that is known for it"
	case basic || e.tokens:
		e.login = fmt.Sprintf("the password that is known for user %q at the registry %s is wrong", cred.Username, e.Registry)
	default: // the token service took the password
		e.login = fmt.Sprintf("user %q at the registry %s may not do this", cred.Username, e.Registry)
	}
	return e
}

const maxRedirects = 10

// checkRedirect follows what keeps method and body: a redirect that would turn an upload
// into a GET is the answer. What was asked of the registry is not told to another host.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return errors.New("the registry sends from one place to the next without end")
	}
	for _, hop := range append(via[1:len(via):len(via)], req) {
		if !sameOrigin(hop.URL, via[0].URL) {
			req.Header.Del("Authorization")
			req.Header.Del("Referer")        // the path of an upload is a secret
			req.Header.Set("User-Agent", "") // not even that of net/http
		}
	}
	return nil
}

// sameOrigin tells whether two URLs are of one scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
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

// authError makes what the library returns where no token can be had an *Error, so that
// it is told apart and repeated as any other answer.
func authError(err error) *Error {
	var answer *errcode.ErrorResponse
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return &Error{Status: http.StatusUnauthorized, Errors: oci.Errors{
			oci.NewError(oci.Unauthorized, "the registry asks for a user name and a password"),
		}}
	case errors.As(err, &answer):
		e := &Error{Method: answer.Method, Path: "the token service", Status: answer.StatusCode, tokens: true}
		if answer.URL != nil {
			e.Path = answer.URL.Host + answer.URL.Path
		}
		for _, one := range answer.Errors {
			e.Errors = append(e.Errors, &oci.Error{Code: oci.Code(one.Code), Message: one.Message, Detail: one.Detail})
		}
		if len(e.Errors) == 0 {
			e.Errors = statusErrors(answer.StatusCode, "")
		}
		return e
	}
	return nil
}
