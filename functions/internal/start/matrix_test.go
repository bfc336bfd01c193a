package start_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

// needs is the second opinion on access: the permission of each endpoint and method, written
// without a look at the table in pkg/oci/route. "root" is admin on the whole registry, "login" is
// any valid token, "open" is any caller if some repository is open, "free" is any caller.
// "challenge" refuses callers without credentials until they send the anonymous token.
var needs = map[route.Kind]map[string]string{
	route.Base:         {"GET": "open challenge", "HEAD": "open challenge"},
	route.Catalog:      {"GET": "open", "HEAD": "open", "*": "open"},
	route.Token:        {"GET": "open", "POST": "open", "*": "open"},
	route.Manifest:     {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"},
	route.Repository:   {"DELETE": "delete"},
	route.Blob:         {"GET": "pull", "HEAD": "pull challenge", "DELETE": "delete"},
	route.UploadStart:  {"POST": "push"},
	route.Upload:       {"*": "free"},
	route.TagList:      {"GET": "pull", "HEAD": "pull"},
	route.Referrers:    {"GET": "pull", "HEAD": "pull"},
	route.DirectStart:  {"POST": "push"},
	route.Direct:       {"*": "free"},
	route.DirectParts:  {"*": "free"},
	route.Verification: {"*": "free"},
	route.Login:        {"*": "free"},
	route.AccessTokens: {"GET": "manage", "POST": "manage", "DELETE": "manage"},
	route.AccessRotate: {"POST": "manage"},
	route.AccessTest:   {"GET": "manage"},
	route.AccessRules:  {"GET": "root", "PUT": "root"},
	route.AccessLog:    {"GET": "root"},
	"":                 {}, // a path that is no endpoint
}

// need returns the entry of needs. A method that the endpoint does not have needs a login.
func need(kind route.Kind, method string) (permission string, challenge bool) {
	text, found := needs[kind][method]
	if !found {
		text = needs[kind]["*"]
	}
	permission, _, challenge = strings.Cut(text, " ")
	if permission == "" {
		permission = "login"
	}
	return permission, challenge
}

// The outcomes of a request. A refusal names the permission behind a colon.
const (
	passed    = "passed"
	challenge = "401"
	hidden    = "404"
	denied    = "403"
)

// expected returns the outcome that docs/access.md describes.
func expected(kind route.Kind, method string, who identity, open openness) string {
	permission, challenged := need(kind, method)
	if permission == "free" {
		return passed
	}
	stranger := who.name == "none" || who.name == "empty" || who.name == "anonymous"
	may := strings.Fields(who.may)
	if open.repository {
		may = append(may, "pull")
	}
	if slices.Contains(may, "admin") {
		may = append(may, "pull", "push", "delete")
	}
	switch {
	case who.refused:
		return challenge
	case stranger && challenged && who.name != "anonymous":
		return challenge
	case permission == "open" && (!stranger || open.any && !(kind == route.Token && method == "POST" && who.name == "none")):
		return passed // a POST to the token endpoint without a header is a form, which is empty here
	case permission == "login" && !stranger, slices.Contains(may, permission) && permission != "login":
		return passed
	case stranger:
		return challenge
	case permission == "manage", permission == "root":
		return denied + ":" + map[string]string{"manage": "manage", "root": "admin"}[permission]
	case permission == "pull", !slices.Contains(may, "pull"):
		return hidden + ":" + permission
	}
	return denied + ":" + permission
}

// outcome classifies an answer by its status and by the error in the log: the gateway strips the
// bodies of answers to HEAD.
func outcome(status int, line logLine) string {
	code, message, _ := strings.Cut(line.Error, ": ")
	permission := ""
	for verb, action := range map[string]string{
		"to pull": "pull", "to push to": "push", "to delete in": "delete", "permission admin for the whole registry": "admin", "permission admin, on any repository:": "manage",
	} {
		if strings.Contains(message, "lacks the permission") && strings.Contains(message+" ", verb+" ") {
			permission = ":" + action
		}
	}
	switch {
	case status == http.StatusUnauthorized && code == string(oci.Unauthorized):
		return challenge
	case status == http.StatusNotFound && code == string(oci.NameUnknown) && permission != "":
		return hidden + permission
	case status == http.StatusForbidden && code == string(oci.Denied):
		return denied + permission
	case status == http.StatusMethodNotAllowed && strings.Contains(message, "wrong function"):
		return "elsewhere"
	case status >= http.StatusInternalServerError:
		return fmt.Sprint("fault ", status, " ", line.Error)
	}
	return passed
}

// openness says which repositories are open to callers without credentials.
type openness struct {
	name          string
	patterns      []string
	anonymousPull bool // by the environment

	any, repository bool // whether any is, and whether the repository of the requests is
}

func opennesses() []openness {
	return []openness{
		{name: "nothing is open"},
		{name: "another is open", patterns: []string{"open/**"}, any: true},
		{name: "it is open", patterns: []string{"open/**", "team/*"}, any: true, repository: true},
		{name: "all is open", anonymousPull: true, any: true, repository: true},
	}
}

// TestMatrix sends every method to every endpoint with every identity, to the composed server and
// to each function alone.
func TestMatrix(t *testing.T) {
	for _, open := range opennesses() {
		t.Run(open.name, func(t *testing.T) {
			meta, blobs := storetest.Open(t)
			identities, sum := newIdentities(t, meta, open.patterns)
			config := env.Config{AdminTokenSHA256: sum, AnonymousPull: open.anonymousPull, ServeBlobs: true}
			var log lines
			opts, err := setup.Options(config, log.logger(), meta)
			if err != nil {
				t.Fatal(err)
			}
			all := server.All(registry.New(meta, blobs, registry.Options{Log: quiet()}), opts)
			c := cloud{t: t, functions: map[route.Family]*lambdahttp.Function{}}
			for family, constructor := range server.Families() {
				if c.functions[family], err = start.New(config, log.logger(), meta, blobs, constructor); err != nil {
					t.Fatal(err)
				}
			}
			walk(func(kind route.Kind, method, path string) {
				for _, who := range identities {
					want := expected(kind, method, who, open)
					check := func(where, want string, status int, header http.Header) {
						line := log.take(t)
						if got := outcome(status, line); got != want {
							t.Errorf("%s: %s %s by %s: %s (%d %s), want %s; if this is intended, change needs", where, method, path, who.name, got, status, line.Error, want)
						}
						checkRefusal(t, want, kind, open, line, header)
						checkWho(t, want, kind, method, who, line)
					}
					w := httptest.NewRecorder()
					r := who.request(method, path)
					all.ServeHTTP(w, r)
					check("server", want, w.Code, w.Header())
					for family := range server.Families() {
						if family != kind.Family() && kind != "" && (open.name != "another is open" || method == "PATCH") {
							continue // once is enough
						}
						here := want
						if want == passed && kind != "" && family != kind.Family() {
							here = "elsewhere"
						}
						resp := c.call(t.Context(), family, who.request(method, path))
						check(string(family), here, resp.StatusCode, resp.Header)
					}
				}
			})
		})
	}
}

// walk calls f with each method of each path: those of the endpoints, and some that are none.
func walk(f func(kind route.Kind, method, path string)) {
	d := string(oci.SHA256.FromBytes(nil))
	variables := strings.NewReplacer("{name}", "team/app", "{digest}", d, "{reference}", "t", "{id}", "x")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"} {
		for _, e := range route.Endpoints() {
			f(e.Kind, method, variables.Replace(e.Path))
		}
		f("", method, "/v2/team/app/nothing")
		f("", method, "/v2/_pierless/nothing")
		f("", method, "/v2/UPPER/manifests/t")
	}
}

