package proxy

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// own reports whether a URL is on the registry's own host. A gateway in front may not
// have told the registry its scheme: that may be another one, and so its usual port.
func own(upstream, u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return false
	}
	return strings.EqualFold(u.Host, upstream.Host) || hostPort(u) == hostPort(upstream)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// relative takes the registry's own host off a URL, so that the client comes back here;
// every other URL stays as it is.
func relative(upstream *url.URL, location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "" && !own(upstream, u) {
		return location
	}
	if u.Scheme == "" { // "//host/path"
		withScheme := *u
		if withScheme.Scheme = upstream.Scheme; !own(upstream, &withScheme) {
			return location
		}
	}
	_, rest, _ := strings.Cut(location, "//")
	at := strings.IndexAny(rest, "/?#")
	if at < 0 {
		return "/"
	}
	if rest[at] != '/' {
		return "/" + rest[at:]
	}
	if strings.HasPrefix(rest[at:], "//") {
		return location // without the host it would name another one
	}
	return rest[at:]
}

var (
	linkTarget  = regexp.MustCompile(`<[^<>]*>`)
	bearerRealm = regexp.MustCompile(`(?i)\brealm="([^"]*)"`)
)

// relativeLinks is relative for a Link header (RFC 8288).
func relativeLinks(upstream *url.URL, link string) string {
	return linkTarget.ReplaceAllStringFunc(link, func(target string) string {
		return "<" + relative(upstream, target[1:len(target)-1]) + ">"
	})
}

// localRealm turns the address of a token service that is on the registry's own host into
// one here: crane refuses another one on a private address. The path stays, and so does
// every other realm: one with https too where we speak http, which is no way for a password.
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

// localize makes an answer of the registry one of this host.
func localize(upstream *url.URL, h http.Header, host string) {
	edit := func(name string, f func(string) string) {
		for i, v := range h[name] {
			h[name][i] = f(v)
		}
	}
	edit("Location", func(v string) string { return relative(upstream, v) })
	edit("Link", func(v string) string { return relativeLinks(upstream, v) })
	edit("Www-Authenticate", func(v string) string { return localRealm(upstream, v, host) })
	// Both speak of the registry's host, and would be taken for words about this one.
	h.Del("Alt-Svc")
	h.Del("Strict-Transport-Security")
}
