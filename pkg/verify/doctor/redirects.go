package doctor

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/verify"
)

const noRedirect = "no redirect: the registry serves the bytes itself"

// redirect requests the layer and returns the redirect's target. It returns nil if the
// registry serves the bytes itself; any other response becomes a failed result.
func (v *visit) redirect() (*verify.Reply, *url.URL, verify.Result) {
	r := v.get(v.blobPath(v.blobs.layer.digest))
	switch {
	case r.Status == http.StatusOK:
		return r, nil, ok(noRedirect)
	case r.Status == 0:
		return r, nil, unknown(r, "%s", r)
	case r.Status < 300 || r.Status >= 400:
		return r, nil, wrong(r, "the route to the function blobs and its permissions, as in the template", "%s", r)
	}
	u, err := r.URL.Parse(r.Header.Get("Location"))
	if err != nil || r.Header.Get("Location") == "" {
		return r, nil, wrong(r, "a CDN in front must not drop Location", "%s without a URL in Location", r)
	}
	return r, u, ok("")
}

func (v *visit) blobRedirect() verify.Result {
	r, u, f := v.redirect()
	switch {
	case f.Status != verify.Passed:
		return f
	case u == nil && v.gateway() != "":
		return wrong(r, "PIERLESS_NO_REDIRECT must not be set, and PIERLESS_BUCKET must be", "%s: blobs are served through %s, which is limited to 6 MB", r, v.gateway())
	case u == nil && !bytes.Equal(r.Body, v.blobs.layer.bytes):
		return wrong(r, "the function must answer with isBase64Encoded true and base64", "the blob differs from the pushed one")
	case u == nil:
		return ok(noRedirect)
	case r.Status == http.StatusMovedPermanently || r.Status == http.StatusPermanentRedirect:
		return wrong(r, "the function must answer 307, and proxies in front must not change it", "%s: clients and CDNs cache a permanent redirect, but its URL expires", r)
	case r.Header.Get("Docker-Content-Digest") != string(v.blobs.layer.digest):
		return wrong(r, "a CDN in front must not drop Docker-Content-Digest", "%s with Docker-Content-Digest: %q", r, r.Header.Get("Docker-Content-Digest"))
	}
	return ok("%d to %s", r.Status, u.Host)
}

// followed requests the redirect's target like a client: without credentials.
func (v *visit) followed(header http.Header) (*verify.Reply, *url.URL, verify.Result) {
	r, u, f := v.redirect()
	if f.Status != verify.Passed || u == nil {
		return r, nil, f
	}
	return v.doAs(asNobody, request{Method: http.MethodGet, Target: u.String(), Header: header}), u, f
}

func (v *visit) presignedHost() verify.Result {
	r, u, f := v.followed(nil)
	if f.Status != verify.Passed || u == nil {
		return f
	}
	addresses, err := v.addresses(u.Hostname())
	region := regionOf(u)
	style := "path-style"
	if strings.Contains(u.Hostname(), ".s3.") || strings.Contains(u.Hostname(), ".s3-") {
		style = "virtual-host style"
	}
	const endpoint = "AWS_ENDPOINT_URL_S3 (and AWS_ENDPOINT_URL) of the function blobs: unset on AWS; elsewhere an address that clients can reach"
	switch real := r.Header.Get("X-Amz-Bucket-Region"); {
	case err != nil:
		return wrong(nil, endpoint, "%s cannot be resolved: %v", u.Host, err)
	case v.public(v.client.Base.Hostname()) && !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !private(a) }):
		return wrong(nil, endpoint+"; an S3 interface endpoint (VPC) is only for clients inside", "%s is a private address (%v), the registry is public", u.Host, addresses[0])
	case v.client.Base.Scheme == "https" && u.Scheme != "https":
		return wrong(nil, endpoint+": with https", "%s://%s: the bytes are not encrypted, although the registry is https", u.Scheme, u.Host)
	case r.Status == 0 && net.ParseIP(u.Hostname()) == nil && strings.Contains(bucketOf(u), ".") && style != "path-style":
		return unanswered(r, "a bucket without dots in its name: S3's certificate does not match a host with them", "%s cannot be reached: %v", u.Host, r.Err)
	case r.Status == 0:
		return unanswered(r, endpoint+"; then routes and firewalls between clients and "+u.Host, "%s cannot be reached from here: %v", u.Host, r.Err)
	case real != "" && region != "" && real != region:
		return wrong(r, "AWS_REGION of the function blobs must be the bucket's: "+real+"; deploy the stack there, or use a bucket in its region", "the URL is signed for %s, the bucket is in %s", region, real)
	case r.Status >= 300 && r.Status < 400:
		return wrong(r, "AWS_REGION of the function blobs must be the bucket's, so that the URL has its regional host", "%s redirects to another host (%d): some clients refuse a second redirect", u.Host, r.Status)
	}
	if region != "" {
		style += ", region " + region
	}
	return ok("%s (%s), %v", u.Host, style, addresses)
}

// regionOf returns the region that a URL is signed for, or empty.
func regionOf(u *url.URL) string {
	if parts := strings.Split(u.Query().Get("X-Amz-Credential"), "/"); len(parts) == 5 {
		return parts[2]
	}
	return ""
}

