// Package proof verifies proofs of identity: ID tokens of OIDC issuers, and presigned requests to
// AWS STS. It sends requests only to issuers that a login rule names.
//
// It must not know HTTP requests to the registry, which rule matches an identity, or how tokens
// are stored.
package proof

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	// skew is how far the clocks of issuers and of this machine may differ.
	skew = time.Minute
	// timeout bounds all requests to an issuer for one login.
	timeout = 5 * time.Second
	// maxAnswer bounds an answer of an issuer, in bytes.
	maxAnswer = 256 << 10
	// maxProof bounds a proof, in bytes. ID tokens and security tokens have up to a few KiB.
	maxProof = 16 << 10
)

// Options of a Verifier.
type Options struct {
	// Settings returns the settings, whose rules name the issuers: access.Directory has it.
	Settings func(context.Context) (access.Settings, error)
	// PrivateIssuers allows issuers whose hosts have loopback or private addresses, but not
	// link-local ones.
	PrivateIssuers bool
	// Transport sends the requests. nil means one that connects only to the addresses above.
	Transport http.RoundTripper
	// Now is time.Now if it is nil.
	Now func() time.Time
}

// Verifier verifies proofs. It keeps the keys of issuers. It is safe for concurrent use.
type Verifier struct {
	opts Options
	oidc *http.Client
	sts  *http.Client

	mu      sync.Mutex
	issuers map[string]*issuer
}

// New returns a Verifier.
func New(opts Options) *Verifier {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Transport == nil {
		opts.Transport = newTransport(opts.PrivateIssuers)
	}
	t := bounded{opts.Transport}
	return &Verifier{
		opts: opts, issuers: map[string]*issuer{},
		oidc: &http.Client{Transport: t, CheckRedirect: fewRedirects},
		sts:  &http.Client{Transport: t, CheckRedirect: noRedirect},
	}
}

// Prove returns the identity that a proof shows. host is that of the registry: a proof must be made
// for it, with the port unless that is 443. The error is ACCESS_INVALID for a proof that cannot be
// read, DENIED for one that is refused, and UNAVAILABLE if its issuer fails.
func (v *Verifier) Prove(ctx context.Context, host string, p access.Proof) (access.Identity, error) {
	switch {
	case host == "":
		return access.Identity{}, invalid(nil, "the request names no host")
	case (p.OIDC == "") == (p.STS == ""):
		return access.Identity{}, invalid(nil, "the body needs one proof: oidc or sts")
	case len(p.OIDC) > maxProof, len(p.STS) > maxProof:
		return access.Identity{}, invalid(nil, "the proof is longer than %d bytes", maxProof)
	}
	host = strings.TrimSuffix(host, ":443")
	if p.OIDC != "" {
		return v.proveOIDC(ctx, host, p.OIDC)
	}
	return v.proveSTS(ctx, host, p.STS)
}

// checkIssuer refuses an issuer that no rule names.
func (v *Verifier) checkIssuer(ctx context.Context, issuer string) error {
	settings, err := v.opts.Settings(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(settings.Issuers(), issuer) {
		return refused(nil, "no login rule names the issuer %q: an administrator adds one with 'pierless access rules'", issuer)
	}
	return nil
}

func invalid(cause error, format string, args ...any) error {
	return caused(oci.NewError(oci.AccessInvalid, format, args...), cause)
}

func refused(cause error, format string, args ...any) error {
	return caused(oci.NewError(oci.Denied, format, args...), cause)
}

func unavailable(cause error, format string, args ...any) error {
	return caused(oci.NewError(oci.Unavailable, format, args...), cause)
}

// maxCause bounds a cause in the log, in bytes: an answer may be part of it.
const maxCause = 300

// caused adds a cause for the log. The URL of a failed request may be a proof, so it is left out.
func caused(shown *oci.Error, cause error) error {
	if cause == nil {
		return shown
	}
	if sent, is := errors.AsType[*url.Error](cause); is {
		cause = sent.Err
	}
	text := strings.ToValidUTF8(cause.Error(), "?")
	return fmt.Errorf("%w (cause: %.*s)", shown, maxCause, text)
}

// hash identifies a proof by the part of it that cannot be varied.
func hash(part string) string {
	sum := sha256.Sum256([]byte(part))
	return hex.EncodeToString(sum[:])
}
