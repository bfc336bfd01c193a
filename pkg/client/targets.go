package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// TargetError is a request that was refused: the registry chose its URL (a presigned request,
// a redirect, the Location of an upload, a token service), and no registry may send this
// client there.
type TargetError struct {
	Registry string // host[:port]
	Host     string // host[:port] of the request
	Reason   string
	// Internal is set if Options.InternalHosts could allow the request.
	Internal bool
}

// Error returns both hosts and the reason.
func (e *TargetError) Error() string {
	return fmt.Sprintf("the registry %s sends this client to %s: refused, because %s", e.Registry, e.Host, e.Reason)
}

// Hostname returns the host without its port, as Options.InternalHosts takes it.
func (e *TargetError) Hostname() string { return (&url.URL{Host: e.Host}).Hostname() }

// targetGuard is the transport of one client. It passes requests to the registry's own origin.
// All others were chosen by the registry: it limits them to the registry's scheme, and to
// networks that are not nearer to this machine than the registry. Token services, which see
// passwords, must be on the registry's own host or at a public address.
//
// Addresses are checked when they are dialled, after the name was resolved: NewTransport does
// that, another transport must do it itself. An HTTP proxy resolves names itself; then only
// addresses in URLs are checked.
type targetGuard struct {
	next     http.RoundTripper
	registry url.URL
	internal []string // hosts, in lower case, that may have any address

	mu   sync.Mutex
	seen bool
	at   network // of the registry: the farthest of all its addresses seen
}

// tokenRequestKey marks the context of a request to a token service.
type tokenRequestKey struct{}

func newTargetGuard(next http.RoundTripper, registry url.URL, internal []string) *targetGuard {
	g := &targetGuard{next: next, registry: registry}
	for _, host := range internal {
		g.internal = append(g.internal, strings.ToLower(host))
	}
	g.at, _ = networkOf(registry.Hostname()) // until an address is seen; public for a name
	return g
}

// RoundTrip implements http.RoundTripper.
func (g *targetGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	proxied := isProxied(g.next, req)
	if sameOrigin(req.URL, &g.registry) {
		if !proxied {
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: g.gotConn}))
		}
		return g.next.RoundTrip(req)
	}
	if err := g.check(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if !proxied && !g.isInternal(req.URL) {
		req = req.WithContext(context.WithValue(req.Context(), dialCheckKey{}, dialCheck(func(address netip.Addr) error {
			return g.checkNetwork(req, address.String(), classify(address))
		})))
	}
	return g.next.RoundTrip(req)
}

// check checks the URL itself.
func (g *targetGuard) check(req *http.Request) error {
	u := req.URL
	if g.registry.Scheme == "https" && u.Scheme != "https" {
		return &TargetError{
			Registry: g.registry.Host, Host: u.Host,
			Reason: "its scheme is " + u.Scheme + ", and the registry's is https",
		}
	}
	if n, known := networkOf(u.Hostname()); known && !g.isInternal(u) {
		return g.checkNetwork(req, u.Hostname(), n)
	}
	return nil
}

// checkNetwork checks the network of an address that a request leads to.
func (g *targetGuard) checkNetwork(req *http.Request, address string, to network) error {
	g.mu.Lock()
	at := g.at
	g.mu.Unlock()
	reason := fmt.Sprintf("%s is a %s address, and the registry has a %s one", address, to, at)
	if req.Context().Value(tokenRequestKey{}) != nil && !strings.EqualFold(req.URL.Hostname(), g.registry.Hostname()) {
		at, reason = public, fmt.Sprintf("%s is a %s address, which a token service on another host must not have", address, to)
	}
	if at.mayLeadTo(to) {
		return nil
	}
	return &TargetError{Registry: g.registry.Host, Host: req.URL.Host, Internal: true, Reason: reason}
}

// isInternal reports whether the host of a URL is one of Options.InternalHosts.
func (g *targetGuard) isInternal(u *url.URL) bool {
	return slices.Contains(g.internal, strings.ToLower(u.Hostname()))
}

// gotConn records the registry's network. A name may have several addresses, or others from
// time to time: the farthest counts, so that a name which once resolves to this machine gains
// nothing.
func (g *targetGuard) gotConn(info httptrace.GotConnInfo) {
	at, err := netip.ParseAddrPort(info.Conn.RemoteAddr().String())
	if err != nil {
		return // not TCP
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := classify(at.Addr())
	if !g.seen || n < g.at {
		g.seen, g.at = true, n
	}
}

// network is a class of addresses, ordered from far to near.
type network int

const (
	public    network = iota
	private           // RFC 1918, RFC 4193, RFC 6598
	loopback          // this machine
	linkLocal         // among others, the metadata services of clouds
)

func (n network) String() string {
	return [...]string{"public", "private", "loopback", "link-local"}[n]
}

// mayLeadTo reports whether a registry in network n may send clients to an address in network
// to. A registry on this machine reaches its private networks anyway.
func (n network) mayLeadTo(to network) bool {
	return to == public || to == n || to == private && n == loopback
}

// networkOf returns the network of a host that is an address or a name of this machine.
func networkOf(host string) (n network, known bool) {
	host = strings.ToLower(host)
	if IsLoopback(host) {
		return loopback, true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return public, false
	}
	return classify(address), true
}

// classify returns the network of an address.
func classify(address netip.Addr) network {
	address = address.Unmap().WithZone("")
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(address) { // RFC 6052: an IPv4 address
		b := address.As16()
		address = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case address.IsLoopback(), address.IsUnspecified(): // the latter is dialled as the former
		return loopback
	case address.IsLinkLocalUnicast(), address.IsMulticast(),
		netip.MustParsePrefix("fd00:ec2::/32").Contains(address), // metadata of EC2
		netip.MustParsePrefix("192.0.0.0/24").Contains(address):  // RFC 6890; metadata of Oracle's cloud
		return linkLocal
	case address.IsPrivate(), netip.MustParsePrefix("100.64.0.0/10").Contains(address):
		return private
	}
	return public
}

// dialCheck returns an error for an address that must not be dialled.
type dialCheck func(netip.Addr) error

// dialCheckKey is the key of the dialCheck in the context of a request.
type dialCheckKey struct{}

// checkedDial dials addresses that the dialCheck of the request allows. Kept connections are
// safe: they are kept by host, and all requests of a client to a host have the same check.
func checkedDial(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	checked := *d
	checked.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		check, ok := ctx.Value(dialCheckKey{}).(dialCheck)
		if !ok {
			return nil
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return errors.New("the address to connect to is not a TCP address")
		}
		return check(at.Addr())
	}
	return checked.DialContext
}

// isProxied reports whether a transport sends a request to an HTTP proxy.
func isProxied(transport http.RoundTripper, req *http.Request) bool {
	switch t := transport.(type) {
	case interface{ Unwrap() http.RoundTripper }:
		return isProxied(t.Unwrap(), req)
	case *http.Transport:
		if t.Proxy == nil {
			return false
		}
		proxy, err := t.Proxy(req)
		return err == nil && proxy != nil
	}
	return false
}
