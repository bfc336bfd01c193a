package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/prooftest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/access/proof"
)

// verifiedRegistry is a registry that verifies proofs, with its issuers: GitHub and AWS STS.
func verifiedRegistry(t *testing.T) (r *loginRegistry, github *prooftest.Issuer) {
	t.Helper()
	r = newLoginRegistry(t)
	internet := prooftest.NewInternet(t)
	github = prooftest.NewIssuer(t, internet, "token.actions.githubusercontent.com")
	prooftest.NewSTS(t, internet, prooftest.Principal{
		AccessKey: "AKIAEXAMPLE000000000", Secret: "very-secret", SessionToken: "session/token+=", Account: "111122223333",
		ARN: "arn:aws:sts::111122223333:assumed-role/build/i-1", UserID: "AROAEXAMPLE:i-1",
	})
	rules := access.Settings{Logins: []access.Rule{
		{Name: "github", Issuer: github.URL, Claims: map[string]string{"repository": "acme/app"}, Grants: appGrants()},
		{Name: "role", Issuer: access.IssuerSTS, Claims: map[string]string{"account": "111122223333", "role": "build"}, Grants: appGrants()},
	}}
	if err := r.admin.SetSettings(t.Context(), access.Actor{Caller: access.Administrator()}, rules, "*"); err != nil {
		t.Fatal(err)
	}
	verifier := proof.New(proof.Options{Settings: r.admin.Settings, Transport: internet.Transport()})
	r.verify = verifier.Prove
	return r, github
}

// TestLoginPair: the registry's own verification accepts the proofs of the commands.
func TestLoginPair(t *testing.T) {
	r, github := verifiedRegistry(t)
	actions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		claims := github.Claims(req.URL.Query().Get("audience"), "repo:acme/app:ref:refs/heads/main")
		claims["repository"] = "acme/app"
		json.NewEncoder(w).Encode(map[string]string{"value": github.Token("rsa", claims)})
	}))
	defer actions.Close()
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", actions.URL+"/?api-version=2.0")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner")
	if out, _, err := copyRun(t.Context(), nil, "login", r.host); err != nil || !strings.Contains(out, " as github:repo:acme/app:ref") || !r.mayPush(t, "app", savedPassword(t, r.host)) {
		t.Errorf("GitHub: %v: %s", err, out)
	}
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "")

	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>OutboundWebIdentityFederationDisabledException</Code><Message>off</Message></Error></ErrorResponse>`)
	}))
	defer sts.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_SESSION_TOKEN": "session/token+=",
		"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_STS": sts.URL,
	} {
		t.Setenv(name, value)
	}
	var work sync.WaitGroup
	for range 8 { // of one second: the registry accepts each presigned request once
		work.Go(func() {
			out, notes, err := copyRun(t.Context(), strings.NewReader(r.host), "docker-credential", "get")
			if err != nil {
				t.Errorf("AWS: %v: %s%s", err, out, notes)
			}
		})
	}
	work.Wait()
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if _, _, err := copyRun(t.Context(), nil, "login", r.host); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a wrong key: %v", err)
	}
}
