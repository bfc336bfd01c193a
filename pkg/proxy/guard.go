package proxy

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// guard keeps web pages out. They can make a browser on this machine send requests to
// loopback addresses, and let a name of their own point there, under which the browser
// lets them read the answers too.
type guard struct {
	host  string // that we were told to listen on, without the port
	port  string // that we listen on; empty if it is not known
	allow []string
}

func newGuard(listen string, allow []string) guard {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		host, port = listen, ""
	}
	g := guard{host: strings.ToLower(host), port: port}
	for _, a := range allow {
		g.allow = append(g.allow, strings.ToLower(a))
	}
	return g
}

// check says why a request is refused. The error is DENIED.
func (g guard) check(r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin" {
		return oci.NewError(oci.Denied, "this proxy takes no requests from web pages")
	}
	if !g.allowed(r) {
		return oci.NewError(oci.Denied, "this proxy was not told to answer for this host: use the address that it listens on, or start it with --allow-host")
	}
	return nil
}

func (g guard) allowed(r *http.Request) bool {
	host, port := splitHost(strings.ToLower(r.Host))
	if slices.Contains(g.allow, strings.ToLower(r.Host)) {
		return true // with a port of its own, as behind a forwarded port
	}
	if port == "" {
		port = "80"
	}
	if g.port != "" && port != g.port || host == "" {
		return false
	}
	return client.IsLoopback(host) || host == g.host || slices.Contains(g.allow, host) || host == localIP(r)
}

// splitHost takes the port off a host, and the brackets off an IPv6 address.
func splitHost(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

// localIP is the address at which a request arrived: who says it in numbers has asked no
// name server.
func localIP(r *http.Request) string {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return ""
	}
	return at.AddrPort().Addr().Unmap().WithZone("").String()
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
