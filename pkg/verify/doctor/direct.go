package doctor

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/verify"
)

const (
	notOffered   = "not supported: clients send blobs through the registry"
	directRoutes = "the routes to the functions direct and verifications, as in the template"
	directRole   = "the role of the function direct needs access to its rows in DynamoDB, and on blobs/* s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload " +
		"and s3:ListMultipartUploadParts, s3:ListBucket on the bucket, and kms:GenerateDataKey and kms:Decrypt with KmsKeyArn, as in the template"
	verifyRole = "the role of the function verifications needs s3:GetObject on blobs/* (and kms:Decrypt with KmsKeyArn); parameter VerifyMemorySize (memory of that function) at its default or more"
)

// offer creates a direct upload. If it returns nil, the result says why: it is passed if
// the registry has no store that supports direct uploads.
func (v *visit) offer(b blob, parts bool) (u *direct.Upload, f verify.Result) {
	body, err := json.Marshal(direct.Offer{Digest: b.digest, Size: int64(len(b.bytes)), Parts: parts})
	if err != nil {
		return nil, unknown(nil, "%v", err)
	}
	r := v.do(request{Method: http.MethodPost, Target: v.path("/_pierless/uploads"), Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	switch {
	case r.Status == http.StatusNotFound && errorCode(r) == oci.Unsupported && !behindLambda(v.gateway()):
		return nil, ok(notOffered)
	case r.Status == http.StatusNotFound || r.Status == http.StatusMethodNotAllowed || gatewaySays(r) != "":
		return nil, wrong(r, directRoutes, "%s", r)
	case r.Status == 0:
		return nil, unknown(r, "%s", r)
	case r.Status != http.StatusAccepted:
		return nil, wrong(r, directRole, "%s", r)
	}
	u = &direct.Upload{}
	err = json.Unmarshal(r.Body, u)
	r.Exchange.ResponseBody = "" // it contains signed URLs
	if err != nil || u.ID == "" || (u.Put == nil) != parts {
		return nil, wrong(r, "deploy the current version of the function direct; proxies in front must not change bodies", "%s without an upload", r)
	}
	return u, verify.Result{}
}

// behindLambda reports whether the gateway is in front of Lambda functions. Without one,
// the store may be a local directory, which cannot take direct uploads.
func behindLambda(gateway string) bool {
	return strings.Contains(gateway, "API Gateway") || strings.Contains(gateway, "Lambda")
}

func (v *visit) directPath(u *direct.Upload) string { return v.path("/_pierless/uploads/" + u.ID) }

// errorCode returns the code of an error response, or empty.
func errorCode(r *verify.Reply) oci.Code {
	var errs oci.Errors
	if json.Unmarshal(r.Body, &errs) != nil || len(errs) == 0 {
		return ""
	}
	return errs[0].Code
}

// send sends a presigned request with this content and without credentials.
func (v *visit) send(p direct.Request, content []byte) *verify.Reply {
	header := http.Header{}
	for name, value := range p.Headers {
		if !strings.EqualFold(name, "Content-Length") { // net/http sets it
			header.Set(name, value)
		}
	}
	return v.doAs(asNobody, request{Method: p.Method, Target: p.URL, Header: header, Body: content})
}

// storedFault checks the store's response to the correct content.
func storedFault(r *verify.Reply) verify.Result {
	switch r.Status {
	case http.StatusOK:
		return ok("")
	case 0:
		return unanswered(r, "AWS_ENDPOINT_URL_S3 (and AWS_ENDPOINT_URL) of the function direct: unset on AWS; then routes and firewalls between clients and "+r.URL.Host,
			"%s cannot be reached from here: %v", r.URL.Host, r.Err)
	}
	code, set := storeError(r.Body, "direct", "s3:PutObject on blobs/* (and kms:GenerateDataKey with KmsKeyArn)")
	return wrong(r, set, "%s answered %d %s to the bytes", r.URL.Host, r.Status, code)
}

// completeDirect completes an upload after all bytes are in the store.
func (v *visit) completeDirect(u *direct.Upload) *verify.Reply {
	return v.do(request{Method: http.MethodPut, Target: v.directPath(u)})
}

func (v *visit) directUpload() verify.Result {
	b := newBlob(random(layerSize))
	u, f := v.offer(b, false)
	if u == nil {
		return f
	}
	r := v.send(*u.Put, b.bytes)
	if f := storedFault(r); f.Status != verify.Passed {
		return f
	}
	host := r.URL.Host
	r = v.completeDirect(u)
	unproven := r.Status == http.StatusAccepted
	if unproven { // a store that does not return the checksum
		r = v.verifyDirect(u)
	}
	if r.Status != http.StatusCreated {
		set := directRole
		if unproven {
			set = verifyRole
		}
		return wrong(r, set, "the content is in the store, but %s", r)
	}
	if r = v.do(request{Method: http.MethodHead, Target: v.blobPath(b.digest)}); r.Status == http.StatusNotFound {
		return wrong(r, "PIERLESS_TABLE must be the same for all functions", "%s, although the upload was completed", r)
	}
	if unproven {
		return ok("%d bytes to %s, which returns no checksum: each blob is read again", layerSize, host)
	}
	return ok("%d bytes to %s, verified by checksum", layerSize, host)
}

func (v *visit) directRefusals() verify.Result {
	const set = "a store that enforces signed headers, as S3 does: x-amz-checksum-sha256, Content-Length and If-None-Match; proxies in front must not drop them"
	b := newBlob(random(layerSize))
	u, f := v.offer(b, false)
	if u == nil {
		return f
	}
	other := bytes.Clone(b.bytes)
	other[layerSize/2] ^= 1
	for change, content := range map[string][]byte{"one byte changed": other, "one byte more": append(bytes.Clone(b.bytes), 'x')} {
		switch r := v.send(*u.Put, content); {
		case r.Status < 400:
			return wrong(r, set, "%s: the store accepted it with %d", change, r.Status)
		}
	}
	if r := v.completeDirect(u); r.Status == http.StatusCreated {
		return wrong(r, directRole, "an upload without bytes was completed: %s", r)
	}
	if f := storedFault(v.send(*u.Put, b.bytes)); f.Status != verify.Passed {
		return f
	}
	if r := v.send(*u.Put, b.bytes); r.Status != http.StatusPreconditionFailed {
		return wrong(r, set, "a second upload: %d, not 412", r.Status)
	}
	return ok("a changed byte, an additional byte and a second upload are refused")
}

func (v *visit) directParts() verify.Result {
	b := newBlob(random(layerSize))
	u, f := v.offer(b, true)
	if u == nil {
		return f
	}
	body, err := json.Marshal(direct.Parts{Parts: []direct.Part{{Number: 1, Size: layerSize, Digest: b.digest}}})
	if err != nil {
		return unknown(nil, "%v", err)
	}
	r := v.do(request{Method: http.MethodPost, Target: v.path("/_pierless/parts/" + u.ID), Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	var signed direct.SignedParts
	if r.Status != http.StatusOK || json.Unmarshal(r.Body, &signed) != nil || len(signed.Parts) != 1 {
		return wrong(r, directRoutes+"; "+directRole, "%s without one signed part", r)
	}
	if f := storedFault(v.send(signed.Parts[0].Request, b.bytes)); f.Status != verify.Passed {
		return f
	}
	if r = v.completeDirect(u); r.Status != http.StatusAccepted {
		return wrong(r, directRole, "the part is in the store, but %s", r)
	}
	if r = v.verifyDirect(u); r.Status != http.StatusCreated {
		return wrong(r, verifyRole+"; "+directRoutes, "%s", r)
	}
	return ok("%d bytes, verified", layerSize)
}

// maxVerifications exceeds the calls that a few bytes need.
const maxVerifications = 5

func (v *visit) verifyDirect(u *direct.Upload) (r *verify.Reply) {
	for range maxVerifications {
		r = v.do(request{Method: http.MethodPost, Target: v.path("/_pierless/verifications/" + u.ID)})
		if r.Status != http.StatusAccepted {
			break
		}
	}
	return r
}
