package proof_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/prooftest"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/access/proof"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// whole is a registry with access control and logins.
type whole struct {
	t      *testing.T
	admin  string
	server http.Handler
	log    bytes.Buffer
}

func newWhole(t *testing.T, n *prooftest.Internet) *whole {
	t.Helper()
	w := &whole{t: t}
	meta, blobs := storetest.Open(t)
	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	directory := access.NewDirectory(meta, access.Options{Log: log})
	secret, sum := access.NewToken()
	guard, err := auth.New(sum, directory)
	if err != nil {
		t.Fatal(err)
	}
	w.admin = secret
	w.server = server.All(registry.New(meta, blobs, registry.Options{Log: log}), server.Options{
		Log: log, Authorize: guard.Authorize, Directory: directory,
		Prove: proof.New(proof.Options{Settings: directory.Settings, Transport: n.Transport()}).Prove,
	})
	return w
}

func (w *whole) do(token, method, target, body string) (status int, answer string, h http.Header) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	r.Host = strings.ToUpper(host)
	r.Header.Set("If-Match", "*")
	if token != "" {
		r.SetBasicAuth("me", token)
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String(), rec.Header()
}

func (w *whole) login(p access.Proof, want int) (secret string) {
	w.t.Helper()
	body, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	status, answer, h := w.do("", "POST", "/v2/_pierless/login", string(body))
	if status != want {
		w.t.Fatalf("login: %d %s, want %d", status, answer, want)
	}
	var issued access.Issued
	if err := json.Unmarshal([]byte(answer), &issued); err != nil {
		w.t.Fatal(err)
	}
	if want == http.StatusCreated && (h.Get("Cache-Control") != "no-store" || !access.WellFormed(issued.Secret)) {
		w.t.Errorf("login: %v %s", h, answer)
	}
	return issued.Secret
}

// TestLogin: proofs become tokens with the grants of their rules, and leave no trace in the log.
func TestLogin(t *testing.T) {
	n := prooftest.NewInternet(t)
	issuer, sts := prooftest.NewIssuer(t, n, "issuer.example"), prooftest.NewSTS(t, n, role(), user())
	w := newWhole(t, n)
	const rules = `{"logins":[
		{"name":"ci","issuer":%q,"claims":{"sub":"acme/*"},"grants":[{"repositories":["team/**"],"actions":["pull","push"]}],"life":"2h"},
		{"name":"main","issuer":%q,"claims":{"sub":"acme/app","branch":"main"},"grants":[{"repositories":["prod/**"],"actions":["push"]}],"life":"10m"},
		{"name":"aws","issuer":"sts.amazonaws.com","claims":{"account":%q,"role":"ci"},"grants":[{"repositories":["**"],"actions":["pull"]}]}
	]}`
	idToken := func(claims prooftest.Claims) access.Proof { return access.Proof{OIDC: issuer.Token("es256", claims)} }
	good := issuer.Claims(audience, "acme/app")
	if w.login(idToken(good), http.StatusForbidden); issuer.Discoveries.Load() != 0 {
		t.Error("an issuer without a rule was asked")
	}
	body := fmt.Sprintf(rules, issuer.URL, issuer.URL, account)
	if status, answer, _ := w.do(w.admin, "PUT", "/v2/_pierless/access/rules", body); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	one := idToken(good)
	first, second := w.login(one, http.StatusCreated), w.login(one, http.StatusCreated)
	both := w.login(idToken(with(good, "branch", "main")), http.StatusCreated)
	w.login(idToken(with(good, "sub", "evil/app")), http.StatusForbidden)
	w.login(access.Proof{OIDC: prooftest.Forged(one.OIDC)}, http.StatusForbidden)
	w.login(access.Proof{OIDC: "junk"}, http.StatusBadRequest)
	presigned := access.Proof{STS: role().SDKURL(t, "eu-west-1", host)}
	pull := w.login(presigned, http.StatusCreated)
	w.login(presigned, http.StatusConflict) // used
	w.login(access.Proof{STS: reversed(t, presigned.STS)}, http.StatusConflict)
	w.login(access.Proof{STS: user().SDKURL(t, "eu-west-1", host)}, http.StatusForbidden) // no rule
	sts.Answer(answers()["500"])
	w.login(access.Proof{STS: role().SDKURL(t, "eu-west-1", host)}, http.StatusServiceUnavailable)
	for name, c := range map[string]struct {
		token, repository string
		want              int
	}{
		"of the rule":         {first, "team/app", http.StatusAccepted},
		"of the same proof":   {second, "team/app", http.StatusAccepted},
		"another repository":  {first, "prod/app", http.StatusNotFound},
		"two rules, one":      {both, "team/app", http.StatusAccepted},
		"two rules, other":    {both, "prod/app", http.StatusAccepted},
		"pull without push":   {pull, "team/app", http.StatusForbidden},
		"the proof itself":    {one.OIDC, "team/app", http.StatusUnauthorized},
		"a token of no login": {"plr_x", "team/app", http.StatusUnauthorized},
	} {
		if status, answer, _ := w.do(c.token, "POST", "/v2/"+c.repository+"/blobs/uploads/", ""); status != c.want {
			t.Errorf("%s: %d %s, want %d", name, status, answer, c.want)
		}
	}
	w.checkTokens()
	secrets := append(strings.Split(one.OIDC, ".")[1:], first, second, both, pull, strings.Split(presigned.STS, "X-Amz-Signature=")[1][:64])
	_, entries, _ := w.do(w.admin, "GET", "/v2/_pierless/access/log", "")
	for _, secret := range secrets {
		if strings.Contains(w.log.String(), secret) || strings.Contains(entries, secret) {
			t.Errorf("a log has the secret %.12s...", secret)
		}
	}
}

// checkTokens checks names and lives of the tokens of TestLogin.
func (w *whole) checkTokens() {
	w.t.Helper()
	_, answer, _ := w.do(w.admin, "GET", "/v2/_pierless/access/tokens", "")
	var list struct{ Tokens []access.Token }
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, token := range list.Tokens {
		got = append(got, fmt.Sprintf("%s %v %d", token.Name, token.Expires.Sub(token.Created).Round(time.Second), len(token.Grants)))
	}
	want := []string{
		"aws:arn:aws:iam::123456789012:role/ci 1h0m0s 1", "ci:acme/app 2h0m0s 1", "ci:acme/app 2h0m0s 1", "ci:acme/app 10m0s 2",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("tokens %q, want %q", got, want)
	}
}
