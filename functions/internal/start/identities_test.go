package start_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// identity is a caller of the matrix.
type identity struct {
	name    string
	header  string // Authorization; empty: none
	may     string // permissions on team/app, and manage and root
	refused bool   // the credentials are not valid
	logged  string // name in the log
}

// request returns a request of the identity with an empty body.
func (i identity) request(method, path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.URL = method, &url.URL{Path: path}
	r.Header.Set("Host", r.Host) // an event has it among the headers
	if i.header != "" {
		r.Header.Set("Authorization", i.header)
	}
	return r
}

// newIdentities creates tokens and rules in an empty registry. sum is the SHA-256 of the
// administrator's token of the deployment.
func newIdentities(t *testing.T, meta registry.Metadata, open []string) (all []identity, sum string) {
	t.Helper()
	now := time.Now()
	dir := access.NewDirectory(meta, access.Options{Now: func() time.Time { return now }})
	admin, actor := access.NewAdmin(dir), access.Actor{Caller: access.Administrator()}
	secret, sum := access.NewToken()
	junk, _ := access.NewToken()
	basic := func(password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("any", password)
		return r.Header.Get("Authorization")
	}
	all = []identity{
		{name: "none", logged: "anonymous"},
		{name: "empty", header: "Basic Og==", logged: "anonymous"},
		{name: "anonymous", header: "Bearer anonymous", logged: "anonymous"},
		{name: "junk", header: basic("secret"), refused: true},
		{name: "junk, Bearer", header: "Bearer secret", refused: true},
		{name: "anonymous as password", header: basic("anonymous"), refused: true},
		{name: "unknown", header: basic(junk), refused: true},
		{name: "malformed", header: "Basic !", refused: true},
		{name: "the sum", header: basic(sum), refused: true},
		{name: "deployment", header: basic(secret), may: "admin manage root", logged: "admin"},
		{name: "deployment, Bearer", header: "Bearer " + secret, may: "admin manage root", logged: "admin"},
	}
	create := func(name, life, pattern string, actions ...route.Action) string {
		issued, err := admin.Create(t.Context(), actor, access.NewTokenRequest{
			Name: name, Life: life, Grants: access.Grants{{Repositories: []string{pattern}, Actions: actions}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return basic(issued.Secret)
	}
	for _, who := range []struct {
		name, may, pattern string
		actions            []route.Action
	}{
		{"puller", "pull", "team/*", []route.Action{route.Pull}},
		{"pusher", "push", "team/app", []route.Action{route.Push}},
		{"deleter", "delete", "**", []route.Action{route.Delete}},
		{"ci", "pull push", "*/app", []route.Action{route.Pull, route.Push}},
		{"team-admin", "admin manage", "team/**", []route.Action{route.Admin}},
		{"root", "admin manage root", "**", []route.Action{route.Pull, route.Admin}},
		{"other", "", "other/**", []route.Action{route.Pull, route.Push, route.Delete}},
		{"other-admin", "manage", "team/app/**", []route.Action{route.Admin}},
		{"near", "", "team", []route.Action{route.Pull, route.Push, route.Delete}},
		{"everyone", "pull push delete", "**", []route.Action{route.Pull, route.Push, route.Delete}},
	} {
		all = append(all, identity{name: who.name, header: create(who.name, "", who.pattern, who.actions...), may: who.may, logged: who.name})
	}
	revoked := create("revoked", "", "**", route.Admin)
	if _, err := admin.Revoke(t.Context(), actor, "revoked"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-48 * time.Hour)
	expired := create("expired", "24h", "**", route.Admin)
	now = now.Add(48 * time.Hour)
	all = append(all, identity{name: "revoked", header: revoked, refused: true}, identity{name: "expired", header: expired, refused: true})
	if open != nil {
		if err := admin.SetSettings(t.Context(), actor, access.Settings{Anonymous: open}, "*"); err != nil {
			t.Fatal(err)
		}
	}
	return all, sum
}

// logLine is the part of a request's line that tests read.
type logLine struct{ Msg, Who, Name, Error string }

// lines collects the lines of a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns the line of the last request, and forgets all lines.
func (l *lines) take(t *testing.T) logLine {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	d := json.NewDecoder(&l.buf)
	for {
		var line logLine
		if err := d.Decode(&line); err != nil {
			t.Fatalf("the request was not logged: %v", err)
		}
		if line.Msg == "request" {
			return line
		}
	}
}
