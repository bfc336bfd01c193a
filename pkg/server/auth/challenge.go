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
	// basicChallenge takes a round trip less than a token service. But docker does not
	// pull without credentials if it gets it.
	basicChallenge = `Basic realm="pierless"`
	// challengeHeader carries the challenge past gateways that rename WWW-Authenticate:
	// their configuration maps it back.
	challengeHeader = "X-Registry-Challenge"
)

// challenge returns the challenge that a request is refused with. With anonymous pull
// it names the token endpoint, at the host and the scheme that the client used: only
// the client itself gets the answer, so a forged Host misleads nobody else.
func (g guard) challenge(r *http.Request, kind route.Kind) string {
	if !g.opts.AnonymousPull || kind == route.Token || !isHost(r.Host) {
		return basicChallenge
	}
	return fmt.Sprintf("Bearer realm=%q,service=%q", scheme(r)+"://"+r.Host+route.Request{Kind: route.Token}.Path(), r.Host)
}

// isHost reports whether a Host header can be part of a URL and of a quoted string.
func isHost(host string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
	return host != "" && strings.Trim(host, allowed) == ""
}

// scheme returns the scheme by which the client reached the registry. A proxy that ends
// TLS says so in X-Forwarded-Proto. If it does not, https is the safe guess: clients
// send their password there.
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

// isDirect reports whether a request without TLS came from the client itself: to a
// loopback host, which a password does not leave, or to the port on which it arrived.
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
		return false // a function: its gateway is reached by TLS alone
	}
	_, arrived, err := net.SplitHostPort(at.String())
	return err == nil && arrived == port
}
