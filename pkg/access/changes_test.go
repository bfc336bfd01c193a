package access_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// TestSettingsVersions: of two changes based on the same version, one is refused.
func TestSettingsVersions(t *testing.T) {
	w := newWorld(t)
	open := func(pattern string) access.Settings { return access.Settings{Anonymous: []string{pattern}} }
	set := func(pattern, version string) error {
		return w.admin.SetSettings(t.Context(), root(), open(pattern), version)
	}
	wantCode(t, "an unknown version", set("a", "x"), oci.AccessInvalid, 409)
	if err := set("a", ""); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the first version again", set("b", ""), oci.AccessInvalid, 409)
	first, err := w.admin.Settings(t.Context())
	if err != nil || first.Version == "" || !slices.Equal(first.Anonymous, []string{"a"}) {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := set("b", first.Version); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a lost update", set("c", first.Version), oci.AccessInvalid, 409)
	if err := set("d", "*"); err != nil {
		t.Fatal(err)
	}
	last, err := w.admin.Settings(t.Context())
	if err != nil || !slices.Equal(last.Anonymous, []string{"d"}) {
		t.Errorf("%+v, %v", last, err)
	}
	if e := w.entries(); len(e) != 3 || e[1].Action != "rules changed" || e[1].Before == nil || e[1].After == nil {
		t.Errorf("the log: %+v", e)
	}
	wantCode(t, "a bad pattern", set("A", "*"), oci.AccessInvalid, 400)
	big := access.Settings{}
	for range 300 {
		big.Anonymous = append(big.Anonymous, strings.Repeat("a", 250))
	}
	wantCode(t, "too large", w.admin.SetSettings(t.Context(), root(), big, "*"), oci.AccessInvalid, 400)
}

// TestChangeAndLogTogether: a transaction that fails leaves neither the change nor its entry.
func TestChangeAndLogTogether(t *testing.T) {
	w := newWorld(t)
	w.create("there", "")
	admin := access.NewAdmin(access.NewDirectory(w.store, access.Options{Now: func() time.Time { return w.now }}))
	w.store.broken = errors.New("no writes today")
	changes := map[string]func() error{
		"create": func() error {
			_, err := admin.Create(t.Context(), root(), access.NewTokenRequest{Name: "new", Grants: grants("a", route.Pull)})
			return err
		},
		"revoke": func() error { _, err := admin.Revoke(t.Context(), root(), "there"); return err },
		"rotate": func() error {
			_, err := admin.Rotate(t.Context(), root(), access.RotateRequest{Name: "there"})
			return err
		},
		"rules": func() error {
			return admin.SetSettings(t.Context(), root(), access.Settings{Anonymous: []string{"a"}}, "*")
		},
	}
	for name, change := range changes {
		writes := w.store.writes
		if err := change(); err == nil || !strings.Contains(err.Error(), "no writes today") {
			t.Errorf("%s: %v", name, err)
		}
		if w.store.writes == writes {
			t.Errorf("%s wrote nothing", name)
		}
		tokens, err := w.admin.Tokens(t.Context(), root())
		if err != nil {
			t.Fatal(err)
		}
		settings, err := w.admin.Settings(t.Context())
		if err != nil || len(tokens) != 1 || !tokens[0].Expires.IsZero() || settings.Version != "" || len(w.entries()) != 1 {
			t.Errorf("%s left %+v, %+v, %+v, %v", name, tokens, settings, w.entries(), err)
		}
	}
	// One transaction has the change and the entry: every other write would show here.
	w.store.broken = nil
	for _, name := range []string{"create", "rotate", "revoke", "rules"} {
		writes, entries := w.store.writes, len(w.entries())
		if err := changes[name](); err != nil {
			t.Fatal(err)
		}
		if w.store.writes != writes+1 || len(w.entries()) != entries+1 {
			t.Errorf("%s: %d writes and %d entries, want one of each", name, w.store.writes-writes, len(w.entries())-entries)
		}
	}
}

func TestLogPages(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.now = w.now.Add(time.Minute)
		w.create("t"+string(rune('0'+i)), "")
	}
	seen, next := "", ""
	for {
		page, err := w.admin.Log(t.Context(), time.Time{}, next, 2)
		if err != nil || len(page.Entries) > 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, e := range page.Entries {
			seen += e.Token + " "
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if seen != "t0 t1 t2 t3 t4 " {
		t.Errorf("the pages have %s", seen)
	}
	page, err := w.admin.Log(t.Context(), w.now.Add(-time.Minute), "", 10)
	if err != nil || len(page.Entries) != 2 || page.Entries[0].Token != "t3" {
		t.Errorf("since the last minute: %+v, %v", page, err)
	}
	_, err = w.admin.Log(t.Context(), time.Time{}, strings.Repeat("x", 65), 10)
	wantCode(t, "a long cursor", err, oci.AccessInvalid, 400)
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	w.set(access.Settings{Anonymous: []string{"open/*"}})
	w.create("ci", "")
	w.create("old", "1h")
	w.now = w.now.Add(2 * time.Hour)
	for _, c := range []struct {
		name, repository string
		action           route.Action
		source           string // empty: refused
		reason           string
	}{
		{"ci", "team/app", route.Pull, "ci", "a grant of the token"},
		{"ci", "team/app", route.Push, "", "no grant"},
		{"ci", "open/a", route.Pull, "anonymous", "every caller"},
		{"ci", "open/a", route.Push, "", "no grant"},
		{"old", "team/app", route.Pull, "", "expired"},
		{"old", "open/a", route.Pull, "", "expired"}, // a request with it is refused
		{"anonymous", "open/a", route.Pull, "anonymous", "every caller"},
		{"anonymous", "team/app", route.Pull, "", "no anonymous pattern"},
		{"admin", "team/app", route.Delete, "admin", "everything"},
	} {
		e, err := w.admin.Explain(t.Context(), root(), c.name, c.repository, c.action)
		allowed := c.source != ""
		if err != nil || e.Allowed != allowed || allowed && (e.Source != c.source || e.Grant == nil || !access.Grants{*e.Grant}.Allow(c.repository, c.action)) || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s, %s %s: %+v, %v", c.name, c.action, c.repository, e, err)
		}
	}
	_, err := w.admin.Explain(t.Context(), root(), "ci", "UPPER", route.Pull)
	wantCode(t, "a malformed name", err, oci.NameInvalid, 400)
	_, err = w.admin.Explain(t.Context(), root(), "ci", "a", "read")
	wantCode(t, "an unknown action", err, oci.AccessInvalid, 400)
}

// TestUsedByRules: the registry has access rules as soon as it has a token or settings.
func TestUsedByRules(t *testing.T) {
	for name, change := range map[string]func(*world){
		"":      func(*world) {},
		"token": func(w *world) { w.create("one", "") },
		"rules": func(w *world) { w.set(access.Settings{}) },
	} {
		w := newWorld(t)
		change(w)
		if used, err := w.admin.Used(t.Context()); err != nil || used != (name != "") {
			t.Errorf("after %q: %v, %v", name, used, err)
		}
	}
}
