package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// Proof proves an identity: one of its fields is set.
type Proof struct {
	// OIDC is an ID token of an OIDC issuer, for the audience https://HOST.
	OIDC string `json:"oidc,omitempty"`
	// STS is the URL of a presigned GET of sts:GetCallerIdentity, with the signed header
	// X-Pierless-Host: HOST.
	STS string `json:"sts,omitempty"`
}

// Login issues a token for a proven identity: with the grants of every rule that matches it, and
// for the shortest of their lives. The error is DENIED if no rule does, or if the proof is good for
// one token and has been used.
func (a *Admin) Login(ctx context.Context, id Identity, ip string) (Issued, error) {
	settings, err := a.Settings(ctx) // a deleted rule must not issue tokens from a cache
	if err != nil {
		return Issued{}, err
	}
	now := a.dir.opts.Now().UTC().Truncate(time.Second)
	t := Token{Created: now}
	life := MaxLogin
	for _, rule := range settings.Logins {
		if !rule.matches(id) {
			continue
		}
		if t.Name == "" {
			t.Name, t.Rule = rule.tokenNameFor(id), rule.Name
		}
		t.Grants = append(t.Grants, rule.Grants...)
		life = min(life, rule.life())
	}
	if t.Name == "" {
		return Issued{}, oci.NewError(oci.Denied, "no login rule matches %s of %s: an administrator adds one with 'pierless access rules'", id.Subject, id.Issuer)
	}
	t.By, t.Expires = t.Name, now.Add(life)
	var writes []registry.Write
	if !id.Once.IsZero() {
		writes = append(writes, registry.Write{
			Key: proofKey(id.Proof), Op: registry.Put, If: registry.Absent(),
			Attrs: registry.Attrs{attrTTL: id.Once.Unix()},
		})
	}
	issued, err := a.issue(ctx, Actor{Caller{Name: t.Name}, ip}, t, Entry{Action: "login", Proof: id.Proof}, writes...)
	if isConflict(err) {
		err = fmt.Errorf("%w (cause: %w)", oci.NewError(oci.Denied, "the proof has been used for a login: make a new one").WithStatus(statusConflict), err)
	}
	return issued, err
}

// Issuers lists the issuers that a login rule names.
func (s Settings) Issuers() []string {
	var all []string
	for _, rule := range s.Logins {
		if !slices.Contains(all, rule.Issuer) {
			all = append(all, rule.Issuer)
		}
	}
	return all
}
