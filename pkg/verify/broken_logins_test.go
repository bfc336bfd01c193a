package verify_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
	"github.com/pierless/pierless/pkg/verify"
)

// What the registries of the tests know, where they ask for a login.
const (
	testUser     = "verify"
	testPassword = "secret"
)

const unauthorized = `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`

func isAnonymous(r *http.Request) bool { return r.Header.Get("Authorization") == "" }

// refuseLogin answers 401 with a challenge.
func refuseLogin(w http.ResponseWriter, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(unauthorized))
}

// basicLogin lets those in who know the password, and all where open matches.
func basicLogin(open when) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if (user != testUser || password != testPassword) && !open(r) {
				refuseLogin(w, `Basic realm="verify"`)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func nobody(*http.Request) bool { return false }

func brokenLogins() []broken {
	login := basicLogin(nobody)
	reads := all(on("GET|HEAD", `/(manifests|blobs|tags|referrers)/`), isAnonymous)
	writes := all(on("POST|PUT", `.`), isAnonymous)
	hasNoLogin := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer anonymous" }
	wrong := func(r *http.Request) bool { return !isAnonymous(r) }
	return []broken{
		{"challenge without a realm", []string{"client-auth-ping", "client-auth-wrong"}, chain(answers(isAnonymous, func(r *reply) { r.header.Set("WWW-Authenticate", "Basic") }), answers(wrong, func(r *reply) {
			if r.status == http.StatusUnauthorized {
				r.header.Set("WWW-Authenticate", "Basic")
			}
		}), login)},
		{"401 of reads without a challenge", []string{"client-auth-reads"}, chain(drops(reads, "WWW-Authenticate"), login)},
		{"reads are 403 without a login", []string{"client-auth-reads"}, chain(turns(reads, http.StatusUnauthorized, http.StatusForbidden), login)},
		{"tags are a fault without a login", []string{"client-auth-reads"}, chain(turns(all(on("GET", toTags), isAnonymous), http.StatusUnauthorized, http.StatusInternalServerError), login)},
		{"everybody pushes", []string{"client-auth-writes"}, basicLogin(on("POST|PUT|PATCH", `.`))},
		{"401 of pushes without a challenge", []string{"client-auth-writes"}, chain(drops(writes, "WWW-Authenticate"), login)},
		{"pushes hidden without a login", []string{"client-auth-writes"}, chain(turns(writes, http.StatusUnauthorized, http.StatusNotFound), login)},
		{"wrong password is a fault", []string{"client-auth-wrong"}, chain(turns(wrong, http.StatusUnauthorized, http.StatusInternalServerError), login)},
		{"any password will do", []string{"client-auth-wrong"}, basicLogin(header("Authorization"))},
		{"pushes need a login that /v2/ does not ask for", []string{"client-auth-ping", "client-auth-push", "client-auth-error"}, basicLogin(on("GET|HEAD", `.`))},
		{"another scheme at /v2/ than for pushes", []string{"client-auth-push"}, func(next http.Handler) http.Handler {
			basic, bearer := login(next), bearerLogin(next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					basic.ServeHTTP(w, r)
					return
				}
				bearer.ServeHTTP(w, r)
			})
		}},
		{"a token service that refuses to push", []string{"client-auth-push"}, chain(turns(on("GET", "^/token.*push"), http.StatusOK, http.StatusForbidden), bearerLogin)},
		{"Basic although everybody may read", []string{"client-auth-open"}, basicLogin(on("GET|HEAD", `/v2/.`))},
		{"no token without a login although everybody may read", []string{"client-auth-open"}, openReads(bearerLogin)},
		{"a token without a login that reads no manifest", []string{"client-auth-open"}, chain(turns(all(on("GET", toManifest), hasNoLogin), http.StatusOK, http.StatusUnauthorized), guarded(true))},
		{"a token without a login that reads no blob", []string{"client-auth-open"}, chain(turns(all(on("GET", toBlob), hasNoLogin), http.StatusOK, http.StatusUnauthorized), guarded(true))},
		{"401 as a page", []string{"client-auth-error"}, chain(answers(isAnonymous, func(r *reply) { r.setBody([]byte("<html>Log in")) }), login)},
		{"401 says DENIED", []string{"client-auth-error"}, chain(answers(isAnonymous, func(r *reply) {
			r.setBody([]byte(strings.ReplaceAll(unauthorized, "UNAUTHORIZED", "DENIED")))
		}), login)},
	}
}

