package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/client/login"
)

// exchange is a registry that answers logins. It takes a proof with one ID token.
type exchange struct {
	t      *testing.T
	accept string
	life   time.Duration
	status int // of a refusal
	body   string
	asked  []access.Proof
}

func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var proof access.Proof
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&proof); err != nil || r.Method != http.MethodPost || r.URL.String() != "/v2/_pierless/login" || r.Header.Get("Authorization") != "" {
		e.t.Errorf("%s %s: %v, %v", r.Method, r.URL, err, r.Header)
	}
	e.asked = append(e.asked, proof)
	switch {
	case e.body != "":
		fmt.Fprint(w, e.body)
	case proof.OIDC != e.accept:
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/elsewhere"`)
		w.WriteHeader(e.status)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"no login rule matches"}]}`)
	default:
		secret, _ := access.NewToken()
		created := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // the clock of the registry may differ
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(access.Issued{Secret: secret, Token: access.Token{Name: "ci:app", Created: created, Expires: created.Add(e.life)}})
	}
}

func registry(t *testing.T, e *exchange) *client.Client {
	t.Helper()
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL, client.Options{Attempts: 2, Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLogin(t *testing.T) {
	none := login.Source{Name: "none", Prove: func(context.Context, string) (access.Proof, error) {
		return access.Proof{}, fmt.Errorf("%w (cause)", login.ErrNone)
	}}
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden} {
		e := &exchange{t: t, accept: "a.good.token", life: time.Hour, status: status}
		before := time.Now()
		s, err := login.Login(t.Context(), registry(t, e), none, login.Token("bad", "not a token"), login.Token("other", "a.wrong.token"),
			login.Token("good", " a.good.token\n"), login.Token("unused", "another.good.token"))
		if err != nil || s.Name != "ci:app" || s.Username != "pierless" || !access.WellFormed(s.Token) || len(e.asked) != 2 {
			t.Fatalf("%+v, %v, asked %v", s, err, e.asked)
		}
		if got := s.Expires.Sub(s.Issued); got != time.Hour || s.Issued.Before(before) || s.Issued.After(time.Now()) {
			t.Errorf("the session lives from %v for %v", s.Issued, got)
		}
	}
}

// TestUsedProof: a proof that another process has used is made again.
func TestUsedProof(t *testing.T) {
	for used, ok := range map[int]bool{1: true, 2: true, 3: false} {
		e, made := &exchange{t: t, accept: "a.good.token", life: time.Hour, status: http.StatusConflict}, 0
		source := login.Source{Name: "one", Prove: func(_ context.Context, host string) (access.Proof, error) {
			if made++; made > used {
				return access.Proof{OIDC: "a.good.token"}, nil
			}
			return access.Proof{OIDC: "a.used.token"}, nil
		}}
		if _, err := login.Login(t.Context(), registry(t, e), source); (err == nil) != ok || made != min(used+1, 3) {
			t.Errorf("%d used proofs: %v after %d", used, err, made)
		}
	}
}

// TestProofNamesTheHost as the registry names itself: without the port of https.
func TestProofNamesTheHost(t *testing.T) {
	for registry, want := range map[string]string{"r.example:443": "r.example", "r.example:8443": "r.example:8443", "R.example": "r.example"} {
		c, err := client.New(registry, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		asked := ""
		_, _ = login.Login(t.Context(), c, login.Source{Prove: func(_ context.Context, host string) (access.Proof, error) {
			asked = host
			return access.Proof{}, login.ErrNone
		}})
		if asked != want || login.Audience(asked) != "https://"+want {
			t.Errorf("%s is %q, want %q", registry, asked, want)
		}
	}
}

func TestLoginFails(t *testing.T) {
	e := &exchange{t: t, accept: "a.good.token", status: http.StatusForbidden}
	c := registry(t, e)
	_, err := login.Login(t.Context(), c, login.Token("one", "a.wrong.token"), login.Token("two", "junk-secret"))
	if err == nil || !strings.Contains(err.Error(), "one: POST /v2/_pierless/login: 403") || !strings.Contains(err.Error(), "two: the text is not") ||
		strings.Contains(err.Error(), "a.wrong") || strings.Contains(err.Error(), "junk") {
		t.Error(err)
	}
	if len(e.asked) != 1 {
		t.Errorf("the registry got %v", e.asked)
	}
	if _, err := login.Login(t.Context(), c); !errors.Is(err, login.ErrNone) {
		t.Error(err)
	}
	// The registry is at fault: another proof is of no use.
	e = &exchange{t: t, accept: "a.good.token", status: http.StatusInternalServerError}
	_, err = login.Login(t.Context(), registry(t, e), login.Token("one", "a.wrong.token"), login.Token("two", "a.good.token"))
	if err == nil || len(e.asked) != 2 { // one retry
		t.Errorf("%v, asked %v", err, e.asked)
	}
	for _, body := range []string{
		`{`, `[]`, `{}`, `null`, `{"token":"plr_SECRET","info":{"expires":"2030-01-01T00:00:00Z"}}`,
		`{"token":"` + secret() + `","info":{}}`,
		`{"token":"` + secret() + `","info":{"created":"2030-01-01T00:00:00Z","expires":"2030-01-01T00:00:00Z"}}`,
	} {
		_, err := login.Login(t.Context(), registry(t, &exchange{t: t, body: body}), login.Token("one", "a.good.token"))
		if err == nil || strings.Contains(err.Error(), "plr_") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func secret() string {
	s, _ := access.NewToken()
	return s
}

// TestLoginFollowsNoRedirect: a proof is for one registry.
func TestLoginFollowsNoRedirect(t *testing.T) {
	e := &exchange{t: t, accept: "a.good.token", life: time.Hour}
	other := httptest.NewServer(e)
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL+"/v2/_pierless/login", http.StatusTemporaryRedirect))
	defer srv.Close()
	c, err := client.New(srv.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login.Login(t.Context(), c, login.Token("one", "a.good.token")); err == nil || len(e.asked) > 0 {
		t.Errorf("%v, the other registry got %v", err, e.asked)
	}
}

// actions is a strict token service of GitHub Actions.
func actions(t *testing.T, answers ...func(http.ResponseWriter)) (map[string]string, *int) {
	t.Helper()
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer runner" || len(q) != 2 ||
			q.Get("api-version") != "2.0" || q.Get("audience") != "https://registry.example:8443" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		answers[min(calls, len(answers)-1)](w)
		calls++
	}))
	t.Cleanup(srv.Close)
	return map[string]string{
		"ACTIONS_ID_TOKEN_REQUEST_URL": srv.URL + "/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner",
	}, &calls
}

func answers(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestGitHub(t *testing.T) {
	good := answers(http.StatusOK, `{"count":1,"value":"x.y.z"}`)
	for name, c := range map[string]struct {
		answers []func(http.ResponseWriter)
		calls   int
		want    string // part of the error; "" for success
	}{
		"good":            {[]func(http.ResponseWriter){good}, 1, ""},
		"after a retry":   {[]func(http.ResponseWriter){answers(503, ""), good}, 2, ""},
		"refused":         {[]func(http.ResponseWriter){answers(403, "runner"), good}, 1, "403"},
		"down":            {[]func(http.ResponseWriter){answers(500, "")}, 3, "500"},
		"not JSON":        {[]func(http.ResponseWriter){answers(200, "<html>")}, 1, "not JSON"},
		"without a token": {[]func(http.ResponseWriter){answers(200, `{"value":""}`)}, 1, "not an ID token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, calls := actions(t, c.answers...)
			sources := login.Environment(func(name string) string { return env[name] })
			if len(sources) != 1 || sources[0].Name != "GitHub Actions" {
				t.Fatal(sources)
			}
			proof, err := sources[0].Prove(t.Context(), "registry.example:8443")
			if c.want == "" && (err != nil || proof != access.Proof{OIDC: "x.y.z"}) || *calls != c.calls {
				t.Errorf("%v, %v after %d calls", proof, err, *calls)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "runner")) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, address := range []string{closed.URL + "/?secret=1", "::", "/path"} {
		s := login.Environment(func(name string) string {
			return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner"}[name]
		})
		if _, err := s[0].Prove(t.Context(), "registry.example"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestEnvironment: variables of pierless precede those that the system sets for all programs.
func TestEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	env := map[string]string{"PIERLESS_ID_TOKEN": "a.b.c", "PIERLESS_ID_TOKEN_FILE": path, "ACTIONS_ID_TOKEN_REQUEST_URL": "http://x"}
	sources := login.Environment(func(name string) string { return env[name] })
	if len(sources) != 3 || sources[0].Name != "PIERLESS_ID_TOKEN" || sources[1].Name != "PIERLESS_ID_TOKEN_FILE" {
		t.Fatalf("%v", sources)
	}
	if proof, err := sources[0].Prove(t.Context(), "h"); proof.OIDC != "a.b.c" || err != nil {
		t.Error(proof, err)
	}
	for content, ok := range map[string]bool{"d.e.f\n": true, "": false, "secret": false, "a.b.c d.e.f": false, "a.b." + strings.Repeat("c", 64<<10): false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		proof, err := sources[1].Prove(t.Context(), "h")
		if (err == nil) != ok || ok && proof.OIDC != "d.e.f" || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: %v, %v", content, proof, err)
		}
	}
	os.Remove(path)
	if _, err := sources[1].Prove(t.Context(), "h"); err == nil || errors.Is(err, login.ErrNone) {
		t.Error("a missing file is no fault", err)
	}
}
