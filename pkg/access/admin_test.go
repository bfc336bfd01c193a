package access_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	req := access.NewTokenRequest{Name: "ci", Grants: grants("team/**", route.Pull, route.Push), Life: "720h", Note: "of the build"}
	made, err := w.admin.Create(t.Context(), root(), req)
	if err != nil {
		t.Fatal(err)
	}
	if !access.WellFormed(made.Secret) || access.Sum(made.Secret)[:12] != made.Token.ID {
		t.Errorf("the secret %s has the id %s", made.Secret, made.Token.ID)
	}
	tokens, err := w.admin.Tokens(t.Context(), root())
	if err != nil || len(tokens) != 1 {
		t.Fatalf("%+v, %v", tokens, err)
	}
	got := tokens[0]
	if got.Name != "ci" || got.ID != made.Token.ID || got.Note != req.Note || got.By != "admin" || got.Rule != "" || !got.Created.Equal(w.now) ||
		!got.Expires.Equal(w.now.Add(720*time.Hour)) || !got.Grants.Allow("team/x/y", route.Push) {
		t.Errorf("%+v", got)
	}
	if e := w.entries(); len(e) != 1 || e[0].Action != "token created" || e[0].By != "admin" || e[0].IP != "192.0.2.1" || e[0].Token != "ci" ||
		e[0].ID != got.ID || !e[0].Time.Equal(w.now) || e[0].After == nil {
		t.Errorf("the log: %+v", e)
	}
	noSecrets(t, w, made.Secret)
}

// noSecrets fails if a list or the log has a secret or its sum.
func noSecrets(t *testing.T, w *world, secret string) {
	t.Helper()
	tokens, err := w.admin.Tokens(t.Context(), root())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{tokens, w.entries()})
	if err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), access.Sum(secret)) {
		t.Errorf("%v: the secret or its sum is in %s", err, text)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	w.create("taken", "")
	good := grants("a", route.Pull)
	for name, req := range map[string]access.NewTokenRequest{
		"no name":         {Grants: good},
		"upper case":      {Name: "CI", Grants: good},
		"colon":           {Name: "rule:subject", Grants: good},
		"space":           {Name: "a b", Grants: good},
		"dash at the end": {Name: "a-", Grants: good},
		"too long":        {Name: strings.Repeat("a", 65), Grants: good},
		"admin":           {Name: "admin", Grants: good},
		"anonymous":       {Name: "anonymous", Grants: good},
		"an id":           {Name: "0123456789ab", Grants: good},
		"taken":           {Name: "taken", Grants: good},
		"no grants":       {Name: "x"},
		"no action":       {Name: "x", Grants: grants("a")},
		"bad pattern":     {Name: "x", Grants: grants("A", route.Pull)},
		"long note":       {Name: "x", Grants: good, Note: strings.Repeat("n", 257)},
		"life 0":          {Name: "x", Grants: good, Life: "0s"},
		"negative life":   {Name: "x", Grants: good, Life: "-1h"},
		"no duration":     {Name: "x", Grants: good, Life: "30d"},
		"101 years":       {Name: "x", Grants: good, Life: "884760h"},
	} {
		_, err := w.admin.Create(t.Context(), root(), req)
		wantCode(t, name, err, oci.AccessInvalid, 400)
	}
	if e := w.entries(); len(e) != 1 {
		t.Errorf("%d entries in the log, want that of the first token", len(e))
	}
}

// TestNameOfExpired: the name of an expired token may be used again.
func TestNameOfExpired(t *testing.T) {
	w := newWorld(t)
	w.create("ci", "1h")
	w.now = w.now.Add(time.Hour)
	made := w.create("ci", "")
	if _, found := w.finds(made.Secret, 1); !found {
		t.Error("not found")
	}
	if revoked, err := w.admin.Revoke(t.Context(), root(), "ci"); err != nil || len(revoked) != 2 {
		t.Errorf("revoked %v, %v; want both", revoked, err)
	}
}

