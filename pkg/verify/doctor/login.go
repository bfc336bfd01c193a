package doctor

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"

	"github.com/pierless/pierless/pkg/verify"
)

// with is the request with other credentials than those of the visit: none if the
// header is empty.
func (r request) with(credentials http.Header) request {
	r.as = asNobody
	header := maps.Clone(r.header)
	if header == nil {
		header = http.Header{}
	}
	maps.Copy(header, credentials)
	r.header = header
	return r
}

// login takes the way of docker and skopeo: they ask GET /v2/ without credentials, and
// send their password by the scheme of its challenge or not at all.
func (v *visit) login() finding {
	const (
		present = "deploy the present version of all functions; a CDN in front must cache nothing"
		passOn  = "nothing in front may change Host; a proxy that ends TLS must send X-Forwarded-Proto: https. " +
			"Behind a CDN that changes Host, set AnonymousPull to false"
	)
	ping := v.do(request{method: http.MethodGet, target: "/v2/", as: asNobody})
	scheme, params := verify.ParseChallenge(ping.header.Values("WWW-Authenticate"))
	credentials := http.Header{}
	switch {
	case ping.status == http.StatusOK:
		return wrong(ping, present, "GET /v2/ answered 200 without credentials: no challenge to choose a scheme by")
	case ping.status != http.StatusUnauthorized || scheme == "":
		return unknown(ping, "%s: see challenge", ping.what())
	case scheme == "basic":
		basic := http.Request{Header: credentials}
		basic.SetBasicAuth(v.opts.Username, v.opts.Password)
	default:
		realm, err := url.Parse(params["realm"])
		if err != nil || realm.Scheme != v.base.Scheme || realm.Host != v.base.Host {
			return wrong(ping, passOn, "the token endpoint is at %s, which is not this address", params["realm"])
		}
		r, token := v.token(params, asUser)
		if token == "" {
			return wrong(r, "the gateway's $default route to the function base ('make template' writes it); "+
				"nothing in front may drop Authorization", "%s: no token for a user who is let in", r.what())
		}
		credentials.Set("Authorization", "Bearer "+token)
	}
	r := v.do(request{method: http.MethodPost, target: v.path("/blobs/uploads/")}.with(credentials))
	v.noteUpload(r)
	switch {
	case r.status == http.StatusAccepted:
		return ok("%s, and with it an upload starts", ping.header.Get("WWW-Authenticate"))
	case refusedAccess(r):
		return wrong(r, present+"; nothing in front may change Authorization", "%s to the credentials that the challenge of /v2/ asks for", r.what())
	}
	return unknown(r, "%s", r.what())
}

// anonymousToken is the Authorization of a client without credentials: empty unless the
// registry gives it a token.
func (v *visit) anonymousToken() http.Header {
	ping := v.do(request{method: http.MethodGet, target: "/v2/", as: asNobody})
	scheme, params := verify.ParseChallenge(ping.header.Values("WWW-Authenticate"))
	if scheme != "bearer" {
		return nil
	}
	if _, token := v.token(params, asNobody); token != "" {
		return http.Header{"Authorization": {"Bearer " + token}}
	}
	return nil
}

// token asks the token service of a challenge. It is empty unless the answer has one.
func (v *visit) token(params map[string]string, who as) (*reply, string) {
	target := withQuery(params["realm"], "service", params["service"])
	r := v.do(request{method: http.MethodGet, target: target, as: who})
	r.exchange.ResponseBody = "" // the token may be the password
	var answer struct{ Token string }
	if err := errors.Join(r.err, json.Unmarshal(r.body, &answer)); err != nil || r.status != http.StatusOK {
		return r, ""
	}
	return r, answer.Token
}
