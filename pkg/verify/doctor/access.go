package doctor

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	renamedChallenge = "X-Amzn-Remapped-Www-Authenticate"
	secondChallenge  = "X-Registry-Challenge"
	// mapping is what the template gives each integration.
	mapping = "each AWS::ApiGatewayV2::Integration needs the response parameter mapping ResponseParameters: {\"401\": {ResponseParameters: " +
		"[{Destination: overwrite:header.www-authenticate, Source: $response.header.x-registry-challenge}]}}"
)

func accessChecks() []Check {
	const breaks = "docker, podman, crane and containerd read from it how to log in: without it they never send the password"
	return []Check{
		{ID: "challenge", Asks: "GET /v2/ with a wrong password answers 401 with WWW-Authenticate.", Breaks: breaks, run: (*visit).challenge},
		{ID: "challenge-head", Asks: "HEAD answers 401 with WWW-Authenticate as well.", Breaks: "docker and containerd resolve a tag with HEAD before anything else", run: (*visit).challengeHead},
		{ID: "challenge-routes", Asks: "So does every family of routes.", Breaks: breaks + "; containerd and oras never ask /v2/ first", run: (*visit).challengeRoutes},
		{
			ID:     "login",
			Asks:   "The challenge of GET /v2/ without credentials starts a push, even if everybody may pull.",
			Breaks: "docker, podman and skopeo choose their scheme by it: without a challenge they push without the password that they have",
			run:    (*visit).login,
		},
		{ID: "wrong-password", Asks: "A wrong password is refused on every route.", Breaks: "everybody: whoever knows the address is let in; docker login says yes to a mistyped password", run: (*visit).wrongPassword},
		{ID: "anonymous-push", Asks: "Nothing can be written without credentials.", Breaks: "everybody: strangers fill the bucket, or replace what others deploy", needs: needImage, run: (*visit).anonymousPush},
		{ID: "anonymous-pull", Asks: "Without credentials all of pull is closed or all of it is open, and the catalog is closed (reported).", Breaks: "pulls without login that stop half-way; names that should be private", needs: needImage, run: (*visit).anonymousPull},
	}
}

// routes has one path of each family that is not there, so that no answer is long.
func (v *visit) routes() []request {
	none := oci.Digest("sha256:" + strings.Repeat("0", 64))
	return []request{
		{method: http.MethodGet, target: "/v2/_catalog"},
		{method: http.MethodGet, target: v.blobPath(none)},
		{method: http.MethodPost, target: v.path("/blobs/uploads/")},
		{method: http.MethodGet, target: v.manifestPath("none")},
		{method: http.MethodPut, target: v.manifestPath("none"), header: http.Header{"Content-Type": {oci.MediaTypeImageManifest}}, body: []byte("{}")},
		{method: http.MethodGet, target: v.path("/tags/list")},
		{method: http.MethodGet, target: v.path("/referrers/" + string(none))},
		{method: http.MethodPost, target: v.path("/_pierless/uploads")},
	}
}

func (v *visit) challenge() finding {
	return v.challenged(request{method: http.MethodGet, target: "/v2/"})
}

func (v *visit) challengeHead() finding {
	return v.challenged(
		request{method: http.MethodHead, target: "/v2/"},
		request{method: http.MethodHead, target: v.manifestPath("none")},
		request{method: http.MethodHead, target: v.blobPath(oci.Digest("sha256:" + strings.Repeat("0", 64)))},
	)
}

func (v *visit) challengeRoutes() finding { return v.challenged(v.routes()...) }

// challenged asks with a wrong password, which is refused even where pull is open.
func (v *visit) challenged(requests ...request) finding {
	seen := ""
	for _, q := range requests {
		q.as = asStranger
		r := v.do(q)
		v.noteUpload(r)
		if f := challengeFault(r, v.door()); f.verdict != OK {
			return f
		}
		seen = r.header.Get("WWW-Authenticate")
	}
	return ok("%d of %d with %s", len(requests), len(requests), seen)
}

// challengeFault finds what is wrong with an answer that should be a challenge.
func challengeFault(r *reply, door string) finding {
	got := r.header.Get("WWW-Authenticate")
	scheme, _, _ := strings.Cut(strings.ToLower(got), " ")
	second, renamed := r.header.Get(secondChallenge), r.header.Get(renamedChallenge)
	switch {
	case r.status != http.StatusUnauthorized && gatewaySays(r) != "":
		return wrong(r, "the route to the function: 'make template' writes all of them; no authorizer, no IAM on routes: the functions check the password themselves",
			"%s with the gateway's %q instead of 401", r.what(), gatewaySays(r))
	case r.status == 0:
		return unknown(r, "%s", r.what())
	case r.status != http.StatusUnauthorized:
		return wrong(r, "PIERLESS_ADMIN_TOKEN_SHA256 at every function (parameter AdminTokenSha256); a CDN in front must pass Authorization on and cache nothing",
			"%s to a wrong password: no challenge to look at", r.what())
	case scheme == "basic" || scheme == "bearer":
		return ok("%s", got)
	case got != "":
		return wrong(r, mapping+"; the value is "+`Basic realm="pierless"`, "%s with WWW-Authenticate: %s, which no client can read", r.what(), got)
	case gatewaySays(r) != "":
		return wrong(r, "take the authorizer off the routes: the functions check the password themselves, and the gateway's own 401 has no challenge",
			"%s with the gateway's own %q, without WWW-Authenticate", r.what(), gatewaySays(r))
	case second != "":
		return wrong(r, mappingFor(door), "%s: WWW-Authenticate is gone%s, %s is there but is not mapped back", r.what(), renamedTo(renamed), secondChallenge)
	case renamed != "":
		return wrong(r, mappingFor(door)+"; the functions must send "+secondChallenge+": deploy the present version", "%s: WWW-Authenticate is gone%s, and there is no %s", r.what(), renamedTo(renamed), secondChallenge)
	}
	return wrong(r, "the function of this route must send WWW-Authenticate and "+secondChallenge+": deploy the present version of it; a CDN in front must pass both on",
		"%s without WWW-Authenticate and without %s", r.what(), secondChallenge)
}

