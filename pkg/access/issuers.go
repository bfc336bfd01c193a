package access

import (
	"net/url"
	"regexp"
	"strings"
)

// owners lists the issuers that serve customers who do not trust each other: without a claim that
// names an owner, a rule would admit all of them. A rule needs one of the claims. Its value up to
// the first wildcard must match the expression, or the whole value if the expression is exact.
// Claims of which the sender chooses the value, such as the name of a branch, are not listed.
//
// Issuers with the customer in their URL (GitHub Enterprise, self-hosted GitLab, CircleCI,
// Bitbucket) are not shared.
func owners(issuer string) map[string]*regexp.Regexp {
	switch strings.TrimSuffix(strings.ToLower(issuer), "/") {
	case "https://token.actions.githubusercontent.com":
		return map[string]*regexp.Regexp{
			"repository": firstPart, "repository_owner": exact, "repository_owner_id": exact, "repository_id": exact,
			"enterprise": exact, "enterprise_id": exact, "sub": subOwner(`repo:[^*/:]+/`),
		}
	case "https://gitlab.com":
		return map[string]*regexp.Regexp{
			"project_path": firstPart, "namespace_path": firstPart, "project_id": exact, "namespace_id": exact,
			"sub": subOwner(`project_path:[^*/:]+/`),
		}
	case "https://accounts.google.com":
		return map[string]*regexp.Regexp{"sub": exact, "hd": exact}
	case "https://app.terraform.io":
		return map[string]*regexp.Regexp{
			"terraform_organization_id": exact, "terraform_organization_name": exact, "terraform_workspace_id": exact,
			"sub": subOwner(`organization:[^*:]+:`),
		}
	case "https://agent.buildkite.com":
		return map[string]*regexp.Regexp{
			"organization_slug": exact, "organization_id": exact, "pipeline_id": exact, "sub": subOwner(`organization:[^*:]+:`),
		}
	case "https://oidc.vercel.com":
		return map[string]*regexp.Regexp{"owner": exact, "owner_id": exact, "project_id": exact, "sub": subOwner(`owner:[^*:]+:`)}
	case "https://oidc.codefresh.io":
		return map[string]*regexp.Regexp{"account_id": exact, "sub": subOwner(`account:[^*:]+:`)}
	case "https://api.pulumi.com/oidc":
		return map[string]*regexp.Regexp{"sub": subOwner(`pulumi:[a-z]+:org:[^*:]+:`)}
	}
	return nil
}

// Forms of a claim that names an owner.
var (
	exact     = regexp.MustCompile(`^[^*]+$`)
	firstPart = regexp.MustCompile(`^[^*/]+(/|$)`)
)

func subOwner(prefix string) *regexp.Regexp { return regexp.MustCompile("^" + prefix) }

// subjects reports whether an issuer needs the claim sub: its tokens for all workloads of a
// cluster or an account differ in nothing else.
func subjects(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return strings.HasPrefix(host, "oidc.eks.") || // an EKS cluster
		strings.HasSuffix(host, ".tokens.sts.global.api.aws") || // AWS outbound identity federation
		host == "container.googleapis.com" || // a GKE cluster
		strings.HasSuffix(host, ".oic.prod-aks.azure.com") // an AKS cluster
}
