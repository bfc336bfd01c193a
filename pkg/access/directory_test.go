package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

func TestFindReadsOnce(t *testing.T) {
	w := newWorld(t)
	one, two := w.create("one", ""), w.create("two", "")
	c, found := w.finds(one.Secret, 1) // the token, the day of its use and the settings
	if !found || c.Name != "one" || c.Anonymous || !c.May("team/app", route.Pull) || c.May("team/app", route.Push) || c.May("team/other", route.Pull) {
		t.Errorf("found %v: %+v", found, c)
	}
	if w.store.keys != 3 {
		t.Errorf("the first read has %d keys, want 3", w.store.keys)
	}
	w.finds(one.Secret, 0)
	w.finds(two.Secret, 1)
	if w.store.keys != 2 {
		t.Errorf("a read with fresh settings has %d keys, want 2", w.store.keys)
	}
	w.now = w.now.Add(access.Fresh - 1)
	w.finds(one.Secret, 0)
	w.now = w.now.Add(1)
	w.finds(one.Secret, 1)
	w.finds(two.Secret, 1)
	if _, err := w.dir.Anonymous(t.Context()); err != nil || w.store.keys != 2 {
		t.Errorf("the settings were read twice, or failed: %v", err)
	}
}

func TestUnknownTokens(t *testing.T) {
	w := newWorld(t)
	unknown, sum := access.NewToken()
	for range 2 {
		for _, malformed := range []string{"", "secret", sum, unknown[:52], unknown + "x", "admin", "anonymous"} {
			if _, found := w.finds(malformed, 0); found {
				t.Errorf("%q was found", malformed)
			}
		}
	}
	if _, found := w.finds(unknown, 1); found {
		t.Error("an unknown token was found")
	}
	w.finds(unknown, 0)
	w.now = w.now.Add(access.Fresh)
	w.finds(unknown, 1)
	if w.store.writes != 0 {
		t.Errorf("%d writes for unknown tokens", w.store.writes)
	}
}

// TestRevokedWithin30s: the age of a row counts from the start of the read.
func TestRevokedWithin30s(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "")
	w.store.during = func() { w.now = w.now.Add(5 * time.Second) } // a slow store: it has read the row already
	began := w.now
	if _, found := w.finds(made.Secret, 1); !found {
		t.Fatal("not found")
	}
	w.revoke("one")
	w.now = began.Add(30*time.Second - 1)
	if _, found := w.finds(made.Secret, 0); !found {
		t.Error("the cache does not last 30 seconds")
	}
	w.now = began.Add(30 * time.Second)
	if _, found := w.finds(made.Secret, 1); found {
		t.Error("a revoked token is valid after 30 seconds")
	}
}

// TestRulesWithin30s: the same for the settings.
func TestRulesWithin30s(t *testing.T) {
	w := newWorld(t)
	w.set(access.Settings{Anonymous: []string{"open/*"}})
	made := w.create("one", "")
	w.store.during = func() { w.now = w.now.Add(5 * time.Second) }
	open := func(want bool) {
		t.Helper()
		stranger, err := w.dir.Anonymous(t.Context())
		if err != nil || !stranger.Anonymous || stranger.Name != "anonymous" || stranger.May("open/a", route.Pull) != want ||
			stranger.May("open/a", route.Push) || stranger.May("other", route.Pull) {
			t.Errorf("%+v, %v; open: want %v", stranger, err, want)
		}
	}
	began := w.now
	open(true)
	if c, _ := w.finds(made.Secret, 1); !c.May("open/a", route.Pull) || c.May("open/a", route.Push) {
		t.Errorf("a token may not pull what all may: %+v", c)
	}
	w.set(access.Settings{})
	w.now = began.Add(30*time.Second - 1)
	open(true)
	w.now = began.Add(30 * time.Second)
	open(false)
	if c, _ := w.finds(made.Secret, 1); c.May("open/a", route.Pull) {
		t.Error("a token may pull what is closed")
	}
}

