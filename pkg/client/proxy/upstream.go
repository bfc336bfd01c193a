package proxy

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// own reports whether a URL is on the registry's own host. The scheme, and with it the
// default port, may differ: a gateway in front may not have told the registry its scheme.
func own(upstream, u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return false
	}
	return strings.EqualFold(u.Host, upstream.Host) || hostPort(u) == hostPort(upstream)
}

func hostPort(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// relative removes the registry's own host from a URL, so that the client returns to the
// proxy. It leaves every other URL unchanged.
func relative(upstream *url.URL, location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || !own(upstream, upstream.ResolveReference(u)) { // "//host" has no scheme
		return location
	}
	_, rest, _ := strings.Cut(location, "//")
	at := strings.IndexAny(rest, "/?#")
	switch {
	case at < 0:
		return "/"
	case rest[at] != '/':
		return "/" + rest[at:]
	case strings.HasPrefix(rest[at:], "//"):
		return location // without the host it would name another one
	}
	return rest[at:]
}

var (
	linkTarget  = regexp.MustCompile(`<[^<>]*>`)
	bearerRealm = regexp.MustCompile(`(?i)\brealm="([^"]*)"`)
)

// relativeLinks applies relative to the targets of a Link header (RFC 8288).
func relativeLinks(upstream *url.URL, link string) string {
	return linkTarget.ReplaceAllStringFunc(link, func(target string) string {
		return "<" + relative(upstream, target[1:len(target)-1]) + ">"
	})
}

// localRealm points a token service on the registry's own host to the proxy, because crane
// rejects other hosts for a registry at a private address. Other realms stay as they are, and
// so does one with https if the registry is reached over http: the proxy would send the
// password in the clear.
func localRealm(upstream *url.URL, challenge, host string) string {
	if scheme, _, _ := strings.Cut(challenge, " "); !strings.EqualFold(scheme, "Bearer") {
		return challenge
	}
	return bearerRealm.ReplaceAllStringFunc(challenge, func(param string) string {
		realm := bearerRealm.FindStringSubmatch(param)[1]
		path := relative(upstream, realm)
		if path == realm || !strings.HasPrefix(path, "/") || upstream.Scheme == "http" && strings.HasPrefix(strings.ToLower(realm), "https:") {
			return param
		}
		return `realm="http://` + host + path + `"`
	})
}

// localize rewrites the headers of an answer that lead to the registry's host.
func localize(upstream *url.URL, h http.Header, host string) {
	edit := func(name string, f func(string) string) {
		for i, v := range h[name] {
			h[name][i] = f(v)
		}
	}
	edit("Location", func(v string) string { return relative(upstream, v) })
	edit("Link", func(v string) string { return relativeLinks(upstream, v) })
	edit("Www-Authenticate", func(v string) string { return localRealm(upstream, v, host) })
	// Both are about the registry's host; the client would apply them to the proxy.
	h.Del("Alt-Svc")
	h.Del("Strict-Transport-Security")
}
