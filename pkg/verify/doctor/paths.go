package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func pathChecks() []Check {
	return []Check{
		{
			ID: "trailing-slash", Asks: "GET /v2/, GET /v2 and POST /v2/<name>/blobs/uploads/ reach the functions.",
			Breaks: "every client asks /v2/ first and starts uploads at the path with the slash, which cannot be a route of its own", run: (*visit).trailingSlash,
		},
		{
			ID: "upload-location", Asks: "The Location of an upload is relative, or on the host and scheme that the client used.",
			Breaks: "oras refuses another host, docker and containerd send it no password; behind a closed execute-api address every push fails", run: (*visit).uploadLocation,
		},
		{
			ID: "decoded-path", Asks: "Escaped characters in a path are decoded once and refused as the spec says, never with 5xx or another's content; an HTTP API may cut a path at an escaped '?' (reported).",
			Breaks: "access rules: another path is checked than is served; clients retry on 5xx", needs: needImage, run: (*visit).decodedPath,
		},
		{
			ID: "link-header", Asks: "A tags list in pages has its Link header, and the pages add up.",
			Breaks: "crane, skopeo and regctl list tags: they miss all behind the first page", needs: needImage, run: (*visit).linkHeader,
		},
	}
}

// gatewaySays is the message of an answer that is API Gateway's own, or empty.
func gatewaySays(r *reply) string {
	var body map[string]any
	if json.Unmarshal(r.body, &body) != nil || len(body) != 1 {
		return ""
	}
	message, _ := body["message"].(string)
	if message == "" {
		message, _ = body["Message"].(string) // Lambda's own
	}
	return message
}

func (v *visit) trailingSlash() finding {
	const base = "the route $default must go to the function base: it takes /v2/ and /v2"
	for _, target := range []string{"/v2/", "/v2"} {
		r := v.get(target)
		if r.status != http.StatusOK && (target == "/v2/" || gatewaySays(r) != "" || r.status >= 500) {
			return wrong(r, base, "%s", r.what())
		}
	}
	const uploads = "a route 'POST /v2/{n1}/.../blobs/uploads/{proxy+}' to the function uploads for each depth of names: the variable takes the empty rest too, a route cannot end in a slash. 'make template' writes them"
	r := v.do(request{method: http.MethodPost, target: v.path("/blobs/uploads/")})
	v.noteUpload(r)
	if r.status != http.StatusAccepted {
		return wrong(r, uploads, "%s", r.what())
	}
	return ok("/v2/, /v2 and %s/blobs/uploads/", "/v2/<name>")
}

func (v *visit) uploadLocation() finding {
	if _, err := v.open(); err != nil {
		return unknown(v.failed, "could not be prepared: %v", err)
	}
	r := v.failed
	raw := r.header.Get("Location")
	u, err := v.base.Parse(raw)
	if err != nil {
		return wrong(r, "deploy the present version of the function uploads", "Location is no URL")
	}
	place := u.Scheme + "://" + u.Host
	switch {
	case u.Host == v.base.Host && u.Scheme == v.base.Scheme:
		if strings.HasPrefix(raw, "/") {
			return ok("relative")
		}
		return ok("absolute, on %s", place)
	case strings.Contains(u.Host, ".execute-api."):
		return wrong(r, "the function must send a relative Location, as the present version does; check that no proxy in front makes it absolute", "Location is at %s, the API's own address, not %s", place, v.base)
	case u.Host == v.base.Host:
		return wrong(r, "a proxy in front makes it absolute and must keep the scheme (X-Forwarded-Proto); the functions send it relative", "Location is at %s, not %s", place, v.base)
	}
	return wrong(r, "the function must send a relative Location, as the present version does; check what a proxy in front makes of it", "Location is at %s, not %s", place, v.base)
}

