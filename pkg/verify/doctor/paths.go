package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/verify"
)

// gatewaySays returns the message of a response that is from API Gateway, or empty.
func gatewaySays(r *verify.Reply) string {
	var body map[string]any
	if json.Unmarshal(r.Body, &body) != nil || len(body) != 1 {
		return ""
	}
	message, _ := body["message"].(string)
	if message == "" {
		message, _ = body["Message"].(string) // from Lambda
	}
	return message
}

func (v *visit) trailingSlash() verify.Result {
	const base = "the route $default must lead to the function base, which serves /v2/ and /v2"
	for _, target := range []string{"/v2/", "/v2"} {
		r := v.get(target)
		if r.Status != http.StatusOK && (target == "/v2/" || gatewaySays(r) != "" || r.Status >= 500) {
			return wrong(r, base, "%s", r)
		}
	}
	const uploads = "a route 'POST /v2/{n1}/.../blobs/uploads/{proxy+}' to the function uploads for each number of name components, as in the template: the variable also matches the empty rest, a route cannot end in a slash"
	r := v.do(request{Method: http.MethodPost, Target: v.path("/blobs/uploads/")})
	if r.Status != http.StatusAccepted {
		return wrong(r, uploads, "%s", r)
	}
	return ok("/v2/, /v2 and %s/blobs/uploads/", "/v2/<name>")
}

func (v *visit) uploadLocation() verify.Result {
	if _, err := v.open(); err != nil {
		return unknown(v.failed, "could not be prepared: %v", err)
	}
	r := v.failed
	raw := r.Header.Get("Location")
	u, err := v.client.Base.Parse(raw)
	if err != nil {
		return wrong(r, "deploy the current version of the function uploads", "Location is not a URL")
	}
	place := u.Scheme + "://" + u.Host
	switch {
	case u.Host == v.client.Base.Host && u.Scheme == v.client.Base.Scheme:
		if strings.HasPrefix(raw, "/") {
			return ok("relative")
		}
		return ok("absolute, on %s", place)
	case strings.Contains(u.Host, ".execute-api."):
		return wrong(r, "the function must send a relative Location, as the current version does; check that proxies in front do not make it absolute", "Location is at %s, the default endpoint of the API, not %s", place, v.client.Base)
	case u.Host == v.client.Base.Host:
		return wrong(r, "a proxy in front makes Location absolute and must keep the scheme (X-Forwarded-Proto); the functions send it relative", "Location is at %s, not %s", place, v.client.Base)
	}
	return wrong(r, "the function must send a relative Location, as the current version does; check whether a proxy in front changes it", "Location is at %s, not %s", place, v.client.Base)
}

// decodedPath requests paths whose meaning changes if they are truncated or decoded a
// second time.
func (v *visit) decodedPath() verify.Result {
	const set = "pkg/server/lambdahttp: rawPath is decoded already; check it against the grammar, then escape it for the adapter. Deploy the current version of the functions"
	const questionMark = imageTag + "%3Fx"
	short, last := imageTag[:len(imageTag)-1], imageTag[len(imageTag)-1]
	cases := []struct {
		ref   string
		found bool // 200 is right
		cause string
	}{
		{questionMark, false, "the path is truncated at a decoded '?'"},
		{imageTag + "%23x", false, "the path is truncated at a decoded '#'"},
		{short + fmt.Sprintf("%%25%02x", last), false, "the path is decoded twice"},
		{imageTag + "%25", false, "the path is decoded twice"},
		{imageTag + "%25zz", false, "the path is decoded twice"},
		{imageTag + "%2Fx", false, "a decoded '/' is ignored"},
		{strings.Replace(string(v.image.digest), ":", "%3A", 1), true, "an escaped ':' is not decoded"},
	}
	if r := v.getManifest(*v.image, string(v.image.digest)); r.Status != http.StatusOK {
		return unknown(r, "%s, not escaped: see manifest-bytes", r)
	}
	notOurs, cut := 0, ""
	for _, c := range cases {
		r := v.do(request{Method: http.MethodGet, Target: v.manifestPath(c.ref), Header: accepted(*v.image)})
		switch {
		case r.Status >= 500:
			return wrong(r, set, "%s: expected a 4xx status with an error in the spec's format", r)
		case r.Status == 0:
			return unanswered(r, set, "%s", r)
		case c.ref == questionMark && r.Status == http.StatusOK && v.gatewayTruncates():
			cut = "; the gateway truncates a path at an encoded '?'"
		case c.found != (r.Status == http.StatusOK):
			return wrong(r, set, "%s: %s", r, c.cause)
		case !c.found && !strings.Contains(string(r.Body), `"errors"`):
			notOurs++
		}
	}
	if notOurs > 0 {
		return ok("%d paths, %d of them refused by the gateway itself%s", len(cases), notOurs, cut)
	}
	return ok("%d paths, each refused or served correctly%s", len(cases), cut)
}

