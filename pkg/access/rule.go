package access

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxLogin is the longest life of a token that a login issues.
const MaxLogin = 12 * time.Hour

// defaultLogin is its life if the rule names none.
const defaultLogin = time.Hour

// IssuerSTS is the issuer of identities that are proven by a presigned sts:GetCallerIdentity. Its
// claims are account (twelve digits) and arn; role and session for the session of a role; user for
// a user.
const IssuerSTS = "sts.amazonaws.com"

// Rule gives a token to the identities of an issuer that have all of the claims.
type Rule struct {
	Name string `json:"name"`
	// Issuer is the URL of an OIDC issuer as in its tokens, or IssuerSTS.
	Issuer string `json:"issuer"`
	// Claims are required values by the claim's name. "*" stands for any characters.
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

	// Proof is a hash that identifies the proof, for the log.
	Proof string
	// Once, if set, is the time until which the proof could be used again. It is good for one
	// token only.
	Once time.Time
}

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
	if err := r.checkClaims(); err != nil {
		return err
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

// checked are the claims that the registry checks itself: they tell no identity apart.
var checked = []string{"iss", "aud", "exp", "nbf", "iat", "jti"}

// checkClaims refuses a rule that would admit the identities of strangers.
func (r Rule) checkClaims() error {
	narrow := false
	for name, value := range r.Claims {
		switch {
		case slices.Contains(checked, name):
			return errInvalid("rule %s: the claim %s is the same for all or new for each token: name one that identifies the owner", r.Name, name)
		case name == "" || value == "":
			return errInvalid("rule %s has a claim without a name or a value", r.Name)
		}
		narrow = narrow || strings.Trim(value, "*") != ""
	}
	if !narrow {
		return errInvalid("rule %s needs a claim with a value: without one it admits every identity of %s", r.Name, r.Issuer)
	}
	if r.Issuer == IssuerSTS {
		return r.checkSTS()
	}
	if subjects(r.Issuer) && strings.Trim(r.Claims["sub"], "*") == "" {
		return errInvalid("rule %s needs the claim sub: without it, it admits every workload of %s", r.Name, r.Issuer)
	}
	named := owners(r.Issuer)
	for name, form := range named {
		if form.MatchString(r.Claims[name]) {
			return nil
		}
	}
	if named != nil {
		return errInvalid("rule %s: %s is shared by all its customers, so a rule needs a claim that names the owner before any wildcard, such as %s",
			r.Name, r.Issuer, strings.Join(slices.Sorted(maps.Keys(named)), ", "))
	}
	return nil
}

// accountID is the grammar of the id of an AWS account.
var accountID = regexp.MustCompile(`^[0-9]{12}$`)

func (r Rule) checkSTS() error {
	if !accountID.MatchString(r.Claims["account"]) {
		return errInvalid("rule %s needs the claim account, with the twelve digits of an AWS account and no wildcard", r.Name)
	}
	for name := range r.Claims {
		if !slices.Contains([]string{"account", "arn", "role", "session", "user"}, name) {
			return errInvalid("rule %s: %s has no claim %s, only account, arn, role, session and user", r.Name, IssuerSTS, name)
		}
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
