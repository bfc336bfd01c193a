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
)

func redirectChecks() []Check {
	return []Check{
		{
			ID: "blob-redirect", Asks: "GET of a blob is sent to the store with 307, and the answer has the digest.",
			Breaks: "layers over 6 MB, where a Lambda function would send them itself; crane and oras read the digest from this answer", needs: needBlobs, run: (*visit).blobRedirect,
		},
		{
			ID: "presigned-host", Asks: "The host that pulls are sent to can be reached from here, with https, and is in the bucket's region.",
			Breaks: "every pull", needs: needBlobs, run: (*visit).presignedHost,
		},
		{
			ID: "presigned-get", Asks: "The presigned URL gives the blob to a plain GET, without a header of any kind.",
			Breaks: "every pull: clients send no header that they were not told of", needs: needBlobs, run: (*visit).presignedGet,
		},
		{
			ID: "presigned-range", Asks: "The presigned URL serves ranges.",
			Breaks: "podman, containerd and docker resume a download that broke off; lazy pulls", needs: needBlobs, run: (*visit).presignedRange,
		},
		{
			ID: "presigned-expiry", Asks: "The presigned URL expires soon, 20 minutes at most unless told otherwise.",
			Breaks: "whoever finds the URL in a log can fetch the blob until then", needs: needBlobs, run: (*visit).presignedExpiry,
		},
	}
}

const noRedirect = "no redirect: the registry sends the bytes itself"

// redirect asks for the layer and returns where the client is sent; nil where the
// registry sends the bytes itself. The finding is not OK where neither is so.
func (v *visit) redirect() (*reply, *url.URL, finding) {
	r := v.get(v.blobPath(v.blobs.layer.digest))
	switch {
	case r.status == http.StatusOK:
		return r, nil, ok(noRedirect)
	case r.status == 0:
		return r, nil, unknown(r, "%s", r.what())
	case r.status < 300 || r.status >= 400:
		return r, nil, wrong(r, "the route to the function blobs ('make template' writes it), and its permissions", "%s", r.what())
	}
	u, err := r.url.Parse(r.header.Get("Location"))
	if err != nil || r.header.Get("Location") == "" {
		return r, nil, wrong(r, "Location must pass: a CDN in front must not drop it", "%s without a URL in Location", r.what())
	}
	return r, u, ok("")
}

func (v *visit) blobRedirect() finding {
	r, u, f := v.redirect()
	switch {
	case f.verdict != OK:
		return f
	case u == nil && v.door() != "":
		return wrong(r, "PIERLESS_NO_REDIRECT must not be set, and PIERLESS_BUCKET must be", "%s: blobs come through %s, which ends at 6 MB", r.what(), v.door())
	case u == nil && !bytes.Equal(r.body, v.blobs.layer.bytes):
		return wrong(r, "the function must answer with isBase64Encoded true and base64", "the blob has other bytes than were pushed")
	case u == nil:
		return ok(noRedirect)
	case r.status == http.StatusMovedPermanently || r.status == http.StatusPermanentRedirect:
		return wrong(r, "the function must answer 307: nothing in front may change it", "%s: clients and CDNs keep a permanent redirect, the URL expires", r.what())
	case r.header.Get("Docker-Content-Digest") != string(v.blobs.layer.digest):
		return wrong(r, "Docker-Content-Digest must pass: a CDN in front must not drop it", "%s with Docker-Content-Digest: %q", r.what(), r.header.Get("Docker-Content-Digest"))
	}
	return ok("%d to %s", r.status, u.Host)
}

// followed asks for what the redirect gives, as a client does: without credentials.
func (v *visit) followed(header http.Header) (*reply, *url.URL, finding) {
	r, u, f := v.redirect()
	if f.verdict != OK || u == nil {
		return r, nil, f
	}
	return v.do(request{method: http.MethodGet, target: u.String(), as: asNobody, header: header}), u, f
}

func (v *visit) presignedHost() finding {
	r, u, f := v.followed(nil)
	if f.verdict != OK || u == nil {
		return f
	}
	addresses, err := v.addresses(u.Hostname())
	region := regionOf(u)
	style := "path-style"
	if strings.Contains(u.Hostname(), ".s3.") || strings.Contains(u.Hostname(), ".s3-") {
		style = "virtual-host style"
	}
	const endpoint = "AWS_ENDPOINT_URL_S3 (and AWS_ENDPOINT_URL) of the function blobs: unset on AWS; elsewhere an address that clients can reach, too"
	switch real := r.header.Get("X-Amz-Bucket-Region"); {
	case err != nil:
		return wrong(nil, endpoint, "%s cannot be found: %v", u.Host, err)
	case v.public(v.base.Hostname()) && !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !private(a) }):
		return wrong(nil, endpoint+"; an S3 interface endpoint (VPC) is for clients inside only", "%s is a private address (%v), the registry is public", u.Host, addresses[0])
	case v.base.Scheme == "https" && u.Scheme != "https":
		return wrong(nil, endpoint+": with https", "%s://%s: the bytes go unencrypted, while the registry is https", u.Scheme, u.Host)
	case r.status == 0 && net.ParseIP(u.Hostname()) == nil && strings.Contains(bucketOf(u), ".") && style != "path-style":
		return wrong(r, "a bucket without dots in its name: with them, S3's certificate does not fit the host", "%s cannot be reached: %v", u.Host, r.err)
	case r.status == 0:
		return wrong(r, endpoint+"; then routes and firewalls between clients and "+u.Host, "%s cannot be reached from here: %v", u.Host, r.err)
	case real != "" && region != "" && real != region:
		return wrong(r, "AWS_REGION of the function blobs must be the bucket's: "+real+"; deploy the stack there, or name a bucket of its region", "the URL is signed for %s, the bucket is in %s", region, real)
	case r.status >= 300 && r.status < 400:
		return wrong(r, "AWS_REGION of the function blobs must be the bucket's, so that the URL has its regional host", "%s sends on to another host (%d): a second hop that some clients refuse", u.Host, r.status)
	}
	if region != "" {
		style += ", region " + region
	}
	return ok("%s (%s), %v", u.Host, style, addresses)
}

