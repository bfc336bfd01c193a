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

	"github.com/pierless/pierless/pkg/verify"
)

const (
	maxSkew     = 5 * time.Minute    // S3 refuses signatures that are off by 15 minutes
	renewBefore = 7 * 24 * time.Hour // ACM renews 60 days before the expiry
	portTimeout = 5 * time.Second    // for a port that drops packets
	warmPings   = 5
)

func (v *visit) tls() verify.Result {
	const certificate = "CertificateArn: a certificate of ACM for this host name, issued, in the region of the stack (us-east-1 for CloudFront)"
	var invalid *tls.CertificateVerificationError
	if errors.As(v.first.Err, &invalid) {
		return unanswered(v.first, certificate, "the certificate is not trusted: %v", invalid.Err)
	}
	if v.client.Base.Scheme == "http" {
		if v.public(v.client.Base.Hostname()) {
			return wrong(nil, "use the https address; for a custom domain, set DomainName and CertificateArn of the template", "plain HTTP to a public host")
		}
		return ok("plain HTTP to %s, which is not public", v.client.Base.Host)
	}
	state := v.first.Response.TLS
	if state == nil || len(state.PeerCertificates) == 0 {
		return unknown(v.first, "the connection has no certificate to examine")
	}
	end := state.PeerCertificates[0].NotAfter
	seen := fmt.Sprintf("%s, certificate of %q until %s", tls.VersionName(state.Version), cmp.Or(state.PeerCertificates[0].Issuer.String(), "itself"), end.Format(time.DateOnly))
	switch {
	case state.Version < tls.VersionTLS12:
		return wrong(nil, "SecurityPolicy: TLS_1_2 of the custom domain", "%s", seen)
	case time.Until(end) < renewBefore:
		return wrong(nil, certificate+": its renewal failed, usually because the DNS record for its validation was removed", "%s", seen)
	}
	return ok("%s", seen)
}

// public reports whether a host has an address outside of private networks. A host that
// cannot be resolved counts as public.
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

const httpAPI = "API Gateway HTTP API"

// gateways are the services of AWS that can be in front of the functions, by a response
// header that only they add.
func gateways() [][2]string {
	return [][2]string{
		{"X-Amz-Cf-Id", "CloudFront"},
		{"Apigw-Requestid", httpAPI},
		{"X-Amz-Apigw-Id", "API Gateway REST API"},
		{"X-Amzn-Requestid", "a Lambda function URL"},
	}
}

// gateway names the services in front of the functions, or is empty.
func (v *visit) gateway() string {
	var found []string
	for _, g := range gateways() {
		if v.first.Header.Get(g[0]) != "" {
			found = append(found, g[1])
		}
	}
	if len(found) > 1 && found[len(found)-1] == gateways()[3][1] {
		found = found[:len(found)-1] // the gateways may send that header too
	}
	return strings.Join(found, ", then ")
}

func (v *visit) frontDoor() verify.Result {
	seen := cmp.Or(v.gateway(), "no gateway of AWS recognized")
	for _, name := range []string{"Server", "Via", "Docker-Distribution-Api-Version"} {
		if value := v.first.Header.Get(name); value != "" {
			seen += "; " + name + ": " + value
		}
	}
	return ok("%s", seen)
}

func (v *visit) httpRedirect() verify.Result {
	ctx, cancel := context.WithTimeout(v.ctx, portTimeout)
	defer cancel()
	limited := *v
	limited.ctx = ctx
	r := limited.get("http://" + v.client.Base.Host + "/v2/")
	location, err := r.URL.Parse(r.Header.Get("Location"))
	switch {
	case r.Err != nil:
		return ok("nothing answers on port 80")
	case r.Status >= 300 && r.Status < 400 && err == nil && location.Scheme == "https":
		return ok("%d to https", r.Status)
	case r.Status == http.StatusForbidden || r.Status == http.StatusNotFound:
		return ok("port 80 answers %d", r.Status)
	}
	return wrong(r, "CloudFront: ViewerProtocolPolicy redirect-to-https or https-only; a load balancer: a listener on port 80 that redirects, or none", "%s over plain HTTP", r)
}

func (v *visit) http2() verify.Result {
	if v.client.Base.Scheme == "http" {
		return ok("%s, without TLS", v.first.Response.Proto)
	}
	return ok("%s", v.first.Response.Proto)
}

func (v *visit) latency() verify.Result {
	var took []time.Duration
	for range warmPings {
		r := v.get("/v2/")
		if r.Err != nil {
			return unknown(r, "%s", r)
		}
		took = append(took, r.Took)
	}
	slices.Sort(took)
	return ok("first %s with the connection, then %s (median of %d)", round(v.first.Took), round(took[len(took)/2]), len(took))
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func (v *visit) clock() verify.Result {
	r := v.get("/v2/")
	middle := time.Now().Add(-r.Took / 2)
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return unknown(r, "no Date in the response to GET /v2/")
	}
	skew := date.Sub(middle)
	if skew.Abs() > maxSkew {
		return wrong(r, "set this machine's clock (timedatectl set-ntp true), or that of the registry's machine if it is not on AWS", "the registry's clock is %s off this machine's", skew.Round(time.Second))
	}
	return ok("%s apart", skew.Round(time.Second).Abs())
}

func (v *visit) apiEndpoint() verify.Result {
	endpoint, err := newClient(v.opts, v.opts.APIEndpoint)
	if err != nil {
		return unknown(nil, "%v", err)
	}
	base := endpoint.Base
	r := v.doAs(asNobody, request{Method: http.MethodGet, Target: base.String() + "/v2/"})
	switch {
	case base.Host == v.client.Base.Host:
		return unknown(nil, "this is the address of the registry itself: give the custom domain as URL")
	case r.Status == http.StatusOK || r.Status == http.StatusUnauthorized:
		return wrong(r, "DisableExecuteApiEndpoint: true in AWS::ApiGatewayV2::Api", "%s at %s: the registry", r, base.Host)
	case r.Status == 0 || r.Status >= 500:
		return unknown(r, "%s", r)
	}
	return ok("%s", r)
}
