package access_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

const (
	github  = "https://token.actions.githubusercontent.com"
	cluster = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E"
	outward = "https://abc12345-def4-5678-90ab-cdef12345678.tokens.sts.global.api.aws"
)

func ruleFor(issuer string, claims map[string]string) access.Rule {
	return access.Rule{
		Name: "ci", Issuer: issuer, Claims: claims,
		Grants: access.Grants{{Repositories: []string{"team/**"}, Actions: []route.Action{route.Pull}}},
	}
}

func checkRule(r access.Rule) error { return access.Settings{Logins: []access.Rule{r}}.Check() }

type claims = map[string]string

// TestRulesNameAnOwner: at an issuer with customers who do not trust each other, a rule names one
// of them before any wildcard.
func TestRulesNameAnOwner(t *testing.T) {
	for _, c := range []struct {
		issuer string
		claims claims
	}{
		{github, claims{"repository": "acme/app"}},
		{github, claims{"repository": "acme/*"}},
		{github, claims{"repository_owner": "acme"}},
		{github, claims{"repository_owner_id": "1234"}},
		{github, claims{"repository_id": "1234", "ref": "refs/heads/*"}},
		{github, claims{"enterprise_id": "1234"}},
		{github, claims{"sub": "repo:acme/app:ref:refs/heads/main"}},
		{github, claims{"sub": "repo:acme/*"}},
		{github, claims{"sub": "repo:acme/*:environment:production"}},
		{github + "/acme", claims{"environment": "production"}}, // of one enterprise
		{"https://gitlab.com", claims{"project_path": "acme/*"}},
		{"https://gitlab.com", claims{"namespace_path": "acme"}},
		{"https://gitlab.com", claims{"namespace_path": "acme/*"}},
		{"https://gitlab.com", claims{"namespace_id": "72"}},
		{"https://gitlab.com", claims{"sub": "project_path:acme/app:ref_type:branch:ref:*"}},
		{"https://gitlab.acme.example", claims{"ref_protected": "true"}},
		{"https://accounts.google.com", claims{"sub": "110169484474386276334"}},
		{"https://accounts.google.com", claims{"hd": "acme.example", "email": "*@acme.example"}},
		{"https://app.terraform.io", claims{"sub": "organization:acme:project:*"}},
		{"https://agent.buildkite.com", claims{"organization_slug": "acme"}},
		{"https://oidc.vercel.com", claims{"sub": "owner:acme:project:*"}},
		{"https://oidc.codefresh.io", claims{"sub": "account:64f0:*"}},
		{"https://api.pulumi.com/oidc", claims{"sub": "pulumi:deploy:org:acme:*"}},
		{cluster, claims{"sub": "system:serviceaccount:ci:*"}},
		{outward, claims{"sub": "arn:aws:iam::123456789012:role/ci"}},
		{access.IssuerSTS, claims{"account": "123456789012"}},
		{access.IssuerSTS, claims{"account": "123456789012", "role": "ci-*", "session": "*"}},
		{access.IssuerSTS, claims{"account": "123456789012", "user": "ci", "arn": "*"}},
	} {
		if err := checkRule(ruleFor(c.issuer, c.claims)); err != nil {
			t.Errorf("%s %v: %v", c.issuer, c.claims, err)
		}
	}
}