// regionOf is the region that a URL is signed for, or empty.
func regionOf(u *url.URL) string {
	if parts := strings.Split(u.Query().Get("X-Amz-Credential"), "/"); len(parts) == 5 {
		return parts[2]
	}
	return ""
}

// bucketOf is the bucket in a host of S3, or the whole host.
func bucketOf(u *url.URL) string {
	bucket, _, _ := strings.Cut(u.Hostname(), ".s3")
	return bucket
}

func (v *visit) presignedGet() finding {
	r, u, f := v.followed(nil)
	if f.verdict != OK || u == nil {
		return f
	}
	signed := u.Query().Get("X-Amz-SignedHeaders")
	switch {
	case signed != "" && signed != "host":
		return wrong(r, "presign the URL with nothing but the host signed: no Range, checksum or encryption header in the request that is presigned (an SDK option or a middleware adds it)", "the URL wants the headers %s", signed)
	case r.status == 0:
		return unknown(r, "%s", r.what())
	case r.status != http.StatusOK:
		code, set := storeError(r.body, "blobs", "s3:GetObject on the keys of blobs (and kms:Decrypt with KmsKeyArn)")
		return wrong(r, set, "%s answered %d %s", u.Host, r.status, code)
	case !bytes.Equal(r.body, v.blobs.layer.bytes):
		return wrong(r, "nothing in front of the bucket may change objects", "%s gave %d bytes that are not the %d that were pushed", u.Host, len(r.body), len(v.blobs.layer.bytes))
	}
	return ok("%d bytes, no header needed", len(r.body))
}

// storeError is the code in an error of S3, and what it asks for: of the function that
// signed, or of its role, which needs permissions.
func storeError(body []byte, function, permissions string) (code, set string) {
	var e struct{ Code string }
	if xml.Unmarshal(body, &e) != nil {
		e.Code = ""
	}
	switch e.Code {
	case "AccessDenied":
		return e.Code, "the role of the function " + function + " needs " + permissions + "; no bucket policy may deny clients by network or by header"
	case "SignatureDoesNotMatch":
		return e.Code, "the URL must reach S3 as it was signed: nothing may add a query parameter or change the host, and no header but Host may be signed"
	case "RequestTimeTooSkewed":
		return e.Code, "the clock of the machine that signs"
	case "ExpiredToken", "InvalidToken", "InvalidAccessKeyId":
		return e.Code, "the function must sign with its role's present credentials: no AWS_ACCESS_KEY_ID in its environment that is not Lambda's own"
	case "NoSuchKey", "NoSuchBucket":
		return e.Code, "PIERLESS_BUCKET must be the same at all functions"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect":
		return e.Code, "AWS_REGION of the function " + function + " must be the bucket's"
	case "XAmzContentChecksumMismatch", "BadDigest", "InvalidDigest":
		return e.Code, "nothing between clients and the bucket may change bytes"
	case "NotImplemented":
		return e.Code, "a store with conditional writes (If-None-Match) and SHA-256 checksums, as S3 has"
	}
	if strings.HasPrefix(e.Code, "KMS.") {
		return e.Code, "the key KmsKeyArn: enabled, in the region of the bucket, and its key policy must let IAM policies of the account decide"
	}
	return e.Code, "see the answer of the store below"
}

func (v *visit) presignedRange() finding {
	r, u, f := v.followed(http.Header{"Range": {"bytes=1000-1999"}})
	if f.verdict != OK {
		return f
	}
	if u == nil {
		r = v.do(request{method: http.MethodGet, target: v.blobPath(v.blobs.layer.digest), header: http.Header{"Range": {"bytes=1000-1999"}}})
	}
	switch {
	case r.status == 0:
		return unknown(r, "%s", r.what())
	case r.status != http.StatusPartialContent:
		return wrong(r, "Range must reach the store: it may not be signed, and a CDN in front must pass it on", "%d to a request of 1000 bytes of %d", r.status, len(v.blobs.layer.bytes))
	case !bytes.Equal(r.body, v.blobs.layer.bytes[1000:2000]):
		return wrong(r, "nothing in front of the bucket may change objects", "206 with other bytes than were asked for")
	}
	return ok("206 with the bytes that were asked for")
}

// signedAt is the form of X-Amz-Date.
const signedAt = "20060102T150405Z"

func (v *visit) presignedExpiry() finding {
	r, u, f := v.redirect()
	if f.verdict != OK || u == nil {
		return f
	}
	seconds, err := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
	if err != nil {
		if regexp.MustCompile(`(?i)signature|expires|token`).MatchString(u.RawQuery) {
			return unknown(r, "the URL is signed in a way that shows no X-Amz-Expires")
		}
		return wrong(r, "presigned URLs: the redirect must not go to a bucket that is open to everybody", "the URL at %s is not signed", u.Host)
	}
	expiry := time.Duration(seconds) * time.Second
	seen := fmt.Sprintf("good for %s", expiry)
	if date, err := time.Parse(signedAt, u.Query().Get("X-Amz-Date")); err == nil {
		seen += fmt.Sprintf(", signed %s ago", time.Since(date).Round(time.Second))
	}
	if expiry > v.opts.MaxExpiry {
		return wrong(r, "deploy the present version of the function blobs: it signs for 20 minutes, and no setting changes that", "%s, more than %s", seen, v.opts.MaxExpiry)
	}
	return ok("%s", seen)
}
