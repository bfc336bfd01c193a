package doctor

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

func directChecks() []Check {
	const breaks = "'pierless push' and 'pierless proxy' send layers over 4.5 MiB this way"
	return []Check{
		{
			ID: "direct-upload", Asks: "A blob goes straight to the store: offered, stored by the presigned request alone, and completed.",
			Breaks: breaks, run: (*visit).directUpload,
		},
		{
			ID: "direct-refusals", Asks: "The store refuses other bytes than were offered, more of them, and a second time.",
			Breaks: "everybody who pulls: whoever has the presigned request could store what he likes under a digest", run: (*visit).directRefusals,
		},
		{
			ID: "direct-parts", Asks: "A blob goes to the store in parts, and its digest is verified in the region.",
			Breaks: breaks + "; those over 5 GiB in parts", run: (*visit).directParts,
		},
	}
}

const (
	notOffered   = "not offered: clients send blobs through the registry"
	directRoutes = "the routes to the functions direct and verifications: 'make template' writes all of them"
	directRole   = "the role of the function direct needs dynamodb on its rows, and on blobs/* s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload " +
		"and s3:ListMultipartUploadParts, s3:ListBucket on the bucket, and kms:GenerateDataKey and kms:Decrypt with KmsKeyArn: the template has all of them"
	verifyRole = "the role of the function verifications needs s3:GetObject on blobs/* (and kms:Decrypt with KmsKeyArn); parameter VerifyMemorySize (memory of that function) at its default or more"
)

// offer asks for a direct upload. u is nil where there is none: then the finding says
// why, and is OK where the registry has no store that it could send clients to.
func (v *visit) offer(b blob, parts bool) (u *direct.Upload, f finding) {
	body, err := json.Marshal(direct.Offer{Digest: b.digest, Size: int64(len(b.bytes)), Parts: parts})
	if err != nil {
		return nil, unknown(nil, "%v", err)
	}
	r := v.do(request{method: http.MethodPost, target: v.path("/_pierless/uploads"), header: http.Header{"Content-Type": {"application/json"}}, body: body})
	switch {
	case r.status == http.StatusNotFound && errorCode(r) == oci.Unsupported && !behindLambda(v.door()):
		return nil, ok(notOffered)
	case r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed || gatewaySays(r) != "":
		return nil, wrong(r, directRoutes, "%s", r.what())
	case r.status == 0:
		return nil, unknown(r, "%s", r.what())
	case r.status != http.StatusAccepted:
		return nil, wrong(r, directRole, "%s", r.what())
	}
	u = &direct.Upload{}
	err = json.Unmarshal(r.body, u)
	r.exchange.ResponseBody = "" // what it says is secret
	if err != nil || u.ID == "" || (u.Put == nil) != parts {
		return nil, wrong(r, "the function direct of the present version; nothing in front may change bodies", "%s without an upload to go on with", r.what())
	}
	v.left.sessions = append(v.left.sessions, v.directPath(u))
	return u, finding{}
}

// behindLambda: what is no function may have a folder for its store.
func behindLambda(door string) bool {
	return strings.Contains(door, "API Gateway") || strings.Contains(door, "Lambda")
}

func (v *visit) directPath(u *direct.Upload) string { return v.path("/_pierless/uploads/" + u.ID) }

// errorCode is the code of an error answer, or empty.
func errorCode(r *reply) oci.Code {
	var errs oci.Errors
	if json.Unmarshal(r.body, &errs) != nil || len(errs) == 0 {
		return ""
	}
	return errs[0].Code
}

// send makes a presigned request with these bytes, as a client without credentials.
func (v *visit) send(p direct.Request, content []byte) *reply {
	header := http.Header{}
	for name, value := range p.Headers {
		if !strings.EqualFold(name, "Content-Length") { // counted, not said
			header.Set(name, value)
		}
	}
	return v.do(request{method: p.Method, target: p.URL, as: asNobody, header: header, body: content})
}

// storedFault is what is wrong with the store's answer to bytes that are right.
func storedFault(r *reply) finding {
	switch r.status {
	case http.StatusOK:
		return ok("")
	case 0:
		return wrong(r, "AWS_ENDPOINT_URL_S3 (and AWS_ENDPOINT_URL) of the function direct: unset on AWS; then routes and firewalls between clients and "+r.url.Host,
			"%s cannot be reached from here: %v", r.url.Host, r.err)
	}
	code, set := storeError(r.body, "direct", "s3:PutObject on blobs/* (and kms:GenerateDataKey with KmsKeyArn)")
	return wrong(r, set, "%s answered %d %s to the bytes", r.url.Host, r.status, code)
}