// bucketOf returns the bucket in a host of S3, or the whole host.
func bucketOf(u *url.URL) string {
	bucket, _, _ := strings.Cut(u.Hostname(), ".s3")
	return bucket
}

func (v *visit) presignedGet() verify.Result {
	r, u, f := v.followed(nil)
	if f.Status != verify.Passed || u == nil {
		return f
	}
	signed := u.Query().Get("X-Amz-SignedHeaders")
	switch {
	case signed != "" && signed != "host":
		return wrong(r, "presign the URL with only the host as signed header: no Range, checksum or encryption header in the presigned request (an SDK option or a middleware adds it)", "the URL requires the headers %s", signed)
	case r.Status != http.StatusOK:
		code, set := storeError(r.Body, "blobs", "s3:GetObject on the keys of blobs (and kms:Decrypt with KmsKeyArn)")
		return wrong(r, set, "%s answered %d %s", u.Host, r.Status, code)
	case !bytes.Equal(r.Body, v.blobs.layer.bytes):
		return wrong(r, "proxies in front of the bucket must not change objects", "%s returned %d bytes that differ from the %d pushed", u.Host, len(r.Body), len(v.blobs.layer.bytes))
	}
	return ok("%d bytes without extra headers", len(r.Body))
}

// storeError returns the code of an S3 error and the setting to change, which depends on
// the function that signed the request and the permissions that its role needs.
func storeError(body []byte, function, permissions string) (code, set string) {
	var e struct{ Code string }
	if xml.Unmarshal(body, &e) != nil {
		e.Code = ""
	}
	switch e.Code {
	case "AccessDenied":
		return e.Code, "the role of the function " + function + " needs " + permissions + "; the bucket policy must not deny clients by network or header"
	case "SignatureDoesNotMatch":
		return e.Code, "the URL must reach S3 unchanged, as it was signed: no added query parameters, the same host, and no signed header except Host"
	case "RequestTimeTooSkewed":
		return e.Code, "the clock of the signing machine"
	case "ExpiredToken", "InvalidToken", "InvalidAccessKeyId":
		return e.Code, "the function must sign with its role's current credentials: do not set AWS_ACCESS_KEY_ID in its environment"
	case "NoSuchKey", "NoSuchBucket":
		return e.Code, "PIERLESS_BUCKET must be the same for all functions"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect":
		return e.Code, "AWS_REGION of the function " + function + " must be the bucket's"
	case "XAmzContentChecksumMismatch", "BadDigest", "InvalidDigest":
		return e.Code, "proxies between clients and the bucket must not change bytes"
	case "NotImplemented":
		return e.Code, "a store with conditional writes (If-None-Match) and SHA-256 checksums, as S3 has"
	}
	if strings.HasPrefix(e.Code, "KMS.") {
		return e.Code, "the key KmsKeyArn: enabled, in the region of the bucket, and with a key policy that delegates to IAM policies of the account"
	}
	return e.Code, "see the response of the store below"
}

func (v *visit) presignedRange() verify.Result {
	r, u, f := v.followed(http.Header{"Range": {"bytes=1000-1999"}})
	if f.Status != verify.Passed {
		return f
	}
	if u == nil {
		r = v.do(request{Method: http.MethodGet, Target: v.blobPath(v.blobs.layer.digest), Header: http.Header{"Range": {"bytes=1000-1999"}}})
	}
	switch {
	case r.Status != http.StatusPartialContent:
		return wrong(r, "Range must reach the store: it must not be signed, and a CDN in front must forward it", "%d to a request of 1000 bytes of %d", r.Status, len(v.blobs.layer.bytes))
	case !bytes.Equal(r.Body, v.blobs.layer.bytes[1000:2000]):
		return wrong(r, "proxies in front of the bucket must not change objects", "206 with other bytes than requested")
	}
	return ok("206 with the requested bytes")
}

// signedAt is the format of X-Amz-Date.
const signedAt = "20060102T150405Z"

func (v *visit) presignedExpiry() verify.Result {
	r, u, f := v.redirect()
	if f.Status != verify.Passed || u == nil {
		return f
	}
	seconds, err := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
	if err != nil {
		if regexp.MustCompile(`(?i)signature|expires|token`).MatchString(u.RawQuery) {
			return unknown(r, "the URL is signed without X-Amz-Expires")
		}
		return wrong(r, "presigned URLs: the redirect must not lead to a public bucket", "the URL at %s is not signed", u.Host)
	}
	expiry := time.Duration(seconds) * time.Second
	seen := fmt.Sprintf("valid for %s", expiry)
	if date, err := time.Parse(signedAt, u.Query().Get("X-Amz-Date")); err == nil {
		seen += fmt.Sprintf(", signed %s ago", time.Since(date).Round(time.Second))
	}
	if expiry > v.opts.MaxExpiry {
		return wrong(r, "deploy the current version of the function blobs: it always signs for 20 minutes", "%s, more than %s", seen, v.opts.MaxExpiry)
	}
	return ok("%s", seen)
}