// gatewayTruncates reports whether the gateway truncates a path at an encoded '?', as an
// HTTP API does: functions cannot detect it. A function that truncates treats the rest as
// the query, and a list with n=0 is empty.
func (v *visit) gatewayTruncates() bool {
	names, r, err := v.tagNames(v.path("/tags/list%3Fn=0"))
	return strings.Contains(v.gateway(), httpAPI) && err == nil && r.Status == http.StatusOK && len(names) > 0
}

func (v *visit) linkHeader() verify.Result {
	const second = imageTag + "-2"
	if r := v.pushManifest(*v.image, second); r.Status != http.StatusCreated {
		return unknown(r, "setup failed: %s", r)
	}
	all, r, err := v.tagNames(v.path("/tags/list"))
	if err != nil || r.Status != http.StatusOK {
		return unknown(r, "the list is invalid: %s", r)
	}
	var got []string
	for target := v.path("/tags/list?n=1"); target != ""; {
		names, page, err := v.tagNames(target)
		if err != nil || len(names) > 1 {
			return wrong(page, "the query must reach the function: rawQueryString unchanged", "a page of one tag (n=1) has %d: %v", len(names), err)
		}
		got = append(got, names...)
		if len(got) > len(all) || len(names) == 0 {
			break
		}
		next, err := nextPage(page)
		switch {
		case err != nil:
			return wrong(page, "proxies in front must not rewrite Link; several values must be joined with commas, as in payload format 2.0", "%v", err)
		case next == "" && len(got) < len(all):
			return wrong(page, "in payload format 2.0 Link must be in headers (multiValueHeaders is ignored), and a CDN in front must forward it", "page %d of %d has no Link with rel=\"next\"", len(got), len(all))
		}
		if target = next; target != "" {
			u, _ := page.URL.Parse(target) // nextPage parsed it
			if u.Host != v.client.Base.Host || u.Scheme != v.client.Base.Scheme {
				return wrong(page, "the function must send a relative Link, as the current version does", "Link is at %s://%s, not %s", u.Scheme, u.Host, v.client.Base)
			}
			target = u.String()
		}
	}
	if !slices.Equal(got, all) {
		return wrong(r, "a CDN in front must keep the query and cache nothing; the gateway must forward rawQueryString", "the pages are %v, the list is %v", got, all)
	}
	return ok("%d pages of one tag", len(got))
}

func (v *visit) tagNames(target string) ([]string, *verify.Reply, error) {
	r := v.get(target)
	var list struct{ Tags []string }
	err := errors.Join(r.Err, json.Unmarshal(r.Body, &list))
	return list.Tags, r, err
}

// nextPage returns the target of Link with rel="next", or empty.
func nextPage(r *verify.Reply) (string, error) {
	link := r.Header.Get("Link")
	if link == "" {
		return "", nil
	}
	target, params, found := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if _, err := r.URL.Parse(target); !found || err != nil || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
		return "", fmt.Errorf("the header Link: %s is malformed", link)
	}
	return target, nil
}