// completeDirect says that all bytes are there.
func (v *visit) completeDirect(u *direct.Upload) *reply {
	r := v.do(request{method: http.MethodPut, target: v.directPath(u)})
	v.noteDirect(r, u)
	return r
}

// noteDirect remembers what an upload has become.
func (v *visit) noteDirect(r *reply, u *direct.Upload) {
	if r.status == http.StatusCreated {
		v.left.sessions = slices.DeleteFunc(v.left.sessions, func(s string) bool { return s == v.directPath(u) })
		v.left.blobs = append(v.left.blobs, v.blobPath(u.Digest))
	}
}

func (v *visit) directUpload() finding {
	b := newBlob(random(layerSize))
	u, f := v.offer(b, false)
	if u == nil {
		return f
	}
	r := v.send(*u.Put, b.bytes)
	if f := storedFault(r); f.verdict != OK {
		return f
	}
	host := r.url.Host
	r = v.completeDirect(u)
	unproven := r.status == http.StatusAccepted
	if unproven { // a store that does not tell the checksum
		r = v.verifyDirect(u)
	}
	if r.status != http.StatusCreated {
		set := directRole
		if unproven {
			set = verifyRole
		}
		return wrong(r, set, "the bytes are in the store, but %s", r.what())
	}
	if r = v.do(request{method: http.MethodHead, target: v.blobPath(b.digest)}); r.status == http.StatusNotFound {
		return wrong(r, "PIERLESS_TABLE must be the same at all functions", "%s, although the upload was completed", r.what())
	}
	if unproven {
		return ok("%d bytes to %s, which does not tell their checksum: each blob is read back", layerSize, host)
	}
	return ok("%d bytes to %s, by its checksum", layerSize, host)
}

func (v *visit) directRefusals() finding {
	const set = "a store that checks what is signed, as S3 does: x-amz-checksum-sha256, Content-Length and If-None-Match; nothing in front of it may drop them"
	b := newBlob(random(layerSize))
	u, f := v.offer(b, false)
	if u == nil {
		return f
	}
	other := bytes.Clone(b.bytes)
	other[layerSize/2] ^= 1
	for what, content := range map[string][]byte{"one byte changed": other, "one byte more": append(bytes.Clone(b.bytes), 'x')} {
		switch r := v.send(*u.Put, content); {
		case r.status == 0:
			return unknown(r, "%s", r.what())
		case r.status < 400:
			return wrong(r, set, "%s: the store took it, with %d", what, r.status)
		}
	}
	if r := v.completeDirect(u); r.status == http.StatusCreated {
		return wrong(r, directRole, "an upload without bytes was completed: %s", r.what())
	}
	if f := storedFault(v.send(*u.Put, b.bytes)); f.verdict != OK {
		return f
	}
	if r := v.send(*u.Put, b.bytes); r.status != http.StatusPreconditionFailed {
		return wrong(r, set, "the same request again: %d, not 412", r.status)
	}
	return ok("a changed byte, one more, and the same again are refused")
}

func (v *visit) directParts() finding {
	b := newBlob(random(layerSize))
	u, f := v.offer(b, true)
	if u == nil {
		return f
	}
	body, err := json.Marshal(direct.Parts{Parts: []direct.Part{{Number: 1, Size: layerSize, Digest: b.digest}}})
	if err != nil {
		return unknown(nil, "%v", err)
	}
	r := v.do(request{method: http.MethodPost, target: v.path("/_pierless/parts/" + u.ID), header: http.Header{"Content-Type": {"application/json"}}, body: body})
	var signed direct.SignedParts
	if r.status != http.StatusOK || json.Unmarshal(r.body, &signed) != nil || len(signed.Parts) != 1 {
		return wrong(r, directRoutes+"; "+directRole, "%s without one signed part", r.what())
	}
	if f := storedFault(v.send(signed.Parts[0].Request, b.bytes)); f.verdict != OK {
		return f
	}
	if r = v.completeDirect(u); r.status != http.StatusAccepted {
		return wrong(r, directRole, "the part is in the store, but %s", r.what())
	}
	if r = v.verifyDirect(u); r.status != http.StatusCreated {
		return wrong(r, verifyRole+"; "+directRoutes, "%s", r.what())
	}
	return ok("%d bytes, verified", layerSize)
}

// maxVerifications is more calls than a few bytes take.
const maxVerifications = 5

func (v *visit) verifyDirect(u *direct.Upload) (r *reply) {
	for range maxVerifications {
		r = v.do(request{method: http.MethodPost, target: v.path("/_pierless/verifications/" + u.ID)})
		if r.status != http.StatusAccepted {
			break
		}
	}
	v.noteDirect(r, u)
	return r
}