// checkRefusal compares the challenge and the message of a refusal.
func checkRefusal(t *testing.T, want string, kind route.Kind, open openness, line logLine, header http.Header) {
	t.Helper()
	scheme := ""
	if want == challenge {
		scheme = "Basic"
		if open.any && kind != route.Token {
			scheme = "Bearer"
		}
	}
	if got, _, _ := strings.Cut(header.Get("WWW-Authenticate"), " "); got != scheme || got != "" && header.Get("X-Registry-Challenge") == "" {
		t.Errorf("%s: the challenge is %q, want %q", kind, got, scheme)
	}
	refused := strings.HasPrefix(want, hidden) || strings.HasPrefix(want, denied)
	if scope := "team/app"; refused && line.Name != "" && !strings.Contains(line.Error, scope) {
		t.Errorf("%s: the message does not name %s: %s", kind, scope, line.Error)
	}
}

// checkWho compares the caller in the log.
func checkWho(t *testing.T, want string, kind route.Kind, method string, who identity, line logLine) {
	t.Helper()
	name := who.logged
	if permission, _ := need(kind, method); permission == "free" {
		name = map[bool]string{true: "proof", false: "id"}[kind == route.Login]
	}
	if kind == route.Token && method == "POST" && who.header == "" {
		name = "" // the empty form is a malformed login
	}
	if line.Who != name {
		t.Errorf("%s %s by %s, %s: the log says that %q sent it, want %q", method, kind, who.name, want, line.Who, name)
	}
}

// TestNeedsEveryEndpoint: a new endpoint needs a row in needs.
func TestNeedsEveryEndpoint(t *testing.T) {
	for _, e := range route.Endpoints() {
		row := needs[e.Kind]
		for _, m := range e.Methods {
			if row[m.Name] == "" && row["*"] != "free" {
				t.Errorf("%s of %s is missing in needs: which permission does it need?", m.Name, e.Kind)
			}
		}
	}
}
