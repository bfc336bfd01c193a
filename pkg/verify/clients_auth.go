package verify

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

func clientAuthCases() []Case {
	return []Case{
		{
			"client-auth-ping", Clients, Must, everyClient,
			"Where a login is needed, GET /v2/ without one answers 401 with a challenge: Basic with a realm, or Bearer with a realm that is a URL.",
			"docker, podman and crane log in by it", clientAuthPing,
		},
		{
			"client-auth-reads", Clients, Must, "containerd, oras, helm, regctl",
			"Where a login is needed, each GET and HEAD of manifests, blobs, tags and referrers without one answers 401 with a challenge, unless everybody may read.",
			"containerd, oras, helm and regctl do not ask /v2/ first: they take the challenge from the request itself", clientAuthReads,
		},
		{
			"client-auth-writes", Clients, Must, "containerd, oras, helm, regctl",
			"Where a login is needed, POST of an upload and PUT of a manifest without one answer 401 with a challenge, and nothing is stored.",
			"containerd, oras, helm and regctl push without asking /v2/; everybody could push", clientAuthWrites,
		},
		{
			"client-auth-wrong", Clients, Must, everyClient,
			"A wrong user or a token that is none answers 401 with a challenge.",
			"a login that failed looks like one that worked, or like an outage", clientAuthWrong,
		},
		{
			"client-auth-push", Clients, Must, "docker, podman, skopeo",
			"Where a push needs a login, GET /v2/ without one answers 401, and the scheme of its challenge starts an upload, even if everybody may read.",
			"docker, podman and skopeo choose their scheme by that answer: without a challenge they push without the password that they have", clientAuthPush,
		},
		{
			"client-auth-open", Clients, Must, "docker",
			"Where everybody may read, the challenge of GET /v2/ is none, or Bearer with a token service that gives a token without a login, and this token reads.",
			"docker does not pull without a login if it is asked for Basic", clientAuthOpen,
		},
		{
			"client-auth-error", Clients, Should, "Error Codes",
			"The 401 for a missing login has the error code UNAUTHORIZED.",
			"docker and podman print the message", clientAuthError,
		},
	}
}

// protected ends the case where a login is not needed or cannot be tried.
func (p *probe) protected() {
	a := p.get("/v2/", anonymous())
	if p.conn.auth.username == "" && p.conn.auth.password == "" {
		p.notOffered(a, "no user and password were given")
	}
	if a.status == http.StatusOK {
		if a := p.post(p.repo.uploads(""), anonymous()); a.status == http.StatusAccepted {
			p.notOffered(a, "no login is needed")
		}
	}
}

// challenges expects 401 with a challenge that clients can meet.
func (a *answer) challenges() *answer {
	a.is(http.StatusUnauthorized)
	scheme, params := ParseChallenge(a.header.Values("WWW-Authenticate"))
	a.want(scheme != "", "expected a WWW-Authenticate header with a Basic or Bearer challenge")
	a.want(params["realm"] != "", "expected a realm in the challenge")
	if scheme == "bearer" {
		realm, err := url.Parse(params["realm"])
		a.want(err == nil && realm.Host != "" && slices.Contains([]string{"http", "https"}, realm.Scheme), "expected a realm that is a URL")
	}
	return a
}

func clientAuthPing(p *probe) {
	p.protected()
	p.get("/v2/", anonymous()).challenges()
	p.get("/v2/").is(http.StatusOK)
}

func clientAuthReads(p *probe) {
	p.protected()
	m := p.hasImage(p.repo, "v1")
	for _, target := range []string{
		p.repo.manifest("v1"), p.repo.manifest(string(m.digest)), p.repo.blob(m.doc.Config.Digest), p.repo.blob(p.newBlob(1).digest),
		p.repo.tags(""), p.repo.referrers(m.digest, ""),
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := p.do(method, target, anonymous())
			switch a.status {
			case http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed: // everybody may read
			default:
				a.challenges()
			}
		}
	}
}

func clientAuthWrites(p *probe) {
	p.protected()
	m := p.newImage(p.repo)
	p.post(p.repo.uploads(""), anonymous()).challenges()
	p.post(p.repo.uploads(mountFrom(m.doc.Config.Digest, p.repo)), anonymous()).challenges()
	p.putManifest(p.repo, "v1", m, anonymous()).challenges()
	p.getManifest(p.repo, "v1").is(http.StatusNotFound)
}

func clientAuthWrong(p *probe) {
	p.protected()
	// A user that does not exist, so that no real one is locked out.
	for _, credentials := range []string{"Basic bm9ib2R5LXZlcmlmeTp3cm9uZw==", "Bearer not-a-token"} {
		p.get("/v2/", anonymous(), withHeader("Authorization", credentials)).challenges()
		p.post(p.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).challenges()
	}
	for _, credentials := range []string{"Basic !!!", "Basic", "Bearer", "Unheard of"} {
		p.post(p.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).refused()
	}
}

func clientAuthPush(p *probe) {
	p.protected()
	authorization := p.chosen(p.get("/v2/", anonymous()).challenges(), "pull,push", false)
	p.post(p.repo.uploads(""), anonymous(), withHeader("Authorization", authorization)).is(http.StatusAccepted)
}

func clientAuthOpen(p *probe) {
	p.protected()
	m := p.hasImage(p.repo, "v1")
	if a := p.get(p.repo.manifest("v1"), anonymous()); a.status != http.StatusOK {
		p.notOffered(a, "reading needs a login")
	}
	ping := p.get("/v2/", anonymous())
	if ping.status == http.StatusOK {
		return
	}
	ping.challenges()
	scheme, _ := ParseChallenge(ping.header.Values("WWW-Authenticate"))
	ping.want(scheme == "bearer", "expected a Bearer challenge: manifests can be read without a login")
	authorization := withHeader("Authorization", p.chosen(ping, "pull", true))
	p.get(p.repo.manifest("v1"), anonymous(), authorization).isManifest(m)
	p.get(p.repo.blob(m.doc.Config.Digest), anonymous(), authorization).is(http.StatusOK)
}

// chosen is the Authorization of a client that chooses its scheme by the challenge of
// /v2/ and keeps to it, as docker and skopeo do.
func (p *probe) chosen(ping *answer, actions string, anonymous bool) string {
	scheme, params := ParseChallenge(ping.header.Values("WWW-Authenticate"))
	if scheme == "basic" {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(p.conn.auth.username, p.conn.auth.password)
		return r.Header.Get("Authorization")
	}
	params["scope"] = "repository:" + string(p.repo) + ":" + actions
	token, err := p.conn.auth.token(p.ctx, params, anonymous)
	ping.want(err == nil, "expected a token from the realm: %v", err)
	return "Bearer " + token
}

func clientAuthError(p *probe) {
	p.protected()
	p.get("/v2/", anonymous()).isError(http.StatusUnauthorized, oci.Unauthorized)
	p.post(p.repo.uploads(""), anonymous()).isError(http.StatusUnauthorized, oci.Unauthorized)
}