func TestRulesForStrangersAreRefused(t *testing.T) {
	for _, c := range []struct {
		issuer string
		claims claims
	}{
		{github, nil},
		{github, claims{"ref": "refs/heads/main"}},
		{github, claims{"repository": "*"}},
		{github, claims{"repository": "acme*"}},
		{github, claims{"repository": "*/app"}},
		{github, claims{"repository": "ac*me/app"}},
		{github, claims{"repository": "/app"}},
		{github, claims{"repository_owner": "acme*"}},
		{github, claims{"repository_owner": "*"}},
		{github, claims{"enterprise": "acme-*"}},
		{github, claims{"sub": "repo:*/app:ref:refs/heads/main"}},
		{github, claims{"sub": "repo:acme*"}},
		{github, claims{"sub": "*"}},
		{github, claims{"sub": "x:repo:acme/app"}},
		{github, claims{"job_workflow_ref": "acme/workflows/.github/workflows/ci.yml@main"}}, // others may call it
		{github, claims{"actor": "octocat"}},
		{github + "/", claims{"ref": "refs/heads/main"}},
		{"https://Token.Actions.GithubUserContent.com", claims{"ref": "refs/heads/main"}},
		{"https://gitlab.com", claims{"project_path": "acme*"}},
		{"https://gitlab.com", claims{"namespace_path": "acme*"}},
		{"https://gitlab.com", claims{"user_login": "me"}},
		{"https://gitlab.com", claims{"sub": "project_path:*"}},
		{"https://accounts.google.com", claims{"email": "ci@acme.example"}},
		{"https://accounts.google.com", claims{"sub": "1101*"}},
		{"https://accounts.google.com", claims{"hd": "*.example"}},
		{"https://app.terraform.io", claims{"sub": "organization:acme*"}},
		{"https://app.terraform.io", claims{"terraform_workspace_name": "prod"}},
		{"https://agent.buildkite.com", claims{"pipeline_slug": "app"}},
		{"https://oidc.vercel.com", claims{"environment": "production"}},
		{"https://oidc.codefresh.io", claims{"sub": "account:*"}},
		{"https://api.pulumi.com/oidc", claims{"sub": "pulumi:deploy:org:*"}},
		{cluster, claims{"exists": "x"}},
		{cluster, claims{"sub": "*", "x": "y"}},
		{outward, claims{"https://sts.amazonaws.com/": "x"}},
		{"https://container.googleapis.com/v1/projects/p/locations/l/clusters/c", claims{"x": "y"}},
		{"https://westeurope.oic.prod-aks.azure.com/t/i/", claims{"x": "y"}},
		{"https://gitlab.acme.example", nil},
		{"https://gitlab.acme.example", claims{"sub": "**", "ref": "*"}},
		{"https://gitlab.acme.example", claims{"sub": ""}},
		{"https://gitlab.acme.example", claims{"": "x"}},
		{"https://gitlab.acme.example", claims{"aud": "https://registry.example"}},
		{"https://gitlab.acme.example", claims{"iss": "https://gitlab.acme.example", "sub": "x"}},
		{access.IssuerSTS, claims{"arn": "arn:aws:iam::123456789012:role/ci"}},
		{access.IssuerSTS, claims{"account": "12345678901*"}},
		{access.IssuerSTS, claims{"account": "*"}},
		{access.IssuerSTS, claims{"account": "1234567890123"}},
		{access.IssuerSTS, claims{"account": "123456789012", "rôle": "ci"}},
	} {
		err := checkRule(ruleFor(c.issuer, c.claims))
		if !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) {
			t.Errorf("%s %v: %v, want ACCESS_INVALID", c.issuer, c.claims, err)
		}
	}
}

// TestMalformedRules: each field of a rule is checked.
func TestMalformedRules(t *testing.T) {
	good := claims{"repository": "acme/*"}
	if err := checkRule(ruleFor(github, good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*access.Rule){
		"name":          func(r *access.Rule) { r.Name = "CI" },
		"reserved name": func(r *access.Rule) { r.Name = "admin" },
		"http":          func(r *access.Rule) { r.Issuer = "http://gitlab.acme.example" },
		"no host":       func(r *access.Rule) { r.Issuer = "https:///x" },
		"user":          func(r *access.Rule) { r.Issuer = "https://me@gitlab.acme.example" },
		"query":         func(r *access.Rule) { r.Issuer = "https://gitlab.acme.example/?x" },
		"fragment":      func(r *access.Rule) { r.Issuer = "https://gitlab.acme.example/#x" },
		"another word":  func(r *access.Rule) { r.Issuer = "sts" },
		"short life":    func(r *access.Rule) { r.Life = "59s" },
		"long life":     func(r *access.Rule) { r.Life = "12h1s" },
		"no duration":   func(r *access.Rule) { r.Life = "day" },
		"no grants":     func(r *access.Rule) { r.Grants = nil },
		"a bad grant":   func(r *access.Rule) { r.Grants = access.Grants{{Repositories: []string{"team/**"}}} },
	} {
		r := ruleFor(github, good)
		change(&r)
		if err := checkRule(r); !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) {
			t.Errorf("%s: %v, want ACCESS_INVALID", name, err)
		}
	}
	twice := access.Settings{Logins: []access.Rule{ruleFor(github, good), ruleFor(github, good)}}
	if err := twice.Check(); err == nil || !strings.Contains(err.Error(), "two login rules") {
		t.Errorf("two rules of one name: %v", err)
	}
}
