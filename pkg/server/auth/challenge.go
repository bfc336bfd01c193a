package auth

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pierless/pierless/pkg/oci/route"
)

const (
	// basicChallenge takes one round trip less than a token service, but docker without
	// credentials does not pull after it.
	basicChallenge = `Basic realm="pierless"`
	// challengeHeader carries the challenge through gateways that rename WWW-Authenticate:
	// their configuration maps it back.
	challengeHeader = "X-Registry-Challenge"
)

// challenge returns the challenge of a refusal. If some repositories are open to callers
// without credentials, it names the token
// endpoint at the host and the scheme that the client used. Only the client itself gets
// the answer, so a forged Host header misleads no other client.
func (g *Guard) challenge(r *http.Request, kind route.Kind) string {
	anonymous, err := g.directory.Anonymous(r.Context())
	if err != nil || len(anonymous.Grants) == 0 || kind == route.Token || !isHost(r.Host) {
		return basicChallenge
	}
	return fmt.Sprintf("Bearer realm=%q,service=%q", scheme(r)+"://"+r.Host+route.Request{Kind: route.Token}.Path(), r.Host)
}

// isHost reports whether a Host header can be part of a URL and of a quoted string.
func isHost(host string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
	return host != "" && strings.Trim(host, allowed) == ""
}

// scheme returns the scheme by which the client reached the registry. A proxy that
// terminates TLS sets X-Forwarded-Proto. Without it https is the safe guess: clients send
// their password there.
func scheme(r *http.Request) string {
	forwarded, _, _ := strings.Cut(strings.ToLower(r.Header.Get("X-Forwarded-Proto")), ",")
	switch {
	case forwarded == "http", forwarded == "https":
		return forwarded
	case r.TLS == nil && isDirect(r):
		return "http"
	}
	return "https"
}

// isDirect reports whether a request without TLS came from the client itself, not from a
// proxy: its host is loopback, so that a password stays on the machine, or names the port
// on which it arrived.
func isDirect(r *http.Request) bool {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), "80"
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return true
	}
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false // a function: its gateway accepts TLS only
	}
	_, arrived, err := net.SplitHostPort(at.String())
	return err == nil && arrived == port
}
