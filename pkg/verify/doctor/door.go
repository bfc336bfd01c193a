package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// IDs that other code names.
const (
	idTLS          = "tls"
	idHTTPRedirect = "http-redirect"
	idAPIEndpoint  = "api-endpoint"
)

const (
	maxSkew     = 5 * time.Minute    // S3 refuses signatures that are 15 minutes off
	renewBefore = 7 * 24 * time.Hour // ACM renews 60 days before the end
	portTimeout = 5 * time.Second    // for a port that drops packets
	warmPings   = 5
)

func doorChecks() []Check {
	return []Check{
		{
			ID: idTLS, Asks: "The address is https with a valid certificate, or this machine or network.",
			Breaks: "docker and containerd refuse plain HTTP and unknown certificates; passwords are read on the way", run: (*visit).tls,
		},
		{
			ID: "front-door", Asks: "What answers, by its headers (reported).",
			Breaks: "nobody: it decides what to set elsewhere", run: (*visit).frontDoor,
		},
		{
			ID: idHTTPRedirect, Asks: "Port 80 is closed, or sends to https.",
			Breaks: "a client that was told plain HTTP sends its password for everybody to read", run: (*visit).httpRedirect,
		},
		{
			ID: "http2", Asks: "The protocol (reported).",
			Breaks: "nobody: layers come from S3, over connections of their own", run: (*visit).http2,
		},
		{
			ID: "latency", Asks: "GET /v2/ at first and then (reported).",
			Breaks: "nobody: the first is a cold start, if no request came for a while", run: (*visit).latency,
		},
		{
			ID: "clock", Asks: "The registry's clock and this machine's differ by at most 5 minutes.",
			Breaks: "presigned URLs: S3 answers 403 RequestTimeTooSkewed or takes them for expired", run: (*visit).clock,
		},
		{
			ID: idAPIEndpoint, Asks: "The address that API Gateway gives is closed where a host name of one's own is used.",
			Breaks: "whoever relies on a firewall or CDN in front of that host name: this is a way past it", run: (*visit).apiEndpoint,
		},
	}
}

func (v *visit) tls() finding {
	const certificate = "CertificateArn: a certificate of ACM for this host name, issued and in the right region (that of the stack; us-east-1 for CloudFront)"
	var invalid *tls.CertificateVerificationError
	if errors.As(v.first.err, &invalid) {
		return wrong(v.first, certificate, "the certificate is not trusted: %v", invalid.Err)
	}
	if v.base.Scheme == "http" {
		if v.public(v.base.Hostname()) {
			return wrong(nil, "use the https address; behind a host name of your own, DomainName and CertificateArn of the template", "plain HTTP to a public host")
		}
		return ok("plain HTTP to %s, which is not public", v.base.Host)
	}
	state := v.first.resp.TLS
	if state == nil || len(state.PeerCertificates) == 0 {
		return unknown(v.first, "the connection does not show its certificate")
	}
	end := state.PeerCertificates[0].NotAfter
	seen := fmt.Sprintf("%s, certificate of %q until %s", tls.VersionName(state.Version), cmp.Or(state.PeerCertificates[0].Issuer.String(), "itself"), end.Format(time.DateOnly))
	switch {
	case state.Version < tls.VersionTLS12:
		return wrong(nil, "SecurityPolicy: TLS_1_2 at the custom domain", "%s", seen)
	case time.Until(end) < renewBefore:
		return wrong(nil, certificate+": its renewal hangs, most often because the DNS record of its validation is gone", "%s", seen)
	}
	return ok("%s", seen)
}

// public reports whether a host has an address outside of private networks. One
// that cannot be found counts as public: nothing is known in its favour.
func (v *visit) public(host string) bool {
	addresses, err := v.addresses(host)
	return err != nil || slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !private(a) })
}

func (v *visit) addresses(host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return v.opts.Lookup(v.ctx, host)
}

func private(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()
}

const doorHTTPAPI = "API Gateway HTTP API"

