package client

import (
	"context"
	"errors"
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
func newAuth(plain *http.Client, opts Options) *auth.Client {
	return &auth.Client{
		Client:     plain,
		Header:     http.Header{"User-Agent": {opts.UserAgent}},
		Credential: rememberCredentials(opts.Credentials),
		Cache:      auth.NewCache(),
		ClientID:   "pierless",
	}
}

// rememberCredentials asks once per host: a helper may be slow, or ask a person.
func rememberCredentials(ask func(context.Context, string) (Credential, error)) auth.CredentialFunc {
	if ask == nil {
		return nil
	}
	var mu sync.Mutex
	known := map[string]Credential{}
	return func(ctx context.Context, host string) (Credential, error) {
		mu.Lock()
		defer mu.Unlock()
		if cred, ok := known[host]; ok {
			return cred, nil
		}
		cred, err := ask(ctx, host)
		if err == nil {
			known[host] = cred
		}
		return cred, err
	}
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
func authError(err error) error {
	var answer *errcode.ErrorResponse
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return &Error{Status: http.StatusUnauthorized, Errors: oci.Errors{
			oci.NewError(oci.Unauthorized, "the registry asks for a user name and a password, and none are known for it"),
		}}
	case errors.As(err, &answer):
		e := &Error{Method: answer.Method, Path: "the token service", Status: answer.StatusCode}
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