// openReads lets requests without a login read.
func openReads(login func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		closed, open := login(next), all(on("GET|HEAD", `/v2/.`), isAnonymous)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if open(r) {
				next.ServeHTTP(w, r)
				return
			}
			closed.ServeHTTP(w, r)
		})
	}
}

// empty is a table without rows.
type empty struct{ registry.Metadata }

func (empty) Get(_ context.Context, keys ...registry.Key) ([]registry.Row, error) {
	return make([]registry.Row, len(keys)), nil
}

// guarded is Pierless's own access control.
func guarded(anonymousPull bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		sum := sha256.Sum256([]byte(testPassword))
		guard, err := auth.New(hex.EncodeToString(sum[:]), access.NewDirectory(empty{}, access.Options{AnonymousPull: anonymousPull}))
		if err != nil {
			panic(err)
		}
		refusals := server.All(nil, server.Options{Log: slog.New(slog.DiscardHandler)})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, _ := route.ParseEscaped(r.URL.EscapedPath())
			ctx, err := guard.Authorize(w, r, req, route.API().Needs(req.Kind, r.Method))
			if err != nil {
				refusals.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// bearerLogin wants a token for the repository of the path and, on a mount, for the
// other one too. Its token endpoint is /token.
func bearerLogin(next http.Handler) http.Handler {
	var mu sync.Mutex
	tokens := map[string][]string{} // the repositories by token
	repo := regexp.MustCompile(`^/v2/(.+)/(?:manifests/[^/]*|blobs/uploads/[^/]*|blobs/[^/]*|tags/list|referrers/[^/]*)$`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			user, password, _ := r.BasicAuth()
			if user != testUser || password != testPassword || r.URL.Query().Get("service") != "verify" {
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			var names []string
			for scope := range strings.SplitSeq(r.URL.Query().Get("scope"), " ") {
				if parts := strings.Split(scope, ":"); len(parts) == 3 {
					names = append(names, parts[1])
				}
			}
			mu.Lock()
			token := fmt.Sprintf("token%d", len(tokens))
			tokens[token] = names
			mu.Unlock()
			_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
			return
		}
		var needs []string
		if m := repo.FindStringSubmatch(r.URL.Path); m != nil {
			needs = append(needs, m[1])
		}
		if from := r.URL.Query().Get("from"); from != "" {
			needs = append(needs, from)
		}
		mu.Lock()
		has, known := tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		mu.Unlock()
		missing := slices.ContainsFunc(needs, func(n string) bool { return !slices.Contains(has, n) })
		if known && !missing {
			next.ServeHTTP(w, r)
			return
		}
		var scopes []string
		for _, n := range needs {
			if strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789._-/") == "" {
				scopes = append(scopes, "repository:"+n+":pull,push")
			}
		}
		realm := url.URL{Scheme: "http", Host: r.Host, Path: "/token"}
		challenge := fmt.Sprintf(`Bearer Realm="%s", service=verify`, realm.String()) // any case, quoted or not (RFC 9110 11.2)
		if len(scopes) > 0 {
			challenge += fmt.Sprintf(`,scope="%s"`, strings.Join(scopes, " "))
		}
		refuseLogin(w, challenge)
	})
}

// TestLogins: the cases pass where a login is needed, Basic and Bearer, and where
// everybody may read.
func TestLogins(t *testing.T) {
	inner := newRegistry(t)
	for name, login := range map[string]func(http.Handler) http.Handler{
		"basic": basicLogin(nobody), "bearer": bearerLogin, "pierless": guarded(false), "pierless, anonymous pull": guarded(true),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := run(t, verify.Options{URL: serve(t, login(inner)), Username: testUser, Password: testPassword, Groups: []verify.Group{verify.Pull, verify.Clients, verify.Hostile}})
			for _, r := range report.Results {
				closed := r.ID == "client-auth-open" && r.Status == verify.NotOffered && name != "pierless, anonymous pull"
				if r.Status != verify.Passed && r.ID != "client-warnings" && !closed {
					t.Errorf("%s %s: %s\n%v", r.Status, r.ID, r.Detail, r.Exchange)
				}
			}
		})
	}
}
