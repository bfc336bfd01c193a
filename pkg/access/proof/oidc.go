package proof

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/pierless/pierless/pkg/access"
)

// maxLife is how far ahead the expiry of an ID token may be. GitLab's tokens live as long as their
// job may run.
const maxLife = access.MaxLogin

// proveOIDC verifies an ID token (OpenID Connect Core 1.0, section 3.1.3.7), whose audience must
// be the registry's URL and nothing else: a token that other services accept too could be used by
// one of them.
func (v *Verifier) proveOIDC(ctx context.Context, host, token string) (access.Identity, error) {
	iss, err := peek(token)
	if err != nil {
		return access.Identity{}, invalid(err, "oidc must be an ID token: a signed JWT with the claim iss")
	}
	if err := v.checkIssuer(ctx, iss); err != nil {
		return access.Identity{}, err
	}
	keys := &signature{issuer: v.issuer(iss)}
	verifier := oidc.NewVerifier(iss, keys, &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.ES384},
		SkipClientIDCheck:    true, SkipExpiryCheck: true, // checkClaims is stricter
	})
	verified, err := verifier.Verify(ctx, token)
	if keys.err != nil {
		return access.Identity{}, unavailable(keys.err,
			"the issuer %s does not answer with its keys: try again, or let an administrator check the login rule", iss)
	}
	if err != nil {
		return access.Identity{}, refused(err, "the ID token is not one of %s: its signature, key or algorithm is wrong", iss)
	}
	var payload json.RawMessage
	if err := verified.Claims(&payload); err != nil {
		return access.Identity{}, invalid(err, "the claims of the ID token are not a JSON object")
	}
	claims, err := decodeClaims(payload)
	if err != nil {
		return access.Identity{}, invalid(err, "the claims of the ID token are not a JSON object")
	}
	if err := checkClaims(claims, iss, "https://"+host, v.opts.Now()); err != nil {
		return access.Identity{}, err
	}
	id := access.Identity{Issuer: iss, Claims: texts(claims), Proof: hash(string(payload))}
	if id.Subject = id.Claims["sub"]; id.Subject == "" {
		return access.Identity{}, refused(nil, "the ID token has no subject: the claim sub")
	}
	return id, nil
}

// issuer returns the issuer of a URL. There are no more of them than rules.
func (v *Verifier) issuer(url string) *issuer {
	v.mu.Lock()
	defer v.mu.Unlock()
	i, found := v.issuers[url]
	if !found {
		i = &issuer{url: url, client: v.oidc, now: v.opts.Now}
		v.issuers[url] = i
	}
	return i
}

// peek returns the issuer that an ID token names. Nothing has been verified yet.
func peek(token string) (issuer string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errForm
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errForm
	}
	claims, err := decodeClaims(payload)
	if err != nil {
		return "", errForm
	}
	if issuer, _ = claims["iss"].(string); issuer == "" {
		return "", errForm
	}
	return issuer, nil
}

// decodeClaims decodes the claims, with numbers as they are written.
func decodeClaims(payload []byte) (claims map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	return claims, d.Decode(&claims)
}

// checkClaims checks issuer, audience and times.
func checkClaims(claims map[string]any, issuer, audience string, now time.Time) error {
	if claims["iss"] != issuer {
		return refused(nil, "the ID token names another issuer than %s", issuer)
	}
	if !isAudience(claims["aud"], audience) {
		return refused(nil, "the ID token is not for this registry: request one with the audience %s and no other", audience)
	}
	expiry, found := numericDate(claims, "exp")
	switch {
	case !found:
		return refused(nil, "the ID token has no valid expiry: the claim exp")
	case !now.Before(expiry.Add(skew)):
		return refused(nil, "the ID token expired at %s: request a new one", expiry.Format(time.RFC3339))
	case expiry.After(now.Add(maxLife + skew)):
		return refused(nil, "the ID token expires at %s: request one that lives for at most 12 hours", expiry.Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		from, found := numericDate(claims, name)
		if claims[name] != nil && (!found || from.After(now.Add(skew))) {
			return refused(nil, "the ID token is not valid yet: the claim %s is in the future", name)
		}
	}
	return nil
}

// isAudience reports whether the claim aud is an audience and no other, as text or as an array.
func isAudience(claim any, want string) bool {
	if list, is := claim.([]any); is && len(list) == 1 {
		claim = list[0]
	}
	return claim == want
}

// numericDate reads a time in seconds since 1970 (RFC 7519, section 2).
func numericDate(claims map[string]any, name string) (time.Time, bool) {
	number, _ := claims[name].(json.Number)
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// texts returns the claims that a rule can name: strings, numbers and bools, but not those that
// are checked here.
func texts(claims map[string]any) map[string]string {
	found := map[string]string{}
	for name, value := range claims {
		if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name) {
			continue
		}
		switch value := value.(type) {
		case string:
			found[name] = value
		case json.Number:
			found[name] = value.String()
		case bool:
			found[name] = map[bool]string{true: "true", false: "false"}[value]
		}
	}
	return found
}