// decodedPath asks for paths that mean something else once they are cut or decoded
// a second time. last is the last letter of the tag, escaped.
func (v *visit) decodedPath() finding {
	const set = "pkg/server/lambdahttp: take rawPath as decoded already, check it against the grammar before the adapter sees it, and escape it again for the adapter; deploy the present version of the functions"
	const questionMark = imageTag + "%3Fx"
	short, last := imageTag[:len(imageTag)-1], imageTag[len(imageTag)-1]
	cases := []struct {
		ref   string
		found bool // 200 is right
		cause string
	}{
		{questionMark, false, "the path is cut at a decoded '?'"},
		{imageTag + "%23x", false, "the path is cut at a decoded '#'"},
		{short + fmt.Sprintf("%%25%02x", last), false, "the path is decoded twice"},
		{imageTag + "%25", false, "the path is decoded twice"},
		{imageTag + "%25zz", false, "the path is decoded twice"},
		{imageTag + "%2Fx", false, "a decoded '/' is passed over"},
		{strings.Replace(string(v.image.digest), ":", "%3A", 1), true, "an escaped ':' is not decoded"},
	}
	if r := v.getManifest(*v.image, string(v.image.digest)); r.status != http.StatusOK {
		return unknown(r, "%s, unescaped: see manifest-bytes", r.what())
	}
	notOurs, cut := 0, ""
	for _, c := range cases {
		r := v.do(request{method: http.MethodGet, target: v.manifestPath(c.ref), header: accepted(*v.image)})
		switch {
		case r.status >= 500:
			return wrong(r, set, "%s: expected a 4xx with an error of the spec's form", r.what())
		case r.status == 0:
			return wrong(r, set, "%s", r.what())
		case c.ref == questionMark && r.status == http.StatusOK && v.doorCuts():
			cut = "; the gateway cuts a path at an escaped '?'"
		case c.found != (r.status == http.StatusOK):
			return wrong(r, set, "%s: %s", r.what(), c.cause)
		case !c.found && !strings.Contains(string(r.body), `"errors"`):
			notOurs++
		}
	}
	if notOurs > 0 {
		return ok("%d paths, %d of them refused by the gateway itself%s", len(cases), notOurs, cut)
	}
	return ok("%d paths, each refused or served as it must be%s", len(cases), cut)
}

// doorCuts reports whether it is the gateway that cuts a path at an escaped '?': an
// HTTP API does, and no function can see it. A function that does it takes the rest
// for the query, and a list of no more than 0 names is empty.
func (v *visit) doorCuts() bool {
	names, r, err := v.tagNames(v.path("/tags/list%3Fn=0"))
	return strings.Contains(v.door(), doorHTTPAPI) && err == nil && r.status == http.StatusOK && len(names) > 0
}

func (v *visit) linkHeader() finding {
	const second = imageTag + "-2"
	if r := v.pushManifest(*v.image, second); r.status != http.StatusCreated {
		return unknown(r, "could not be prepared: %s", r.what())
	}
	all, r, err := v.tagNames(v.path("/tags/list"))
	if err != nil || r.status != http.StatusOK {
		return unknown(r, "the list cannot be read: %s", r.what())
	}
	var got []string
	for target := v.path("/tags/list?n=1"); target != ""; {
		names, page, err := v.tagNames(target)
		if err != nil || len(names) > 1 {
			return wrong(page, "the query must reach the function: rawQueryString as it is", "a page of one tag (n=1) has %d: %v", len(names), err)
		}
		got = append(got, names...)
		if len(got) > len(all) || len(names) == 0 {
			break
		}
		next, err := nextPage(page)
		switch {
		case err != nil:
			return wrong(page, "nothing in front may rewrite Link; several values must come joined with commas, as payload format 2.0 has them", "%v", err)
		case next == "" && len(got) < len(all):
			return wrong(page, "the header Link must pass: in payload format 2.0 it belongs into headers (multiValueHeaders is ignored), and a CDN in front must pass it on", "page %d of %d has no Link with rel=\"next\"", len(got), len(all))
		}
		if target = next; target != "" {
			u, _ := page.url.Parse(target) // nextPage parsed it
			if u.Host != v.base.Host || u.Scheme != v.base.Scheme {
				return wrong(page, "the function must send a relative Link, as the present version does", "Link is at %s://%s, not %s", u.Scheme, u.Host, v.base)
			}
			target = u.String()
		}
	}
	if !slices.Equal(got, all) {
		return wrong(r, "a CDN in front must keep the query and cache nothing; the gateway must pass rawQueryString on", "the pages are %v, the list is %v", got, all)
	}
	return ok("%d pages of one tag", len(got))
}

func (v *visit) tagNames(target string) ([]string, *reply, error) {
	r := v.get(target)
	var list struct{ Tags []string }
	err := errors.Join(r.err, json.Unmarshal(r.body, &list))
	return list.Tags, r, err
}

// nextPage is the target of Link with rel="next", or empty.
func nextPage(r *reply) (string, error) {
	link := r.header.Get("Link")
	if link == "" {
		return "", nil
	}
	target, params, found := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if _, err := r.url.Parse(target); !found || err != nil || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
		return "", fmt.Errorf("the header Link: %s cannot be read", link)
	}
	return target, nil
}