// doors are told apart by a header that each adds.
func doors() [][2]string {
	return [][2]string{
		{"X-Amz-Cf-Id", "CloudFront"},
		{"Apigw-Requestid", doorHTTPAPI},
		{"X-Amz-Apigw-Id", "API Gateway REST API"},
		{"X-Amzn-Requestid", "a Lambda function URL"},
	}
}

// door names what is in front of the functions, or is empty.
func (v *visit) door() string {
	var found []string
	for _, d := range doors() {
		if v.first.header.Get(d[0]) != "" {
			found = append(found, d[1])
		}
	}
	if len(found) > 1 && found[len(found)-1] == doors()[3][1] {
		found = found[:len(found)-1] // the gateways may send that header too
	}
	return strings.Join(found, ", then ")
}

func (v *visit) frontDoor() finding {
	seen := cmp.Or(v.door(), "no gateway of AWS that shows itself")
	for _, name := range []string{"Server", "Via", "Docker-Distribution-Api-Version"} {
		if value := v.first.header.Get(name); value != "" {
			seen += "; " + name + ": " + value
		}
	}
	return ok("%s", seen)
}

func (v *visit) httpRedirect() finding {
	ctx, cancel := context.WithTimeout(v.ctx, portTimeout)
	defer cancel()
	probe := *v
	probe.ctx = ctx
	r := probe.get("http://" + v.base.Host + "/v2/")
	location, err := r.url.Parse(r.header.Get("Location"))
	switch {
	case r.err != nil:
		return ok("nothing answers on port 80")
	case r.status >= 300 && r.status < 400 && err == nil && location.Scheme == "https":
		return ok("%d to https", r.status)
	case r.status == http.StatusForbidden || r.status == http.StatusNotFound:
		return ok("port 80 answers %d", r.status)
	}
	return wrong(r, "CloudFront: ViewerProtocolPolicy redirect-to-https or https-only; a load balancer: a listener on port 80 that redirects, or none", "%s over plain HTTP", r.what())
}

func (v *visit) http2() finding {
	if v.base.Scheme == "http" {
		return ok("%s, as always without TLS", v.first.resp.Proto)
	}
	return ok("%s", v.first.resp.Proto)
}

func (v *visit) latency() finding {
	var took []time.Duration
	for range warmPings {
		r := v.get("/v2/")
		if r.err != nil {
			return unknown(r, "%s", r.what())
		}
		took = append(took, r.took)
	}
	slices.Sort(took)
	return ok("first %s with the connection, then %s (median of %d)", round(v.first.took), round(took[len(took)/2]), len(took))
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func (v *visit) clock() finding {
	r := v.get("/v2/")
	middle := time.Now().Add(-r.took / 2)
	date, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		return unknown(r, "no Date in the answer to GET /v2/")
	}
	skew := date.Sub(middle)
	if skew.Abs() > maxSkew {
		return wrong(r, "set this machine's clock (timedatectl set-ntp true), or the clock of the machine that the registry runs on: AWS's own are right", "the registry's clock is %s off this machine's", skew.Round(time.Second))
	}
	return ok("%s apart", skew.Round(time.Second).Abs())
}

func (v *visit) apiEndpoint() finding {
	base, err := parseBase(v.opts.APIEndpoint)
	if err != nil {
		return unknown(nil, "%v", err)
	}
	r := v.do(request{method: http.MethodGet, target: base.String() + "/v2/", as: asNobody})
	switch {
	case base.Host == v.base.Host:
		return unknown(nil, "this is the address of the registry itself: give a host name of your own as URL")
	case r.status == http.StatusOK || r.status == http.StatusUnauthorized:
		return wrong(r, "DisableExecuteApiEndpoint: true at the AWS::ApiGatewayV2::Api", "%s at %s: the registry", r.what(), base.Host)
	case r.status == 0 || r.status >= 500:
		return unknown(r, "%s", r.what())
	}
	return ok("%s", r.what())
}