// TestDelegate: an administrator of some repositories cannot go beyond them.
func TestDelegate(t *testing.T) {
	w := newWorld(t)
	team := delegate("team-admin", "team/**")
	create := func(by access.Actor, name string, g access.Grants) error {
		_, err := w.admin.Create(t.Context(), by, access.NewTokenRequest{Name: name, Grants: g})
		return err
	}
	for name, g := range map[string]access.Grants{
		"all": grants("**", route.Pull), "wider": grants("team**", route.Pull), "other": grants("other", route.Pull), "itself": grants("team", route.Pull),
		"second": append(grants("team/a", route.Pull), grants("other", route.Pull)...),
		"mixed":  {{Repositories: []string{"team/a", "**"}, Actions: []route.Action{route.Pull}}},
	} {
		wantCode(t, name, create(team, name, g), oci.Denied, 403)
	}
	pushOnly := access.Actor{Caller: access.Caller{Name: "ci", Grants: grants("**", route.Pull, route.Push, route.Delete)}}
	wantCode(t, "without admin", create(pushOnly, "x", grants("team/a", route.Pull)), oci.Denied, 403)
	for name, err := range map[string]error{
		"mine": create(team, "mine", grants("team/app", access.Actions()...)), "sub": create(team, "sub", grants("team/**", route.Admin)),
		"theirs":   create(root(), "theirs", grants("other/**", route.Pull)),
		"straddle": create(root(), "straddle", append(grants("team/a", route.Pull), grants("other/a", route.Pull)...)),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	names := func(by access.Actor) string {
		tokens, err := w.admin.Tokens(t.Context(), by)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, token := range tokens {
			all = append(all, token.Name)
		}
		return strings.Join(all, " ")
	}
	if got := names(team); got != "mine sub" {
		t.Errorf("it sees %s", got)
	}
	if got := names(root()); got != "mine straddle sub theirs" {
		t.Errorf("the administrator sees %s", got)
	}
	for _, name := range []string{"theirs", "straddle", "none", ""} {
		_, err := w.admin.Revoke(t.Context(), team, name)
		wantCode(t, "revoke "+name, err, oci.NameUnknown, 404)
		_, err = w.admin.Rotate(t.Context(), team, access.RotateRequest{Name: name})
		wantCode(t, "rotate "+name, err, oci.NameUnknown, 404)
		_, err = w.admin.Explain(t.Context(), team, name, "team/app", route.Pull)
		wantCode(t, "explain "+name, err, oci.NameUnknown, 404)
	}
	if _, err := w.admin.Revoke(t.Context(), team, "mine"); err != nil {
		t.Error(err)
	}
	if got := names(root()); got != "straddle sub theirs" {
		t.Errorf("after the revocation the administrator sees %s", got)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	one, two := w.create("one", ""), w.create("two", "")
	w.now = w.now.Add(time.Second)
	if _, err := w.admin.Revoke(t.Context(), root(), two.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, found := w.finds(two.Secret, 1); found {
		t.Error("a token revoked by its id is valid")
	}
	if _, found := w.finds(one.Secret, 1); !found {
		t.Error("another token is not valid any more")
	}
	_, err := w.admin.Revoke(t.Context(), root(), "two")
	wantCode(t, "again", err, oci.NameUnknown, 404)
	if e := w.entries(); len(e) != 3 || e[2].Action != "token revoked" || e[2].Token != "two" || e[2].ID != two.Token.ID || e[2].Before == nil {
		t.Errorf("the log: %+v", e)
	}
}

// TestRevokeMany: a login rule issues many tokens of one name.
func TestRevokeMany(t *testing.T) {
	w := newWorld(t)
	w.set(access.Settings{Logins: []access.Rule{{
		Name: "ci", Issuer: "https://issuer.example", Claims: map[string]string{"sub": "x"}, Grants: grants("a", route.Push),
	}}})
	id := access.Identity{Issuer: "https://issuer.example", Subject: "x", Claims: map[string]string{"sub": "x"}}
	for range 45 {
		if _, err := w.admin.Login(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if revoked, err := w.admin.Revoke(t.Context(), root(), "ci:x"); err != nil || len(revoked) != 45 {
		t.Errorf("revoked %d, %v", len(revoked), err)
	}
	if tokens, err := w.admin.Tokens(t.Context(), root()); err != nil || len(tokens) != 0 {
		t.Errorf("%d tokens are left, %v", len(tokens), err)
	}
}

func TestRotate(t *testing.T) {
	w := newWorld(t)
	w.create("other", "")
	first := w.create("ci", "720h")
	ends := w.now.Add(720 * time.Hour)
	w.now = w.now.Add(time.Hour)
	second, err := w.admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	if second.Secret == first.Secret || second.Token.Name != "ci" || !second.Token.Expires.Equal(ends) || !second.Token.Grants.Allow("team/app", route.Pull) ||
		!second.Token.Created.Equal(w.now) || second.Token.ID == first.Token.ID {
		t.Errorf("%+v", second.Token)
	}
	both := func(old bool) {
		t.Helper()
		if _, found := w.finds(first.Secret, 1); found != old {
			t.Errorf("the old secret is valid: %v", found)
		}
		if _, found := w.finds(second.Secret, 1); !found {
			t.Error("the new secret is not valid")
		}
	}
	both(true)
	w.now = w.now.Add(24*time.Hour - time.Second)
	both(true)
	w.now = w.now.Add(time.Second + access.Fresh)
	both(false)
	noSecrets(t, w, second.Secret)
	if e := w.entries(); e[len(e)-1].Action != "token rotated" || e[len(e)-1].ID != second.Token.ID || e[len(e)-1].Before == nil {
		t.Errorf("the log: %+v", e)
	}
}

// TestRotateAtOnce: rotation within the second of the creation finds the newest token, and one
// that never expires stays so.
func TestRotateAtOnce(t *testing.T) {
	for range 8 { // rows sort by a random key
		w := newWorld(t)
		made := w.create("ci", "")
		secrets := []string{made.Secret}
		for range 3 {
			next, err := w.admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "ci", Overlap: "0s"})
			if err != nil {
				t.Fatal(err)
			}
			if !next.Token.Expires.IsZero() {
				t.Fatalf("the new token expires at %v", next.Token.Expires)
			}
			secrets = append(secrets, next.Secret)
		}
		for i, secret := range secrets {
			if _, found := w.finds(secret, 1); found != (i == 3) {
				t.Errorf("secret %d of 4 is valid: %v", i+1, found)
			}
		}
	}
}

func TestRotateRefuses(t *testing.T) {
	w := newWorld(t)
	w.create("ci", "1h")
	for _, overlap := range []string{"x", "-1h", "884760h"} {
		_, err := w.admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "ci", Overlap: overlap})
		wantCode(t, overlap, err, oci.AccessInvalid, 400)
	}
	// An overlap beyond the end does not prolong the old token.
	if _, err := w.admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "ci", Overlap: "100h"}); err != nil {
		t.Fatal(err)
	}
	tokens, err := w.admin.Tokens(t.Context(), root())
	if err != nil || len(tokens) != 2 || !tokens[0].Expires.Equal(w.now.Add(time.Hour)) || !tokens[1].Expires.Equal(tokens[0].Expires) {
		t.Errorf("%+v, %v", tokens, err)
	}
	w.now = w.now.Add(time.Hour)
	_, err = w.admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "ci"})
	wantCode(t, "expired", err, oci.AccessInvalid, 400)
}
