package doctor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/verify"
)

const (
	renamedChallenge = "X-Amzn-Remapped-Www-Authenticate"
	secondChallenge  = "X-Registry-Challenge"
	// mapping is the setting that each integration has in the template.
	mapping = "each AWS::ApiGatewayV2::Integration needs the response parameter mapping ResponseParameters: {\"401\": {ResponseParameters: " +
		"[{Destination: overwrite:header.www-authenticate, Source: $response.header.x-registry-challenge}]}}"
)

// routes returns a request for missing content on each family of routes: the responses
// are short.
func (v *visit) routes() []request {
	none := oci.Digest("sha256:" + strings.Repeat("0", 64))
	return []request{
		{Method: http.MethodGet, Target: "/v2/_catalog"},
		{Method: http.MethodGet, Target: v.blobPath(none)},
		{Method: http.MethodPost, Target: v.path("/blobs/uploads/")},
		{Method: http.MethodGet, Target: v.manifestPath("none")},
		{Method: http.MethodPut, Target: v.manifestPath("none"), Header: http.Header{"Content-Type": {oci.MediaTypeImageManifest}}, Body: []byte("{}")},
		{Method: http.MethodGet, Target: v.path("/tags/list")},
		{Method: http.MethodGet, Target: v.path("/referrers/" + string(none))},
		{Method: http.MethodPost, Target: v.path("/_pierless/uploads")},
	}
}

func (v *visit) challenge() verify.Result {
	return v.challenged(request{Method: http.MethodGet, Target: "/v2/"})
}

func (v *visit) challengeHead() verify.Result {
	return v.challenged(
		request{Method: http.MethodHead, Target: "/v2/"},
		request{Method: http.MethodHead, Target: v.manifestPath("none")},
		request{Method: http.MethodHead, Target: v.blobPath(oci.Digest("sha256:" + strings.Repeat("0", 64)))},
	)
}

func (v *visit) challengeRoutes() verify.Result { return v.challenged(v.routes()...) }

// challenged sends requests with a wrong password, which is refused even if anonymous
// pull is allowed.
func (v *visit) challenged(requests ...request) verify.Result {
	seen := ""
	for _, q := range requests {
		r := v.doAs(asStranger, q)
		if f := challengeFault(r, v.gateway()); f.Status != verify.Passed {
			return f
		}
		seen = r.Header.Get("WWW-Authenticate")
	}
	return ok("%d of %d with %s", len(requests), len(requests), seen)
}

// challengeFault checks a response that should be a challenge.
func challengeFault(r *verify.Reply, gateway string) verify.Result {
	got := r.Header.Get("WWW-Authenticate")
	scheme, _, _ := strings.Cut(strings.ToLower(got), " ")
	second, renamed := r.Header.Get(secondChallenge), r.Header.Get(renamedChallenge)
	switch {
	case r.Status != http.StatusUnauthorized && gatewaySays(r) != "":
		return wrong(r, "the route to the function: as in the template; no authorizer, no IAM on routes: the functions check the password",
			"%s with the gateway's %q instead of 401", r, gatewaySays(r))
	case r.Status != http.StatusUnauthorized:
		return wrong(r, "PIERLESS_ADMIN_TOKEN_SHA256 of every function (parameter AdminTokenSha256); a CDN in front must forward Authorization and cache nothing",
			"%s to a wrong password: there is no challenge", r)
	case scheme == "basic" || scheme == "bearer":
		return ok("%s", got)
	case got != "":
		return wrong(r, mapping+"; the value is "+`Basic realm="pierless"`, "%s with WWW-Authenticate: %s, which clients cannot parse", r, got)
	case gatewaySays(r) != "":
		return wrong(r, "remove the authorizer from the routes: the functions check the password, and a 401 of the gateway has no challenge",
			"%s with the gateway's own %q, without WWW-Authenticate", r, gatewaySays(r))
	case second != "":
		return wrong(r, mappingFor(gateway), "%s: WWW-Authenticate is missing%s, and %s is present but not mapped back", r, renamedTo(renamed), secondChallenge)
	case renamed != "":
		return wrong(r, mappingFor(gateway)+"; the functions must send "+secondChallenge+": deploy the current version", "%s: WWW-Authenticate is missing%s, and there is no %s", r, renamedTo(renamed), secondChallenge)
	}
	return wrong(r, "the function of this route must send WWW-Authenticate and "+secondChallenge+": deploy the current version; a CDN in front must forward both",
		"%s without WWW-Authenticate and without %s", r, secondChallenge)
}

// mappingFor returns the setting that restores the challenge behind a gateway.
func mappingFor(gateway string) string {
	switch gateway {
	case "API Gateway REST API":
		return "a REST API does not map headers of a proxy integration: use the HTTP API of the template, or a Gateway Response UNAUTHORIZED of a Lambda authorizer"
	case "a Lambda function URL":
		return "a function URL does not map headers: use the HTTP API of the template"
	}
	return mapping
}