// TestOwnChangesAtOnce: the process that makes a change does not wait for it.
func TestOwnChangesAtOnce(t *testing.T) {
	w := newWorld(t)
	admin := access.NewAdmin(w.dir)
	made, err := admin.Create(t.Context(), root(), access.NewTokenRequest{Name: "one", Grants: grants("a", route.Pull)})
	if err != nil {
		t.Fatal(err)
	}
	w.finds(made.Secret, 1)
	if err := admin.SetSettings(t.Context(), root(), access.Settings{Anonymous: []string{"open"}}, "*"); err != nil {
		t.Fatal(err)
	}
	if c, _ := w.finds(made.Secret, 1); !c.May("open", route.Pull) {
		t.Error("the process does not know its own rules")
	}
	if _, err := admin.Revoke(t.Context(), root(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, found := w.finds(made.Secret, 1); found {
		t.Error("the process accepts a token that it has revoked")
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "1h")
	w.now = w.now.Add(time.Hour - time.Second)
	if _, found := w.finds(made.Secret, 1); !found {
		t.Error("expired early")
	}
	w.now = w.now.Add(time.Second) // the row is in the cache
	if _, found := w.finds(made.Secret, 0); found {
		t.Error("an expired token is valid while it is in the cache")
	}
	w.now, w.store.writes = w.now.Add(24*time.Hour), 0
	if _, found := w.finds(made.Secret, 1); found || w.store.writes != 0 {
		t.Errorf("an expired token is valid, or its use was recorded (%d writes)", w.store.writes)
	}
}

func TestAnonymousPullOption(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "")
	dir := access.NewDirectory(w.store, access.Options{AnonymousPull: true})
	before := w.store.reads
	c, err := dir.Anonymous(t.Context())
	if err != nil || !c.May("x/y", route.Pull) || c.May("x/y", route.Push) || !c.May("", route.Pull) || w.store.reads != before {
		t.Errorf("%+v, %v, %d reads", c, err, w.store.reads-before)
	}
	if c, found, err := dir.Find(t.Context(), made.Secret); err != nil || !found || !c.May("x/y", route.Pull) || c.May("x/y", route.Push) {
		t.Errorf("a token: %+v, %v, %v", c, found, err)
	}
}

func (w *world) used(name string) string {
	w.t.Helper()
	tokens, err := w.admin.Tokens(w.t.Context(), root())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, token := range tokens {
		if token.Name == name {
			return token.Used
		}
	}
	w.t.Fatalf("there is no token %s", name)
	return ""
}

// TestUsed: the day of a token's use is written once, by whichever process comes first.
func TestUsed(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "")
	if day := w.used("one"); day != "" {
		t.Errorf("used on %s before its first use", day)
	}
	for _, c := range []struct {
		day    time.Duration
		writes int
		used   string
	}{{0, 1, "2126-11-21"}, {11*time.Hour + 59*time.Minute, 1, "2126-11-21"}, {12 * time.Hour, 2, "2126-11-22"}, {72 * time.Hour, 3, "2126-11-24"}} {
		w.now = time.Date(2126, 11, 21, 12, 0, 0, 0, time.UTC).Add(c.day)
		w.finds(made.Secret, 1)
		w.dir = access.NewDirectory(w.store, access.Options{Now: func() time.Time { return w.now }}) // another process
		w.finds(made.Secret, 1)
		if got := w.used("one"); w.store.writes != c.writes || got != c.used {
			t.Errorf("after %v: %d writes, used on %q; want %d and %s", c.day, w.store.writes, got, c.writes, c.used)
		}
	}
}

func TestUsedOfLogins(t *testing.T) {
	w := newWorld(t)
	w.set(access.Settings{Logins: []access.Rule{{
		Name: "ci", Issuer: "https://issuer.example", Claims: map[string]string{"sub": "x"}, Grants: grants("a", route.Push),
	}}})
	issued, err := w.admin.Login(t.Context(), access.Identity{Issuer: "https://issuer.example", Subject: "x", Claims: map[string]string{"sub": "x"}}, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if c, found := w.finds(issued.Secret, 1); !found || !c.May("a", route.Push) || w.store.writes != 0 {
		t.Errorf("%+v, %d writes", c, w.store.writes)
	}
}

// TestUsedFails: a store that cannot record the use does not refuse the request.
func TestUsedFails(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "")
	w.store.broken = errors.New("no writes today")
	if _, found := w.finds(made.Secret, 1); !found {
		t.Error("not found")
	}
	if log := w.log.String(); !strings.Contains(log, "no writes today") || !strings.Contains(log, "token=one") || strings.Contains(log, made.Secret) {
		t.Errorf("the log: %s", log)
	}
	w.finds(made.Secret, 0)
}

// TestStoreErrors: a token whose row cannot be read is neither known nor unknown.
func TestStoreErrors(t *testing.T) {
	w := newWorld(t)
	made := w.create("one", "")
	down := errors.New("down")
	w.store.failed = down
	if _, found, err := w.dir.Find(t.Context(), made.Secret); found || !errors.Is(err, down) {
		t.Errorf("Find: %v, %v", found, err)
	}
	if c, err := w.dir.Anonymous(t.Context()); !errors.Is(err, down) || len(c.Grants) > 0 {
		t.Errorf("Anonymous: %+v, %v", c, err)
	}
	w.store.failed = nil
	if _, found := w.finds(made.Secret, 1); !found {
		t.Error("the failure was cached")
	}
	// The settings alone are old.
	w.now = w.now.Add(access.Fresh)
	if _, err := w.dir.Anonymous(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.finds(made.Secret, 1)
	w.now = w.now.Add(access.Fresh)
	w.store.failed = down
	if c, err := w.dir.Anonymous(t.Context()); !errors.Is(err, down) || len(c.Grants) > 0 {
		t.Errorf("old settings serve while the store is down: %+v, %v", c, err)
	}
}

// TestMalformedRows: rows that cannot be decoded are errors, and give no permissions.
func TestMalformedRows(t *testing.T) {
	w := newWorld(t)
	secret, sum := access.NewToken()
	for _, key := range []registry.Key{{PK: "A#T", SK: sum}, {PK: "A#S", SK: "S"}} {
		for _, content := range []string{"", "{", `"x"`, `{"grants": 1}`, `{"anonymous": 1}`} {
			if _, err := w.store.Metadata.Update(context.Background(), registry.Write{
				Key: key, Op: registry.Put, Attrs: registry.Attrs{"b": []byte(content)},
			}); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(access.Fresh)
			if c, found, err := w.dir.Find(t.Context(), secret); found && len(c.Grants) > 0 || err == nil && content == "{" {
				t.Errorf("%s with %q: %+v, %v, %v", key.PK, content, c, found, err)
			}
		}
		if _, err := w.store.Metadata.Update(context.Background(), registry.Write{Key: key, Op: registry.Delete}); err != nil {
			t.Fatal(err)
		}
	}
}
