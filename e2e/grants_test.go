//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"
)

// quickly is the longest time for a refusal: some clients repeat requests for a minute, which must
// not happen.
const quickly = 15 * time.Second

// TestAccessGrants: with a token for one repository, every client pushes and pulls what the token
// allows. What it does not allow ends quickly, with a message that names the repository and the
// missing permission, with and without repositories that are open to all.
func TestAccessGrants(t *testing.T) {
	image := buildImage(t, t.TempDir(), 40*kib)
	dockerd, ctrd, storage := startDockerd(t), startContainerd(t), t.TempDir()
	for _, store := range []string{"embedded", "functions"} {
		for name, open := range map[string][]string{"closed": {}, "open": {"open/**"}} {
			t.Run(store+"/"+name, func(t *testing.T) {
				s := startGuarded(t, store, false)
				s.setAnonymous(t, open)
				administrate := crane(image)
				administrate.push(t, s.host+"/e2e/read:v1")
				administrate.push(t, s.host+"/e2e/hidden:v1")
				_, digest := s.manifest(t, "e2e/read", "v1")
				scoped := *s
				for _, g := range []guest{
					dockerGuest(image, dockerd), podmanGuest(image, storage), skopeoGuest(t, image), craneGuest(t, image),
					regctlGuest(t, image), orasGuest(t, image), containerdGuest(image, ctrd, ""), pierlessGuest(t, image),
				} {
					scoped.token = s.createToken(t, g.name, "e2e/"+g.name)
					if g.name == "containerd" {
						g = loggedInContainerd(image, ctrd, scoped.token)
					}
					t.Run(g.name, func(t *testing.T) { testGrants(t, &scoped, g, digest) })
				}
			})
		}
	}
}

func testGrants(t *testing.T, s *server, g guest, digest string) {
	host := s.host
	if g.name == "regctl" {
		host = s.alias()
	}
	logIn(t, s)
	own := host + "/e2e/" + g.name + ":v1"
	g.client.push(t, own)
	_, pushed := s.manifest(t, "e2e/"+g.name, "v1")
	if pushed == "" {
		t.Fatal("the push left no manifest")
	}
	g.fetchAnew(t, own, pushed)
	g.fetchAnew(t, host+"/e2e/read:v1", digest)
	for _, c := range []struct {
		name, repo string
		command    func(ref string) []string
		permission string
	}{
		{"push to a repository for reading", "e2e/read", g.push, "push to"}, // with a new tag: some clients skip an equal manifest
		{"push to a hidden repository", "e2e/hidden", g.push, "push to"},
		{"push to no repository", "e2e/none", g.push, "push to"},
		{"pull from a hidden repository", "e2e/hidden", g.pull, "pull"},
		{"pull from no repository", "e2e/none", g.pull, "pull"},
	} {
		ref := host + "/" + c.repo + map[bool]string{true: ":v1", false: ":v2"}[c.permission == "pull"]
		if g.load != nil && c.permission != "pull" {
			run(t, g.load(ref)[0], g.load(ref)[1:]...)
		}
		shown := c.repo + " .*lacks the permission to " + c.permission
		if c.repo == "e2e/read" {
			shown = "lacks the permission to " + c.permission + " the repository " + c.repo
		}
		switch {
		case g.name == "containerd" && c.permission == "push to":
			shown = "40[34] (Forbidden|Not Found)" // it prints no bodies
		case (g.name == "containerd" || g.name == "oras") && c.permission == "pull":
			shown = c.repo + ":v1: not found" // they ask with HEAD, whose answer has no body
		}
		wantForbidden(t, g.name+": "+c.name, c.command(ref), shown)
	}
}

// wantForbidden runs a command that a token does not allow.
func wantForbidden(t *testing.T, what string, args []string, shown string) {
	t.Helper()
	began := time.Now()
	out, err := command(t, args[0], args[1:]...).CombinedOutput()
	took := time.Since(began)
	if err == nil || took > quickly {
		t.Errorf("%s: %v after %v, want a refusal within %v\n%s", what, err, took, quickly, out)
	}
	if !regexp.MustCompile(shown).Match(out) {
		t.Errorf("%s: the output has no %q:\n%s", what, shown, out)
	}
}

// setAnonymous opens repositories to callers without credentials.
func (s *server) setAnonymous(t *testing.T, patterns []string) {
	t.Helper()
	s.manage(t, http.MethodPut, "rules", map[string]any{"anonymous": patterns, "logins": []any{}}, nil)
}

// createToken makes a token that may pull from and push to a repository, and pull from e2e/read.
func (s *server) createToken(t *testing.T, name, repo string) string {
	t.Helper()
	var made struct{ Token string }
	s.manage(t, http.MethodPost, "tokens", map[string]any{"name": name, "grants": []any{
		map[string]any{"repositories": []string{repo}, "actions": []string{"pull", "push"}},
		map[string]any{"repositories": []string{"e2e/read"}, "actions": []string{"pull"}},
	}}, &made)
	s.secrets = append(s.secrets, made.Token)
	return made.Token
}

// manage sends a request of the administrator to the access API.
func (s *server) manage(t *testing.T, method, what string, body, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%s/v2/_pierless/access/%s", s.host, what), bytes.NewReader(encode(t, body)))
	must(t, err)
	r.SetBasicAuth(administrator, s.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("If-Match", "*")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, what, resp.StatusCode, content)
	}
	if into != nil {
		must(t, json.Unmarshal(content, into))
	}
}

// loggedInContainerd is containerdGuest with the token on every command line: ctr reads no file
// with logins.
func loggedInContainerd(image *testImage, socket, token string) guest {
	g := containerdGuest(image, socket, token)
	login := func(bare func(ref string) []string) func(ref string) []string {
		return func(ref string) []string {
			args := bare(ref)
			at := slices.Index(args, "--plain-http")
			return slices.Insert(args, at, "--user", administrator+":"+token)
		}
	}
	g.push, g.pull = login(g.push), login(g.pull)
	return g
}
