// Package auth authenticates callers and authorizes requests. There is one administrator,
// whose token it knows only by its SHA-256. It passes the caller on in the context of the
// request.
//
// It must not know the effect of a request on the registry, the action that an endpoint
// needs, the source of the hash, or the form of an error.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Options of New.
type Options struct {
	// TokenSHA256 is the SHA-256 of the administrator's token: 64 lower-case hex digits.
	TokenSHA256 string
	// AnonymousPull lets callers without credentials read content that they can name:
	// manifests, blobs, tags, referrers. The catalog stays closed. The challenge is then
	// Bearer, which clients without credentials can meet: see docs/functions.md.
	AnonymousPull bool
}

// Guard authorizes requests. It is safe for concurrent use.
type Guard struct {
	opts Options
	want [sha256.Size]byte
}

// New returns a Guard. It fails if TokenSHA256 is malformed.
func New(opts Options) (*Guard, error) {
	g := &Guard{opts: opts}
	sum, err := hex.DecodeString(opts.TokenSHA256)
	if err != nil || len(sum) != len(g.want) || hex.EncodeToString(sum) != opts.TokenSHA256 {
		// The error does not show the value: it may be the token itself, set in the wrong place.
		return nil, errors.New("the SHA-256 of the administrator's token must be 64 lower-case hex digits: 'pierless token' makes both")
	}
	copy(g.want[:], sum)
	return g, nil
}

// Authorize returns the request's context with the caller in it, or an *oci.Error and a
// challenge in the headers of the answer. It is a server.Authorize.
func (g *Guard) Authorize(
	w http.ResponseWriter, r *http.Request, req route.Request, need route.Method,
) (context.Context, error) {
	if need.Action == route.ByID {
		return r.Context(), nil
	}
	c, err := g.identify(w, r, req.Kind, need)
	if err != nil {
		challenge := g.challenge(r, req.Kind)
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set(challengeHeader, challenge)
		return nil, err
	}
	return context.WithValue(r.Context(), callerKey{}, c), nil
}

// identify returns the caller. It refuses wrong credentials even if none are needed, so
// that a mistyped password shows at login.
func (g *Guard) identify(w http.ResponseWriter, r *http.Request, kind route.Kind, need route.Method) (caller, error) {
	cred, err := readCredential(w, r, kind)
	switch {
	case err != nil:
		return caller{}, err
	case cred.secret != "":
		if !g.matches(cred.secret) {
			return caller{}, oci.NewError(oci.Unauthorized, "the password is not the administrator's token")
		}
		return caller{token: cred.secret}, nil
	case g.opts.AnonymousPull && mayAnonymously(need, cred.anonymous):
		return caller{token: anonymousToken, anonymous: true}, nil
	}
	return caller{}, oci.NewError(oci.Unauthorized,
		"log in first: docker login, any user name, the administrator's token as password")
}

func (g *Guard) matches(secret string) bool {
	got := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], g.want[:]) == 1
}

// mayAnonymously reports whether anonymous pull allows a request. challenged says that the
// client has sent the anonymous token: it met the challenge and has no credentials.
func mayAnonymously(need route.Method, challenged bool) bool {
	return (need.Action == route.Pull || need.Action == route.Caller) && (challenged || !need.Challenge)
}