func renamedTo(renamed string) string {
	if renamed == "" {
		return ""
	}
	return " (renamed to " + renamedChallenge + ")"
}

func (v *visit) wrongPassword() verify.Result {
	requests := append([]request{{Method: http.MethodGet, Target: "/v2/"}}, v.routes()...)
	for _, q := range requests {
		r := v.doAs(asStranger, q)
		switch {
		case refusedAccess(r):
		case r.Status == 0 || r.Status >= 500 || gatewaySays(r) != "":
			return unknown(r, "%s", r)
		default:
			return wrong(r, "PIERLESS_ADMIN_TOKEN_SHA256 of the function of this route (parameter AdminTokenSha256); a CDN in front must forward Authorization and cache nothing", "%s to a wrong password", r)
		}
	}
	return ok("refused on %d routes", len(requests))
}

// refusedAccess reports whether a request was refused for its credentials.
func refusedAccess(r *verify.Reply) bool {
	return r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden
}

func (v *visit) anonymousPush() verify.Result {
	const set = "PIERLESS_ADMIN_TOKEN_SHA256 of the functions uploads, direct and manifests (parameter AdminTokenSha256): AnonymousPull allows reads only"
	m := v.blobs.image(oci.MediaTypeImageManifest)
	none := v.manifestPath("none")
	for _, credentials := range []http.Header{{}, v.anonymousToken()} {
		for _, q := range []request{
			{Method: http.MethodPost, Target: v.path("/blobs/uploads/")},
			{Method: http.MethodPost, Target: v.path("/_pierless/uploads")},
			{Method: http.MethodPut, Target: v.manifestPath("anonymous"), Header: typed(m), Body: m.bytes},
			{Method: http.MethodDelete, Target: none},
		} {
			r := v.doAs(asNobody, withHeader(q, credentials))
			switch {
			case refusedAccess(r):
			case r.Status == 0 || r.Status >= 500 || gatewaySays(r) != "":
				return unknown(r, "%s", r)
			default:
				return wrong(r, set, "%s without credentials", r)
			}
		}
	}
	return ok("uploads, manifests and deletes are refused without credentials")
}

func (v *visit) anonymousPull() verify.Result {
	const set = "the same PIERLESS_ANONYMOUS_PULL for every function (parameter AnonymousPull); if login is wrong too, fix that first"
	token := v.anonymousToken()
	if f := v.anonymousCatalog(token); f.Status != verify.Passed {
		return f
	}
	var open, closed []string
	var last *verify.Reply
	for _, q := range []request{
		{Method: http.MethodGet, Target: v.manifestPath(imageTag), Header: accepted(*v.image)},
		{Method: http.MethodHead, Target: v.manifestPath(imageTag), Header: accepted(*v.image)},
		{Method: http.MethodGet, Target: v.blobPath(v.blobs.layer.digest)},
		{Method: http.MethodHead, Target: v.blobPath(v.blobs.layer.digest)},
		{Method: http.MethodGet, Target: v.path("/tags/list")},
		{Method: http.MethodGet, Target: v.path("/referrers/" + string(v.image.digest))},
		{Method: http.MethodGet, Target: "/v2/"}, // open if any repository is
	} {
		if q.Target == "/v2/" && len(open) == 0 {
			break
		}
		r := v.doAs(asNobody, withHeader(q, token))
		name := fmt.Sprintf("%s %s", q.Method, strings.TrimPrefix(r.URL.Path, "/v2/"+v.repo))
		switch {
		case refusedAccess(r):
			closed, last = append(closed, name), r
		case r.Status >= 200 && r.Status < 400:
			open = append(open, name)
		default:
			return unknown(r, "%s", r)
		}
	}
	if len(open) > 0 && len(closed) > 0 {
		return wrong(last, set, "open: %s; closed: %s", strings.Join(open, ", "), strings.Join(closed, ", "))
	}
	return ok("anonymous pull is %s here, the catalog shows no other repositories", cmp.Or(map[bool]string{true: "open"}[len(open) > 0], "closed"))
}

// anonymousCatalog checks that the first names in the catalog are those of repositories that are
// open to callers without credentials.
func (v *visit) anonymousCatalog(token http.Header) verify.Result {
	const names = 5
	catalog := v.doAs(asNobody, withHeader(request{Method: http.MethodGet, Target: "/v2/_catalog"}, token))
	var list struct{ Repositories []string }
	if catalog.Status != http.StatusOK || json.Unmarshal(catalog.Body, &list) != nil {
		return ok("the catalog is closed")
	}
	for _, name := range list.Repositories[:min(names, len(list.Repositories))] {
		if r := v.doAs(asNobody, withHeader(request{Method: http.MethodGet, Target: "/v2/" + name + "/tags/list"}, token)); refusedAccess(r) {
			return wrong(catalog, "PIERLESS_ADMIN_TOKEN_SHA256 of the function base (parameter AdminTokenSha256)",
				"the catalog without credentials has %s, which needs credentials: its name is public", name)
		}
	}
	return ok("the catalog has no repository that needs credentials")
}
