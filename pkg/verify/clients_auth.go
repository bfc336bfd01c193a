package verify

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// requireLogin ends the case if no login is required, or if there are no credentials.
func (t *T) requireLogin() {
	a := t.get("/v2/", anonymous())
	if t.client.Username == "" && t.client.Password == "" {
		t.notOffered(a, "no user and password were given")
	}
	if a.Status == http.StatusOK {
		if a := t.post(t.repo.uploads(""), anonymous()); a.Status == http.StatusAccepted {
			t.notOffered(a, "no login is required")
		}
	}
}

// wantChallenge expects 401 with a challenge that clients support.
func (a *answer) wantChallenge() *answer {
	a.wantStatus(http.StatusUnauthorized)
	scheme, params := ParseChallenge(a.Header.Values("WWW-Authenticate"))
	a.want(scheme != "", "expected a WWW-Authenticate header with a Basic or Bearer challenge")
	a.want(params["realm"] != "", "expected a realm in the challenge")
	if scheme == "bearer" {
		realm, err := url.Parse(params["realm"])
		a.want(err == nil && realm.Host != "" && slices.Contains([]string{"http", "https"}, realm.Scheme), "expected a realm that is a URL")
	}
	return a
}

func clientAuthPing(t *T) {
	t.requireLogin()
	t.get("/v2/", anonymous()).wantChallenge()
	t.get("/v2/").wantStatus(http.StatusOK)
}

func clientAuthReads(t *T) {
	t.requireLogin()
	m := t.seedImage(t.repo, "v1")
	for _, target := range []string{
		t.repo.manifest("v1"), t.repo.manifest(string(m.digest)), t.repo.blob(m.doc.Config.Digest), t.repo.blob(t.newBlob(1).digest),
		t.repo.tags(""), t.repo.referrers(m.digest, ""),
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := t.do(method, target, anonymous())
			switch a.Status {
			case http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed: // anonymous reads are allowed
			default:
				a.wantChallenge()
			}
		}
	}
}

func clientAuthWrites(t *T) {
	t.requireLogin()
	m := t.newImage(t.repo)
	t.post(t.repo.uploads(""), anonymous()).wantChallenge()
	t.post(t.repo.uploads(mountFrom(m.doc.Config.Digest, t.repo)), anonymous()).wantChallenge()
	t.putManifest(t.repo, "v1", m, anonymous()).wantChallenge()
	t.getManifest(t.repo, "v1").wantStatus(http.StatusNotFound)
}

func clientAuthWrong(t *T) {
	t.requireLogin()
	// A user that does not exist, so that no real account is locked.
	for _, credentials := range []string{"Basic bm9ib2R5LXZlcmlmeTp3cm9uZw==", "Bearer not-a-token"} {
		t.get("/v2/", anonymous(), withHeader("Authorization", credentials)).wantChallenge()
		t.post(t.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).wantChallenge()
	}
	for _, credentials := range []string{"Basic !!!", "Basic", "Bearer", "Unheard of"} {
		t.post(t.repo.uploads(""), anonymous(), withHeader("Authorization", credentials)).wantRefused()
	}
}

func clientAuthPush(t *T) {
	t.requireLogin()
	authorization := t.authorization(t.get("/v2/", anonymous()).wantChallenge(), "pull,push", false)
	t.post(t.repo.uploads(""), anonymous(), withHeader("Authorization", authorization)).wantStatus(http.StatusAccepted)
}

func clientAuthOpen(t *T) {
	t.requireLogin()
	m := t.seedImage(t.repo, "v1")
	if a := t.get(t.repo.manifest("v1"), anonymous()); a.Status != http.StatusOK {
		t.notOffered(a, "anonymous reads are not allowed")
	}
	ping := t.get("/v2/", anonymous())
	if ping.Status == http.StatusOK {
		return
	}
	ping.wantChallenge()
	scheme, _ := ParseChallenge(ping.Header.Values("WWW-Authenticate"))
	ping.want(scheme == "bearer", "expected a Bearer challenge: manifests can be read without a login")
	authorization := withHeader("Authorization", t.authorization(ping, "pull", true))
	t.get(t.repo.manifest("v1"), anonymous(), authorization).wantManifest(m)
	t.get(t.repo.blob(m.doc.Config.Digest), anonymous(), authorization).wantStatus(http.StatusOK)
}

// authorization returns the Authorization header of a client that selects its scheme by the
// challenge of /v2/, as docker and skopeo do.
func (t *T) authorization(ping *answer, actions string, anonymous bool) string {
	scheme, params := ParseChallenge(ping.Header.Values("WWW-Authenticate"))
	if scheme == "basic" {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(t.client.Username, t.client.Password)
		return r.Header.Get("Authorization")
	}
	params["scope"] = "repository:" + string(t.repo) + ":" + actions
	token, err := t.client.auth.token(t.ctx, params, anonymous)
	ping.want(err == nil, "expected a token from the realm: %v", err)
	return "Bearer " + token
}

func clientAuthError(t *T) {
	t.requireLogin()
	t.get("/v2/", anonymous()).wantError(http.StatusUnauthorized, oci.Unauthorized)
	t.post(t.repo.uploads(""), anonymous()).wantError(http.StatusUnauthorized, oci.Unauthorized)
}