// mappingFor is what brings the challenge back behind a door.
func mappingFor(door string) string {
	switch door {
	case "API Gateway REST API":
		return "a REST API maps no headers of a proxy integration: use the HTTP API of the template, or a Gateway Response UNAUTHORIZED of a Lambda authorizer"
	case "a Lambda function URL":
		return "a function URL maps no headers: use the HTTP API of the template"
	}
	return mapping
}

func renamedTo(renamed string) string {
	if renamed == "" {
		return ""
	}
	return " (renamed to " + renamedChallenge + ")"
}

// noteUpload remembers a session that should not have been opened.
func (v *visit) noteUpload(r *reply) {
	if r.exchange.Method != http.MethodPost || r.status != http.StatusAccepted {
		return
	}
	if location, err := v.here(r); err == nil {
		v.left.sessions = append(v.left.sessions, location)
	}
}

func (v *visit) wrongPassword() finding {
	requests := append([]request{{method: http.MethodGet, target: "/v2/"}}, v.routes()...)
	for _, q := range requests {
		q.as = asStranger
		r := v.do(q)
		v.noteUpload(r)
		switch {
		case refusedAccess(r):
		case r.status == 0 || r.status >= 500 || gatewaySays(r) != "":
			return unknown(r, "%s", r.what())
		default:
			return wrong(r, "PIERLESS_ADMIN_TOKEN_SHA256 at the function of this route (parameter AdminTokenSha256); a CDN in front must pass Authorization on and cache nothing", "%s to a wrong password", r.what())
		}
	}
	return ok("refused on %d routes", len(requests))
}

// refusedAccess reports whether a request was refused for who sent it.
func refusedAccess(r *reply) bool {
	return r.status == http.StatusUnauthorized || r.status == http.StatusForbidden
}

func (v *visit) anonymousPush() finding {
	const set = "PIERLESS_ADMIN_TOKEN_SHA256 at the functions uploads, direct and manifests (parameter AdminTokenSha256): AnonymousPull opens reading alone"
	m := v.blobs.image(oci.MediaTypeImageManifest)
	none := v.manifestPath("none")
	for _, credentials := range []http.Header{{}, v.anonymousToken()} {
		for _, q := range []request{
			{method: http.MethodPost, target: v.path("/blobs/uploads/")},
			{method: http.MethodPost, target: v.path("/_pierless/uploads")},
			{method: http.MethodPut, target: v.manifestPath("anonymous"), header: typed(m), body: m.bytes},
			{method: http.MethodDelete, target: none},
		} {
			r := v.do(q.with(credentials))
			v.noteUpload(r)
			if r.status == http.StatusCreated {
				v.left.manifests = append(v.left.manifests, v.manifestPath("anonymous"), v.manifestPath(string(m.digest)))
			}
			switch {
			case refusedAccess(r):
			case r.status == 0 || r.status >= 500 || gatewaySays(r) != "":
				return unknown(r, "%s", r.what())
			default:
				return wrong(r, set, "%s without credentials", r.what())
			}
		}
	}
	return ok("uploads, manifests and deletes are refused without credentials")
}

func (v *visit) anonymousPull() finding {
	const set = "PIERLESS_ANONYMOUS_PULL the same at every function (parameter AnonymousPull); if login is wrong too, mend that first"
	token := v.anonymousToken()
	catalog := v.do(request{method: http.MethodGet, target: "/v2/_catalog"}.with(token))
	if catalog.status == http.StatusOK {
		return wrong(catalog, "PIERLESS_ADMIN_TOKEN_SHA256 at the function base (parameter AdminTokenSha256)", "the catalog is open: every name can be read")
	}
	var open, closed []string
	var last *reply
	for _, q := range []request{
		{method: http.MethodGet, target: "/v2/"},
		{method: http.MethodGet, target: v.manifestPath(imageTag), header: accepted(*v.image)},
		{method: http.MethodHead, target: v.manifestPath(imageTag), header: accepted(*v.image)},
		{method: http.MethodGet, target: v.blobPath(v.blobs.layer.digest)},
		{method: http.MethodHead, target: v.blobPath(v.blobs.layer.digest)},
		{method: http.MethodGet, target: v.path("/tags/list")},
		{method: http.MethodGet, target: v.path("/referrers/" + string(v.image.digest))},
	} {
		r := v.do(q.with(token))
		name := fmt.Sprintf("%s %s", q.method, strings.TrimPrefix(r.url.Path, "/v2/"+v.repo))
		switch {
		case refusedAccess(r):
			closed, last = append(closed, name), r
		case r.status >= 200 && r.status < 400:
			open = append(open, name)
		default:
			return unknown(r, "%s", r.what())
		}
	}
	if len(open) > 0 && len(closed) > 0 {
		return wrong(last, set, "open: %s; closed: %s", strings.Join(open, ", "), strings.Join(closed, ", "))
	}
	return ok("pull is %s to everybody, the catalog is closed", cmp.Or(map[bool]string{true: "open"}[len(open) > 0], "closed"))
}
