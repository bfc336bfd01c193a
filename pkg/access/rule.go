package access

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// MaxLogin is the longest life of a token that a login issues.
const MaxLogin = 12 * time.Hour

// defaultLogin is its life if the rule names none.
const defaultLogin = time.Hour

// IssuerSTS is the issuer of identities that are proven by a presigned sts:GetCallerIdentity. Its
// claims are account (twelve digits), arn and, for a role, role.
const IssuerSTS = "sts.amazonaws.com"

// Rule gives a token to the identities of an issuer that have all of the claims.
type Rule struct {
	Name string `json:"name"`
	// Issuer is the URL of an OIDC issuer as in its tokens, or IssuerSTS.
	Issuer string `json:"issuer"`
	// Claims are required values by the claim's name. "*" stands for any characters, except in
	// the claims that name the owner at a shared issuer.
	Claims map[string]string `json:"claims"`
	Grants Grants            `json:"grants"`
	// Life is that of the tokens, such as "1h": from a minute to MaxLogin; empty means one hour.
	Life string `json:"life,omitempty"`
}

// Identity is what a proof has shown: an issuer and its claims. Claims that are not a string, a
// number or a bool are left out.
type Identity struct {
	Issuer  string
	Subject string
	Claims  map[string]string
}

// owners lists, for issuers that serve customers who do not trust each other, the claims of which
// a rule must have one, and the text that must end its literal beginning: an owner is named only
// if the wildcard comes after it.
var owners = map[string]map[string]string{}

// life returns how long a token of the rule lives.
func (r Rule) life() time.Duration {
	life, err := time.ParseDuration(r.Life)
	if err != nil {
		return defaultLogin
	}
	return life
}

// matches reports whether the rule is for the identity.
func (r Rule) matches(id Identity) bool {
	if r.Issuer != id.Issuer {
		return false
	}
	for name, want := range r.Claims {
		have, found := id.Claims[name]
		if !found || !matchText(want, have) {
			return false
		}
	}
	return true
}

// matchText matches a text with a pattern in which "*" stands for any characters.
func matchText(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	text, found := strings.CutPrefix(text, parts[0])
	if !found {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return strings.HasSuffix(text, last)
}

func (r Rule) check() error {
	if err := checkTokenName(r.Name); err != nil {
		return err
	}
	if err := r.checkIssuer(); err != nil {
		return err
	}
	life, err := time.ParseDuration(r.Life)
	if r.Life != "" && (err != nil || life < time.Minute || life > MaxLogin) {
		return errInvalid("rule %s: life must be from 1m to 12h, such as 30m", r.Name)
	}
	if len(r.Claims) == 0 {
		return errInvalid("rule %s needs a claim: without one it admits every identity of %s", r.Name, r.Issuer)
	}
	if len(r.Grants) == 0 {
		return errInvalid("rule %s needs a grant", r.Name)
	}
	return r.Grants.Check()
}

func (r Rule) checkIssuer() error {
	if r.Issuer == IssuerSTS {
		return nil
	}
	u, err := url.Parse(r.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errInvalid("rule %s: the issuer must be an https:// URL without query, as in the claim iss, or %s", r.Name, IssuerSTS)
	}
	return nil
}

// tokenNameFor names a token by the rule and the proven identity.
func (r Rule) tokenNameFor(id Identity) string {
	printable := strings.Map(func(c rune) rune {
		if c < 0x21 || c > 0x7e {
			return '?'
		}
		return c
	}, id.Subject)
	return fmt.Sprintf("%s:%.200s", r.Name, printable)
}
