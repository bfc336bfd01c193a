package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
)

// closedRegistry serves a registry with access control. The environment has the administrator's
// token.
func closedRegistry(t *testing.T) (host string) {
	t.Helper()
	alone(t)
	token, sum := access.NewToken()
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--admin-token-sha256", sum)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("PIERLESS_USERNAME", "admin")
	t.Setenv("PIERLESS_PASSWORD", token)
	// A proxy never sees requests to this machine.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	return address(t, served)
}

// manage runs a command of access, and fails the test unless its exit code is as wanted.
func manage(t *testing.T, code int, args ...string) (out, notes string) {
	t.Helper()
	out, notes, err := copyRun(t.Context(), strings.NewReader(""), append([]string{"access"}, args...)...)
	got := 0
	if err != nil {
		got, notes = exitCode(err), notes+err.Error()
	}
	if got != code {
		t.Fatalf("%v: exit code %d, want %d: %v\n%s", args, got, code, err, out)
	}
	return out, notes
}

// TestAccessTokens: tokens from their creation to their end, with the permissions of each.
func TestAccessTokens(t *testing.T) {
	host := closedRegistry(t)
	out, notes := manage(t, 0, "token", "create", host, "lead", "--grant", "team/**,lib=admin", "--grant", "**=pull", "--expires", "90d", "--note", "of\x1b[31m team")
	lead := strings.TrimSuffix(out, "\n")
	if !access.WellFormed(lead) || strings.Contains(notes, lead) || !strings.Contains(notes, "token lead (") || !strings.Contains(notes, "team/**,lib=admin **=pull") {
		t.Errorf("%q, %q", out, notes)
	}
	out, _ = manage(t, 0, "token", "list", host)
	for _, want := range []string{"NAME ", "lead ", "team/**,lib=admin **=pull", time.Now().Add(90 * 24 * time.Hour).UTC().Format("2006-01-02"), "admin", "of[31m team"} {
		if !strings.Contains(out, want) {
			t.Errorf("the list lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, lead) {
		t.Errorf("the list has control characters or the secret: %q", out)
	}

	var issued access.Issued
	out, _ = manage(t, 0, "token", "create", "--json", host, "ci", "--grant", "team/app=pull,push")
	if err := json.Unmarshal([]byte(out), &issued); err != nil || !access.WellFormed(issued.Secret) || issued.Token.Name != "ci" || !issued.Token.Expires.IsZero() {
		t.Fatalf("%v: %s", err, out)
	}
	if out, _ = manage(t, 0, "explain", host, "ci", "team/app", "push"); out != "allowed: a grant of the token allows it: team/app=pull,push (ci)\n" {
		t.Errorf("explain: %q", out)
	}
	out, _ = manage(t, 1, "explain", "--json", host, "ci", "team/app", "delete")
	var e access.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Allowed || e.Reason == "" {
		t.Errorf("explain: %v: %s", err, out)
	}

	// The secret that goes to standard output is the password of the next command.
	before := os.Getenv("PIERLESS_PASSWORD")
	t.Setenv("PIERLESS_PASSWORD", issued.Secret)
	if _, notes = manage(t, 1, "token", "list", host); !strings.Contains(notes, "403") || !strings.Contains(notes, "DENIED: ci lacks") {
		t.Errorf("a token without admin: %s", notes)
	}
	out, notes = manage(t, 1, "token", "create", host, "more", "--grant", "**=pull")
	if out != "" || !strings.Contains(notes, "403") || strings.Contains(notes, issued.Secret) {
		t.Errorf("%q, %s", out, notes)
	}
	t.Setenv("PIERLESS_PASSWORD", before)

	out, _ = manage(t, 0, "token", "rotate", host, "ci", "--overlap", "1h")
	if next := strings.TrimSpace(out); !access.WellFormed(next) || next == issued.Secret {
		t.Errorf("rotate: %q", out)
	}
	if out, _ = manage(t, 0, "token", "revoke", host, issued.Token.ID); strings.Count(out, "revoked ci ("+issued.Token.ID+")") != 1 {
		t.Errorf("revoke: %q", out)
	}
	var page tokenPage
	out, _ = manage(t, 0, "token", "revoke", "--json", host, "ci")
	if err := json.Unmarshal([]byte(out), &page); err != nil || len(page.Tokens) != 1 || page.Tokens[0].ID == issued.Token.ID {
		t.Errorf("revoke: %v: %s", err, out)
	}
	if _, notes = manage(t, 1, "token", "revoke", host, "ci"); !strings.Contains(notes, "404") {
		t.Errorf("revoked twice: %s", notes)
	}

	out, _ = manage(t, 0, "log", host, "--since", "1h")
	if strings.Count(out, "\n") != 6 || !strings.Contains(out, "token rotated") || !strings.Contains(out, "127.0.0.1") {
		t.Errorf("the log:\n%s", out)
	}
	if out, _ = manage(t, 0, "log", host, "--since", "2100-01-01T00:00:00Z", "--json"); strings.Contains(out, "lead") || !strings.Contains(out, `"entries": []`) {
		t.Errorf("the log of the future: %s", out)
	}
	if out, _ = manage(t, 0, "log", "--json", host); strings.Contains(out, "plr_") || strings.Count(out, `"action"`) != 5 {
		t.Errorf("the log as JSON: %s", out)
	}
}

// TestAccessRules: a change that is based on an old version is refused.
func TestAccessRules(t *testing.T) {
	host := closedRegistry(t)
	first, second := filepath.Join(t.TempDir(), "first.json"), filepath.Join(t.TempDir(), "second.json")
	out, _ := manage(t, 0, "rules", "get", host)
	if strings.Contains(out, "null") || !strings.Contains(out, `"version": ""`) {
		t.Errorf("no rules: %s", out)
	}
	write(t, first, out)
	if _, notes := manage(t, 0, "rules", "set", host, first); !strings.Contains(notes, "30s") {
		t.Errorf("set: %s", notes)
	}
	if _, notes := manage(t, 1, "rules", "set", host, first); !strings.Contains(notes, "409") {
		t.Errorf("an old version: %s", notes)
	}
	manage(t, 0, "rules", "anonymous", host, "public/**", "base/*")
	out, _ = manage(t, 0, "rules", "get", host)
	write(t, second, out)
	manage(t, 0, "rules", "anonymous", "--json", host, "public/**")
	if _, notes := manage(t, 1, "rules", "set", host, second); !strings.Contains(notes, "409") {
		t.Errorf("a change of another administrator is lost: %s", notes)
	}
	manage(t, 0, "rules", "set", "--force", host, second)
	var rules rulesFile
	out, _ = manage(t, 0, "rules", "get", host)
	if err := json.Unmarshal([]byte(out), &rules); err != nil || len(rules.Anonymous) != 2 || rules.Version == nil || *rules.Version == "" {
		t.Errorf("%v: %s", err, out)
	}
	manage(t, 0, "explain", host, "anonymous", "public/app", "pull")
	manage(t, 0, "rules", "anonymous", host, "--none")
	manage(t, 1, "explain", host, "anonymous", "public/app", "pull")

	for want, content := range map[string]string{
		"unknown field":  `{"anonymus":["**"]}`,
		"more than one":  `{"version":""} {}`,
		"has no version": `{"anonymous":["**"]}`,
		"unexpected EOF": `{`,
		"pattern":        `{"version":"","anonymous":["//"]}`,
	} {
		path := filepath.Join(t.TempDir(), "rules.json")
		write(t, path, content)
		if _, notes := manage(t, 2, "rules", "set", host, path); !strings.Contains(notes, want) {
			t.Errorf("%s: %s, want %q", content, notes, want)
		}
	}
}

// TestAccessLogPages: the log is read to its end, but not for ever.
func TestAccessLogPages(t *testing.T) {
	alone(t)
	for _, last := range []string{"", "two"} {
		var asked []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.RawQuery)
			next := map[string]string{"one": "two", "two": last}[cmp.Or(r.URL.Query().Get("next"), "one")]
			json.NewEncoder(w).Encode(access.LogPage{Entries: []access.Entry{{Action: "login"}}, Next: next})
		}))
		defer srv.Close()
		out, _ := manage(t, 0, "log", "--json", "--since", "2026-01-31T00:00:00Z", srv.URL)
		if strings.Count(out, "login") != 2 || len(asked) != 2 || asked[0] != "since=2026-01-31T00%3A00%3A00Z" || asked[1] != "next=two" {
			t.Errorf("%d entries after %q", strings.Count(out, "login"), asked)
		}
	}
}

