package doctor

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/pierless/pierless/pkg/verify"
)

// login logs in like docker and skopeo: they send GET /v2/ without credentials, and send
// their password only by the scheme of its challenge.
func (v *visit) login() verify.Result {
	const (
		current = "deploy the current version of all functions; a CDN in front must cache nothing"
		forward = "proxies in front must not change Host; one that terminates TLS must send X-Forwarded-Proto: https. " +
			"Behind a CDN that changes Host, set AnonymousPull to false"
	)
	ping := v.doAs(asNobody, request{Method: http.MethodGet, Target: "/v2/"})
	scheme, params := verify.ParseChallenge(ping.Header.Values("WWW-Authenticate"))
	credentials := http.Header{}
	switch {
	case ping.Status == http.StatusOK:
		return wrong(ping, current, "GET /v2/ answered 200 without credentials: there is no challenge to select a scheme by")
	case ping.Status != http.StatusUnauthorized || scheme == "":
		return unknown(ping, "%s: see challenge", ping)
	case scheme == "basic":
		credentials = basic(v.client.Username, v.client.Password)
	default:
		realm, err := url.Parse(params["realm"])
		if err != nil || realm.Scheme != v.client.Base.Scheme || realm.Host != v.client.Base.Host {
			return wrong(ping, forward, "the token endpoint is at %s, which is not this address", params["realm"])
		}
		r, token := v.token(params, asUser)
		if token == "" {
			return wrong(r, "the gateway's $default route to the function base; "+
				"proxies in front must forward Authorization", "%s: no token for a user whose Basic login works", r)
		}
		credentials.Set("Authorization", "Bearer "+token)
	}
	r := v.doAs(asNobody, withHeader(request{Method: http.MethodPost, Target: v.path("/blobs/uploads/")}, credentials))
	switch {
	case r.Status == http.StatusAccepted:
		return ok("%s, and an upload starts with it", ping.Header.Get("WWW-Authenticate"))
	case refusedAccess(r):
		return wrong(r, current+"; proxies in front must not change Authorization", "%s to the credentials that the challenge of /v2/ requires", r)
	}
	return unknown(r, "%s", r)
}

// anonymousToken returns the Authorization header of a client without credentials, which
// has a token if the registry issues anonymous tokens.
func (v *visit) anonymousToken() http.Header {
	ping := v.doAs(asNobody, request{Method: http.MethodGet, Target: "/v2/"})
	scheme, params := verify.ParseChallenge(ping.Header.Values("WWW-Authenticate"))
	if scheme != "bearer" {
		return nil
	}
	if _, token := v.token(params, asNobody); token != "" {
		return http.Header{"Authorization": {"Bearer " + token}}
	}
	return nil
}

// token requests a token from the service of a challenge; empty: none was issued.
func (v *visit) token(params map[string]string, who as) (*verify.Reply, string) {
	target := verify.AddQuery(params["realm"], "service", params["service"])
	r := v.doAs(who, request{Method: http.MethodGet, Target: target})
	r.Exchange.ResponseBody = "" // the token may be the password
	var answer struct{ Token string }
	if err := errors.Join(r.Err, json.Unmarshal(r.Body, &answer)); err != nil || r.Status != http.StatusOK {
		return r, ""
	}
	return r, answer.Token
}
