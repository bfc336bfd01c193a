// Package guard refuses requests that web pages make to a server which trusts the
// machines that can reach it: a page can send requests to any address that its browser
// reaches, and read the answers if it makes its own host name point there (DNS rebinding).
//
// It must not know what it protects, or how a refusal is written.
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

// ErrPage is returned by Check for a request that a web page of another origin sent.
var ErrPage = errors.New("requests from web pages are refused")

// Guard checks requests. Use New.
type Guard struct {
	host   string   // to listen on, without the port
	remote bool     // other machines can reach it
	allow  []string // host, or host:port
}

// New returns the guard of a server that listens on listen, host:port. allow are more
// hosts, with or without a port, under which its clients know it.
func New(listen string, allow []string) Guard {
	g := Guard{host: hostOf(strings.ToLower(listen)), remote: !Loopback(listen)}
	for _, a := range allow {
		g.allow = append(g.allow, strings.ToLower(a))
	}
	return g
}

// Check returns the reason to refuse a request, or nil. The reason is meant for the
// client: it says what to do.
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

// allowed accepts the hosts that no page can have made its own. The port does not
// matter: a page can be served on any, and forwarded ports differ from ours.
func (g Guard) allowed(hostport string) bool {
	host := hostOf(hostport)
	if host == "" {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true // no name server was asked
	}
	if client.IsLoopback(host) || host == g.host || slices.Contains(g.allow, host) || slices.Contains(g.allow, hostport) {
		return true
	}
	// A name without a dot is one of the local network. Only its name server could make
	// it point elsewhere, and machines there reach this server anyway.
	return g.remote && !strings.Contains(host, ".")
}

// hostOf takes the port off a host, and the brackets off an IPv6 address.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
}

// Loopback reports whether an address to listen on, host:port, can be reached from this
// machine alone.
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
