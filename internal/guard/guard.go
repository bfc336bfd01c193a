// Package guard rejects requests of web pages to a server that trusts every client that can
// reach it. A page can send requests to any address that its browser reaches, and can read the
// answers if its own host name resolves to that address (DNS rebinding).
//
// It must not know the server behind it, or how an error becomes an answer.
package guard

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/client"
)

// ErrPage is returned by Check for a request of a web page from another origin.
var ErrPage = errors.New("requests from web pages are refused")

// Guard checks requests. Use New.
type Guard struct {
	host   string   // of the listen address
	remote bool     // other machines can reach it
	allow  []string // host, or host:port
}

// New returns the guard of a server that listens on listen, host:port. allow lists more hosts,
// with or without a port, that its clients use.
func New(listen string, allow []string) Guard {
	g := Guard{host: hostOf(strings.ToLower(listen)), remote: !Loopback(listen)}
	for _, a := range allow {
		g.allow = append(g.allow, strings.ToLower(a))
	}
	return g
}

// Check returns nil if the request is acceptable. The text of an error is for the client and
// says what to do.
func (g Guard) Check(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin" {
		return ErrPage
	}
	if !g.allowed(strings.ToLower(r.Host)) {
		return fmt.Errorf("requests for the host %q are refused: "+
			"use an IP address or localhost, or start the server with --allow-host and this name", r.Host)
	}
	return nil
}

// allowed accepts hosts that a page cannot control. It ignores the port: a page can be served
// on any, and a forwarded port differs from that of the server.
func (g Guard) allowed(hostport string) bool {
	host := hostOf(hostport)
	if host == "" {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true // an address is not resolved
	}
	if client.IsLoopback(host) || host == g.host || slices.Contains(g.allow, host) || slices.Contains(g.allow, hostport) {
		return true
	}
	// A name without a dot is local. Only a name server of the local network could rebind it,
	// and machines there can reach this server anyway.
	return g.remote && !strings.Contains(host, ".")
}

// hostOf returns a host without its port, and an IPv6 address without brackets.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
}

// Loopback reports whether only this machine can reach a listen address, host:port.
func Loopback(listen string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	return client.IsLoopback(strings.ToLower(host))
}
