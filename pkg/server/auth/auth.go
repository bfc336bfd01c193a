// Package auth decides which requests need credentials and whether those that came
// are right: one administrator, whose token is known here only by its SHA-256. It
// passes the caller on in the request's context.
//
// It must not know what a request does to the registry, where the hash is kept, or
// how an error is written.
package auth

import (
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
	// AnonymousPull lets everyone read content that is known by name: manifests, blobs,
	// tags, referrers. The catalog stays closed. The challenge is then Bearer, which
	// clients without credentials can meet: see docs/functions.md.
	AnonymousPull bool
	// Refuse answers a request that is not let through; err is an *oci.Error. The
	// headers of the challenge are set before.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

type guard struct {
	opts Options
	want [sha256.Size]byte
	next http.Handler
}

// New returns a handler that hands on to next what may pass. It fails when
// TokenSHA256 is malformed.
func New(opts Options, next http.Handler) (http.Handler, error) {
	g := guard{opts: opts, next: next}
	sum, err := hex.DecodeString(opts.TokenSHA256)
	if err != nil || len(sum) != len(g.want) || hex.EncodeToString(sum) != opts.TokenSHA256 {
		// The value is not shown: it may be the token itself, set in the wrong place.
		return nil, errors.New("the SHA-256 of the administrator's token must be 64 lower-case hex digits: 'pierless token' makes both")
	}
	copy(g.want[:], sum)
	return g, nil
}

// ServeHTTP implements http.Handler.
func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, _ := route.ParseEscaped(r.URL.EscapedPath()) // no kind outside the grammar
	if isCapability(req.Kind) {
		g.next.ServeHTTP(w, r) // the id is the right to write: a refusal after the body breaks pushes
		return
	}
	c, err := g.identify(w, r, req.Kind)
	if err != nil {
		challenge := g.challenge(r, req.Kind)
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set(challengeHeader, challenge)
		g.opts.Refuse(w, r, err)
		return
	}
	g.next.ServeHTTP(w, r.WithContext(withCaller(r.Context(), c)))
}

// identify returns the caller. kind is empty for a path outside the grammar, which is
// closed. Wrong credentials are refused even if none are needed, so that a mistyped
// password shows at login.
func (g guard) identify(w http.ResponseWriter, r *http.Request, kind route.Kind) (caller, error) {
	cred, err := readCredential(w, r, kind)
	switch {
	case err != nil:
		return caller{}, err
	case cred.secret != "":
		if !g.matches(cred.secret) {
			return caller{}, oci.NewError(oci.Unauthorized, "the password is not the administrator's token")
		}
		return caller{token: cred.secret}, nil
	case g.opts.AnonymousPull && isOpen(r.Method, kind, cred.anonymous):
		return caller{token: anonymousToken, anonymous: true}, nil
	}
	return caller{}, oci.NewError(oci.Unauthorized,
		"log in first: docker login, any user name, the administrator's token as password")
}

func (g guard) matches(secret string) bool {
	got := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], g.want[:]) == 1
}

// isCapability reports whether the path itself, with the id in it, is the right to what
// can be done there.
func isCapability(kind route.Kind) bool {
	switch kind {
	case route.Upload, route.Direct, route.DirectParts, route.Verification:
		return true
	case route.Base, route.Catalog, route.Token, route.Blob, route.UploadStart, route.Manifest, route.TagList,
		route.Referrers, route.DirectStart:
	}
	return false
}

// isOpen reports whether anonymous pull lets a request in: it reads content that the
// client can name. hasToken says that the client sent the anonymous token, which shows
// that it met the challenge and has no credentials.
//
// Two requests need that token. Clients choose their scheme by the answer to GET /v2/:
// without a challenge there, docker and skopeo push without their password. And a
// client that pushes asks for blobs with HEAD first: the challenge makes it send its
// credentials, so that the registry keeps the blobs that it then skips.
func isOpen(method string, kind route.Kind, hasToken bool) bool {
	read := method == http.MethodGet || method == http.MethodHead
	switch kind {
	case route.Token:
		return true
	case route.Base:
		return read && hasToken
	case route.Blob:
		return method == http.MethodGet || method == http.MethodHead && hasToken
	case route.Manifest, route.TagList, route.Referrers:
		return read
	case route.Catalog, route.UploadStart, route.Upload, route.DirectStart, route.Direct, route.DirectParts, route.Verification:
	}
	return false
}
