package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// TestProofForOneToken: a proof that is good for one token gives no second one, and no token at
// all if another login with it has won. Other proofs may be used again, and the log tells.
func TestProofForOneToken(t *testing.T) {
	meta, _ := storetest.Open(t)
	now := time.Now()
	tick := func() time.Time { // the log sorts entries by milliseconds
		now = now.Add(time.Millisecond)
		return now
	}
	admin := access.NewAdmin(access.NewDirectory(meta, access.Options{Now: tick}))
	by := access.Actor{Caller: access.Administrator()}
	rules := access.Settings{Logins: []access.Rule{ruleFor(access.IssuerSTS, claims{"account": "123456789012", "role": "ci"})}}
	if err := admin.SetSettings(t.Context(), by, rules, "*"); err != nil {
		t.Fatal(err)
	}
	id := access.Identity{
		Issuer: access.IssuerSTS, Subject: "arn:aws:iam::123456789012:role/ci", Proof: "one",
		Claims: claims{"account": "123456789012", "role": "ci"},
	}
	logins := func() (proofs []string) {
		page, err := admin.Log(t.Context(), time.Time{}, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Action == "login" {
				proofs = append(proofs, e.Proof)
			}
		}
		return proofs
	}
	for range 2 {
		if _, err := admin.Login(t.Context(), id, "203.0.113.7"); err != nil {
			t.Fatal(err)
		}
	}
	id.Proof, id.Once = "two", time.Now().Add(time.Minute)
	if _, err := admin.Login(t.Context(), id, "203.0.113.7"); err != nil {
		t.Fatal(err)
	}
	issued, err := admin.Login(t.Context(), id, "203.0.113.8")
	if !errors.Is(err, &oci.Error{Code: oci.Denied}) || issued.Secret != "" {
		t.Errorf("the second use: %q, %v; want DENIED", issued.Secret, err)
	}
	if got := strings.Join(logins(), " "); got != "one one two" {
		t.Errorf("the log has the proofs %s", got)
	}
	page, err := meta.Query(t.Context(), registry.Query{PK: "A#T", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range page.Rows { // a registry may issue thousands a day
		if ttl, _ := row.Attrs["ttl"].(int64); ttl > time.Now().Add(2*time.Hour).Unix() {
			t.Errorf("the row of a login for an hour stays until %v", time.Unix(ttl, 0))
		}
	}
	tokens, err := admin.Tokens(t.Context(), by)
	if err != nil || len(tokens) != 3 {
		t.Errorf("%d tokens, %v; want 3", len(tokens), err)
	}
}

// TestRuleMatches: every claim must have its value, "*" stands for any characters.
func TestRuleMatches(t *testing.T) {
	meta, _ := storetest.Open(t)
	admin := access.NewAdmin(access.NewDirectory(meta, access.Options{}))
	for _, c := range []struct {
		rule, have claims
		want       bool
	}{
		{claims{"sub": "a"}, claims{"sub": "a", "x": "y"}, true},
		{claims{"sub": "a"}, claims{"sub": "ab"}, false},
		{claims{"sub": "a"}, claims{"sub": "A"}, false},
		{claims{"sub": "a", "x": "*"}, claims{"sub": "a"}, false},
		{claims{"sub": "a", "x": "*"}, claims{"sub": "a", "x": ""}, true},
		{claims{"sub": "a*"}, claims{"sub": "a"}, true},
		{claims{"sub": "a*b"}, claims{"sub": "a/:b"}, true},
		{claims{"sub": "a*b"}, claims{"sub": "ab:c"}, false},
		{claims{"sub": "a*a"}, claims{"sub": "a"}, false},
		{claims{"sub": "a*b*c"}, claims{"sub": "axbyc"}, true},
		{claims{"sub": "a*b*c"}, claims{"sub": "axc"}, false},
		{claims{"sub": "*.b"}, claims{"sub": "aXb"}, false},
	} {
		const issuer = "https://gitlab.acme.example"
		settings := access.Settings{Logins: []access.Rule{ruleFor(issuer, c.rule)}}
		if err := admin.SetSettings(t.Context(), access.Actor{Caller: access.Administrator()}, settings, "*"); err != nil {
			t.Fatal(err)
		}
		_, err := admin.Login(t.Context(), access.Identity{Issuer: issuer, Subject: "s", Claims: c.have}, "")
		if (err == nil) != c.want {
			t.Errorf("%v with %v: %v, want a token: %v", c.rule, c.have, err, c.want)
		}
		if _, err := admin.Login(t.Context(), access.Identity{Issuer: issuer + "/", Claims: c.have}, ""); err == nil {
			t.Errorf("%v: a token for another issuer", c.rule)
		}
	}
}
