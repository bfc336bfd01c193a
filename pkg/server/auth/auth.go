// Package auth authenticates callers and authorizes requests. It knows the administrator's
// token only by its SHA-256, and asks a Directory for every other caller. It passes the
// caller on in the context of the request.
//
// It must not know the effect of a request on the registry, the action that an endpoint
// needs, where tokens are stored, or the form of an error.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Directory finds the callers other than the administrator. It is implemented by
// access.Directory.
type Directory interface {
	// Find returns the caller with a token; found is false if the token is not valid.
	Find(ctx context.Context, token string) (c access.Caller, found bool, err error)
	// Anonymous returns the caller without credentials. It has no grants if every request
	// needs a token.
	Anonymous(ctx context.Context) (access.Caller, error)
}

// Guard authorizes requests. It is safe for concurrent use.
type Guard struct {
	want      [sha256.Size]byte
	directory Directory
}

// New returns a Guard. sum is the SHA-256 of the administrator's token, 64 lower-case hex
// digits; New fails if it is malformed.
func New(sum string, directory Directory) (*Guard, error) {
	g := &Guard{directory: directory}
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(g.want) || hex.EncodeToString(b) != sum {
		// The error does not show the value: it may be the token itself, set in the wrong place.
		return nil, errors.New("the SHA-256 of the administrator's token must be 64 lower-case hex digits: 'pierless token' makes both")
	}
	copy(g.want[:], b)
	return g, nil
}

// Authorize returns the request's context with the caller in it, as far as it is known.
// The error is an *oci.Error if the request is refused; if the caller must log in, the
// headers of the answer have a challenge. Authorize is a server.Authorize.
func (g *Guard) Authorize(
	w http.ResponseWriter, r *http.Request, req route.Request, need route.Method,
) (context.Context, error) {
	if need.Action == route.ByID || need.Action == route.Proof {
		return with(r.Context(), caller{Caller: access.Caller{Name: string(need.Action)}}), nil
	}
	cred, err := readCredential(w, r, req.Kind)
	if err != nil {
		return g.refuse(w, r, req.Kind, err)
	}
	c, err := g.identify(r.Context(), cred)
	if err != nil {
		return g.refuse(w, r, req.Kind, err)
	}
	ctx := with(r.Context(), c)
	switch {
	case c.allowed(req.Name, need, cred.anonymous):
		return ctx, nil
	case c.Anonymous:
		return g.refuse(w, r.WithContext(ctx), req.Kind, oci.NewError(oci.Unauthorized,
			"log in first: docker login, any user name, a token as password"))
	}
	return ctx, c.refusal(req.Name, need.Action)
}

// refuse adds a challenge if the caller must log in.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, kind route.Kind, err error) (context.Context, error) {
	if errors.Is(err, &oci.Error{Code: oci.Unauthorized}) {
		challenge := g.challenge(r, kind)
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set(challengeHeader, challenge)
	}
	return r.Context(), err
}

// identify returns the caller. It refuses wrong credentials even if none are needed, so
// that a mistyped password shows at login.
func (g *Guard) identify(ctx context.Context, cred credential) (caller, error) {
	if cred.secret == "" {
		who, err := g.directory.Anonymous(ctx)
		return caller{Caller: who, token: anonymousToken}, err
	}
	c := caller{Caller: access.Administrator(), token: cred.secret}
	if g.matches(cred.secret) {
		return c, nil
	}
	var found bool
	var err error
	c.Caller, found, err = g.directory.Find(ctx, cred.secret)
	if err == nil && !found {
		err = oci.NewError(oci.Unauthorized, "the password is not a valid token: it is unknown, expired or revoked")
	}
	return c, err
}

func (g *Guard) matches(secret string) bool {
	got := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], g.want[:]) == 1
}