func TestAccessMisuse(t *testing.T) {
	alone(t)
	for want, args := range map[string][]string{
		"has no command":       {"tokens"},
		"access token has no":  {"token", "make"},
		"unknown flag":         {"token", "list", "--what"},
		"pierless access log":  {"log"},
		"wrong number":         {"explain", "h", "t", "r"},
		"needs a grant":        {"token", "create", "h", "ci"},
		"is not a grant":       {"token", "create", "h", "ci", "--grant", "team/**"},
		`the action "pul"`:     {"token", "create", "h", "ci", "--grant", "team/**=pul"},
		"pattern":              {"token", "create", "h", "ci", "--grant", "=pull"},
		"is not a duration":    {"token", "create", "h", "ci", "--grant", "a=pull", "--expires", "90"},
		`"-1d" is not`:         {"token", "create", "h", "ci", "--grant", "a=pull", "--expires", "-1d"},
		`"99999999d" is not`:   {"token", "create", "h", "ci", "--grant", "a=pull", "--expires", "99999999d"},
		"needs --username":     {"token", "list", "--password-stdin", "h"},
		"must be host[:port]":  {"token", "list", "https://h/path"},
		"name the patterns":    {"rules", "anonymous", "h"},
		"or use --none":        {"rules", "anonymous", "h", "a", "--none"},
		"read the rules":       {"rules", "set", "h", "/does/not/exist"},
		"cannot be both":       {"rules", "set", "h", "-", "--username", "x", "--password-stdin"},
		`"yesterday" is not a`: {"log", "h", "--since", "yesterday"},
	} {
		_, _, err := copyRun(t.Context(), strings.NewReader("x\n"), append([]string{"access"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%v: %v with exit code %d, want 2 and %q", args, err, exitCode(err), want)
		}
	}
	// Without access control there is nothing to manage; without credentials, advice.
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	defer stop()
	if _, notes := manage(t, 1, "token", "list", address(t, served)); !strings.Contains(notes, "--admin-token-sha256") {
		t.Errorf("an open registry: %s", notes)
	}
}
