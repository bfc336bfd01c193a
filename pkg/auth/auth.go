// Package auth decides which requests need credentials and whether those that came
// are right: one administrator, whose token is known here only by its SHA-256.
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
	"github.com/pierless/pierless/pkg/route"
)

const (
	// challenge is Basic: every client speaks it, and it takes a round trip less
	// than a token service.
	challenge = `Basic realm="pierless"`
	// challengeHeader carries the challenge past gateways that rename
	// WWW-Authenticate: they are told to map it back.
	challengeHeader = "X-Registry-Challenge"
)

// Options of New.
type Options struct {
	// TokenSHA256 is the SHA-256 of the administrator's token: 64 lower-case hex digits.
	TokenSHA256 string
	// AnonymousPull lets everyone read what is known by name: manifests, blobs, tags,
	// referrers. The catalog stays closed.
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
	if err := g.check(r); err != nil {
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set(challengeHeader, challenge)
		g.opts.Refuse(w, r, err)
		return
	}
	g.next.ServeHTTP(w, r)
}

// check lets wrong credentials through nowhere, so that a mistyped password shows
// at login even where none was needed. Only an upload's id counts more.
func (g guard) check(r *http.Request) error {
	req, err := route.ParseEscaped(r.URL.EscapedPath())
	if err == nil && isCapability(req.Kind) {
		return nil // the id is the right to write: a refusal after the body breaks pushes
	}
	if len(r.Header.Values("Authorization")) == 0 {
		if err == nil && g.opts.AnonymousPull && isPull(r.Method, req.Kind) {
			return nil
		}
		return oci.NewError(oci.Unauthorized, "log in first: docker login, any user name, the administrator's token as password")
	}
	if !g.valid(r) {
		return oci.NewError(oci.Unauthorized, "the password is not the administrator's token")
	}
	return nil
}

func (g guard) valid(r *http.Request) bool {
	_, password, ok := r.BasicAuth()
	got := sha256.Sum256([]byte(password))
	same := subtle.ConstantTimeCompare(got[:], g.want[:]) == 1
	// Two headers: which one counts is a matter of opinion, so neither does.
	return same && ok && len(r.Header.Values("Authorization")) == 1
}

// isCapability reports whether the path itself, with the id in it, is the right to what
// can be done there.
func isCapability(kind route.Kind) bool {
	switch kind {
	case route.Upload, route.Direct, route.DirectParts, route.Verification:
		return true
	case route.Base, route.Catalog, route.Blob, route.UploadStart, route.Manifest, route.TagList, route.Referrers, route.DirectStart:
	}
	return false
}

// isPull reports whether a request only reads what its sender can name.
func isPull(method string, kind route.Kind) bool {
	if method != http.MethodGet && method != http.MethodHead {
		return false
	}
	switch kind {
	case route.Base, route.Blob, route.Manifest, route.TagList, route.Referrers:
		return true
	case route.Catalog, route.UploadStart, route.Upload, route.DirectStart, route.Direct, route.DirectParts, route.Verification:
	}
	return false
}
