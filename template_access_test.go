package pierless

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// guard makes the servers of all families with access control, over the same recorders. Logins
// succeed; their proof is good for one token.
func (c *cloud) guard() {
	c.t.Helper()
	c.guarded = map[route.Family]http.Handler{}
	c.secret, c.sum = access.NewToken()
	for f, serve := range server.Families() {
		rows := names{c.rows, c.seen[f]}
		now := func() time.Time { return time.Now().Add(c.late) }
		directory := access.NewDirectory(rows, access.Options{Log: c.quiet, Now: now})
		guard, err := auth.New(c.sum, directory)
		if err != nil {
			c.t.Fatal(err)
		}
		prove := func(context.Context, string, access.Proof) (access.Identity, error) {
			return access.Identity{
				Issuer: access.IssuerSTS, Subject: "s", Claims: map[string]string{"account": "123456789012"},
				Proof: "hash", Once: now().Add(time.Minute),
			}, nil
		}
		opts := server.Options{Log: c.quiet, Authorize: guard.Authorize, Directory: directory, Prove: prove}
		c.guarded[f] = serve(registry.New(rows, blobs{c.content, c.seen[f], nil}, registry.Options{Log: c.quiet}), opts)
	}
}

// ask sends a request to a family with a token.
func (c *cloud) ask(f route.Family, want int, token, method, target, body string) []byte {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), method, target, strings.NewReader(body))
	if token != "" {
		r.SetBasicAuth("me", token)
	}
	r.Header.Set("If-Match", "*")
	w := httptest.NewRecorder()
	c.guarded[f].ServeHTTP(w, r)
	if w.Code != want {
		c.t.Fatalf("%s: %s %s: %d %s, want %d", f, method, target, w.Code, w.Body, want)
	}
	return w.Body.Bytes()
}

// access changes tokens and rules in each way, and has every family meet a caller without
// credentials and one with a token that was not used today.
func (c *cloud) access() {
	const path = "/v2/_pierless/access/"
	admin := func(want int, method, target, body string) []byte {
		c.t.Helper()
		return c.ask(route.FamilyAccess, want, c.secret, method, path+target, body)
	}
	const grants = `"grants":[{"repositories":["**"],"actions":["pull"]}]`
	admin(http.StatusOK, "PUT", "rules", `{"logins":[{"name":"aws","issuer":"sts.amazonaws.com","claims":{"account":"123456789012"},`+grants+`}]}`)
	c.ask(route.FamilyAccess, http.StatusCreated, "", "POST", "/v2/_pierless/login", `{"sts":"x"}`)
	c.ask(route.FamilyAccess, http.StatusConflict, "", "POST", "/v2/_pierless/login", `{"sts":"x"}`)
	for f := range c.guarded {
		var issued access.Issued
		if err := json.Unmarshal(admin(http.StatusCreated, "POST", "tokens", fmt.Sprintf(`{"name":%q,%s}`, f, grants)), &issued); err != nil {
			c.t.Fatal(err)
		}
		c.late += access.Fresh // the rules are read again
		c.ask(f, http.StatusUnauthorized, "", "GET", "/v2/a/tags/list", "")
		c.late += access.Fresh
		c.ask(f, map[bool]int{true: http.StatusOK, false: http.StatusMethodNotAllowed}[f == route.FamilyTags], issued.Secret, "GET", "/v2/a/tags/list", "")
	}
	admin(http.StatusCreated, "POST", "rotate", `{"name":"tags"}`)
	admin(http.StatusOK, "GET", "test?name=tags&repository=a&action=pull", "")
	admin(http.StatusOK, "GET", "tokens", "")
	admin(http.StatusOK, "GET", "rules", "")
	admin(http.StatusOK, "GET", "log", "")
	admin(http.StatusOK, "DELETE", "tokens?name=tags", "")
	c.late = 0
}
