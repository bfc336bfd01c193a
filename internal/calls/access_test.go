//go:build localstack

package calls_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// guarded is a process with access control over the storage of a rig.
type guarded struct {
	*rig
	handler http.Handler
	secret  string // of the administrator
}

// guard starts a process whose cache is empty.
func (r *rig) guard() guarded {
	secret, sum := access.NewToken()
	dir := access.NewDirectory(r.meta, access.Options{})
	guard, err := auth.New(sum, dir)
	if err != nil {
		r.t.Fatal(err)
	}
	prove := func(context.Context, string, access.Proof) (access.Identity, error) {
		return access.Identity{Issuer: "https://issuer.example", Subject: "x", Claims: map[string]string{"sub": "x"}}, nil
	}
	return guarded{r, server.All(r.registry(), server.Options{
		Log: slog.New(slog.DiscardHandler), Authorize: guard.Authorize, Directory: dir, Prove: prove,
	}), secret}
}

// ask sends a request with a token, or with none if it is empty, and fails on any other status.
func (g guarded) ask(status int, token, method, target, body string) *httptest.ResponseRecorder {
	g.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	req.Header.Set("If-Match", "*")
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, req)
	if w.Code != status {
		g.t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

// list sends the request of the rows about tokens, which takes one call itself.
func (g guarded) list(token string) { g.ask(http.StatusOK, token, "GET", "/v2/a/tags/list", "") }

// create makes a token that may pull from and push to a.
func (g guarded) create(name string) (secret string) {
	var made access.Issued
	w := g.ask(http.StatusCreated, g.secret, "POST", "/v2/_pierless/access/tokens", tokenRequest(name))
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
		g.t.Fatal(err)
	}
	return made.Secret
}

func tokenRequest(name string) string {
	return `{"name":"` + name + `","grants":[{"repositories":["a"],"actions":["pull","push"]}]}`
}

func newName() string { return "t-" + strings.ToLower(rand.Text()) }

const rules = `{"anonymous":["a"],"logins":[{"name":"ci","issuer":"https://issuer.example","claims":{"sub":"x"},` +
	`"grants":[{"repositories":["a"],"actions":["push"]}]}]}`

// accessOperations are the costs of access control. The others run without it.
func accessOperations() []operation {
	// used is a process whose rules let all pull from a, and a token that another process has used
	// today.
	used := func(r *rig) (g guarded, token string) {
		other := r.guard()
		other.ask(http.StatusOK, other.secret, "PUT", "/v2/_pierless/access/rules", rules)
		token = other.create(newName())
		other.list(token)
		return r.guard(), token
	}
	// first measures the first request of a process, cached the second one.
	first := func(f func(g guarded, token string)) func(*rig) func() {
		return func(r *rig) func() {
			g, token := used(r)
			return func() { f(g, token) }
		}
	}
	cached := func(f func(g guarded, token string)) func(*rig) func() {
		return func(r *rig) func() {
			g, token := used(r)
			f(g, token)
			return func() { f(g, token) }
		}
	}
	manage := func(status int, method, what string, body func(name string) string) func(*rig) func() {
		return func(r *rig) func() {
			g, name := r.guard(), newName()
			if method != "POST" || what != "tokens" {
				g.create(name)
			}
			target := "/v2/_pierless/access/" + strings.ReplaceAll(what, "NAME", name)
			return func() { g.ask(status, g.secret, method, target, body(name)) }
		}
	}
	none := func(string) string { return "" }
	withToken := func(g guarded, token string) { g.list(token) }
	anonymous := func(g guarded, _ string) { g.list("") }
	hidden := func(g guarded, token string) {
		g.ask(http.StatusNotFound, token, "GET", "/v2/hidden/manifests/latest", "")
	}
	return []operation{
		{"tags list page, by the administrator", calls{1, 0}, first(func(g guarded, _ string) { g.list(g.secret) })},
		{"tags list page, with a token, first use of the day", calls{3, 0}, func(r *rig) func() {
			token, g := r.guard().create(newName()), r.guard()
			return func() { g.list(token) }
		}},
		{"tags list page, with a token, first request of a process", calls{2, 0}, first(withToken)},
		{"tags list page, with a token, cached", calls{1, 0}, cached(withToken)},
		{"tags list page, without credentials, first request of a process", calls{2, 0}, first(anonymous)},
		{"tags list page, without credentials, cached", calls{1, 0}, cached(anonymous)},
		{"refused: unknown token, first request", calls{1, 0}, func(r *rig) func() {
			g := r.guard()
			unknown, _ := access.NewToken()
			return func() { g.ask(http.StatusUnauthorized, unknown, "GET", "/v2/", "") }
		}},
		{"refused: malformed token, rules cached", calls{0, 0}, cached(func(g guarded, _ string) {
			g.ask(http.StatusUnauthorized, "junk", "GET", "/v2/", "")
		})},
		{"refused: repository that the caller may not pull, cached", calls{0, 0}, cached(hidden)},
		{"PUT manifest by tag, 5 blobs, with a token, cached", calls{3, 0}, func(r *rig) func() {
			m := r.image(5)
			g, token := used(r)
			put := func() { g.ask(http.StatusCreated, token, "PUT", "/v2/a/manifests/scoped", string(m)) }
			put()
			return put
		}},
		{"access: create a token", calls{2, 0}, manage(http.StatusCreated, "POST", "tokens", tokenRequest)},
		{"access: list tokens", calls{2, 0}, manage(http.StatusOK, "GET", "tokens", none)},
		{"access: rotate a token", calls{2, 0}, manage(http.StatusCreated, "POST", "rotate", func(name string) string { return `{"name":"` + name + `"}` })},
		{"access: revoke a token", calls{2, 0}, manage(http.StatusOK, "DELETE", "tokens?name=NAME", none)},
		{"access: explain", calls{2, 0}, manage(http.StatusOK, "GET", "test?name=NAME&repository=b&action="+string(route.Push), none)},
		{"access: read the rules", calls{1, 0}, manage(http.StatusOK, "GET", "rules", none)},
		{"access: replace the rules", calls{3, 0}, manage(http.StatusOK, "PUT", "rules", func(string) string { return rules })},
		{"access: page of the log", calls{1, 0}, manage(http.StatusOK, "GET", "log", none)},
		{"access: login", calls{2, 0}, first(func(g guarded, _ string) {
			g.ask(http.StatusCreated, "", "POST", "/v2/_pierless/login", `{"oidc":"x"}`)
		})},
	}
}
