package doctor

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/verify"
)

const (
	// chunk is the size that the registry announces in OCI-Chunk-Min-Length, in bytes:
	// such chunks fit through a Lambda function.
	chunk = 4 << 20
	// streamSize is the size of the chunked request, in bytes: below every limit.
	streamSize = 1 << 20
	// tooManyTries limits the attempts of a request whose connection broke: an early
	// refusal can get lost while the client is still sending the body.
	tooManyTries = 3
)

// sizes are between the limits of Lambda and API Gateway, in bytes: 6 MiB of base64 are
// 4.7 MB of content, and the gateway accepts 10 MB.
func sizes() []int { return []int{4_600_000, 5_500_000, 7_000_000, 11_000_000} }

func (v *visit) bodyChunk() verify.Result {
	return v.pushInPatch(chunk, false, "parameter UploadMemorySize (memory of the function uploads): 512, its default, or more; "+
		"its log says whether memory or time was exceeded. Proxies and CDNs in front must accept 6 MB")
}

func (v *visit) bodyChunked() verify.Result {
	return v.pushInPatch(streamSize, true, "a proxy, CDN or firewall in front must forward Transfer-Encoding: chunked, or buffer the "+
		"request and add Content-Length. If API Gateway itself refuses it, push with 'pierless push' or through 'pierless proxy'")
}

// pushInPatch pushes a blob of n bytes with one PATCH and an empty PUT. stream sends the
// PATCH without Content-Length; set is the advice if the PATCH is refused.
func (v *visit) pushInPatch(n int, stream bool, set string) verify.Result {
	location, err := v.open()
	if err != nil {
		return unknown(v.failed, "setup failed: %v", err)
	}
	announced := v.failed.Header.Get("OCI-Chunk-Min-Length")
	var least int
	if _, err := fmt.Sscan(announced, &least); err == nil && least > chunk {
		return wrong(v.failed, "deploy the current version of the function uploads: it announces 4194304",
			"OCI-Chunk-Min-Length: %d: such chunks do not fit through a Lambda function", least)
	}
	b := newBlob(random(n))
	r := v.patch(location, b.bytes, stream)
	switch {
	case r.Status != http.StatusAccepted:
		return wrong(r, set, "PATCH of %d bytes: %s", n, r)
	}
	last, err := v.here(r)
	if err != nil {
		return wrong(r, "a CDN in front must not drop Location", "%v", err)
	}
	r = v.do(request{Method: http.MethodPut, Target: verify.AddQuery(last, "digest", string(b.digest))})
	if err := v.completed(r); err != nil {
		return wrong(r, "the body must arrive unchanged: the function must decode it if the event says isBase64Encoded",
			"the upload of a body of %d bytes could not be completed: %v", n, err)
	}
	if stream {
		return ok("%d bytes accepted without Content-Length", n)
	}
	return ok("%d bytes accepted, OCI-Chunk-Min-Length: %s", n, announced)
}

// patch sends a body to an upload: a stream without length and range, as docker does, or
// a chunk with both.
func (v *visit) patch(location string, body []byte, stream bool) *verify.Reply {
	r := request{
		Method: http.MethodPatch, Target: location, Body: body, Stream: stream,
		Header: http.Header{"Content-Type": {octetStream}},
	}
	if !stream {
		r.Header.Set("Content-Range", fmt.Sprintf("0-%d", len(body)-1))
	}
	return v.do(r)
}

func (v *visit) bodyLimit() verify.Result {
	var seen, messages []string
	largest := 0
	for _, n := range sizes() {
		r, err := v.tryBody(n)
		if err != nil {
			return unknown(v.failed, "setup failed: %v", err)
		}
		size := fmt.Sprintf("%.1f MB", float64(n)/1e6)
		switch r.Status {
		case http.StatusAccepted:
			largest = n
		case http.StatusRequestEntityTooLarge:
			messages = append(messages, gatewaySays(r))
		case 0:
			return unanswered(r, "a proxy in front must read the body to its end, or answer 413 before it closes the connection",
				"a body of %s: the connection broke %d times: %v", size, tooManyTries, r.Err)
		default:
			return wrong(r, "a refusal must be 413. The gateway sends no other, so raise the memory of the function uploads "+
				"(parameter UploadMemorySize), and see its log for the cause", "a body of %s: %d, expected 202 or 413", size, r.Status)
		}
		seen = append(seen, fmt.Sprintf("%s: %d", size, r.Status))
	}
	return ok("%s. %s", strings.Join(seen, ", "), limitMeans(largest, messages))
}

// tryBody sends a body of n bytes to a new upload.
func (v *visit) tryBody(n int) (r *verify.Reply, err error) {
	body := bytes.Repeat([]byte("pierless doctor "), n/16+1)[:n]
	for range tooManyTries {
		location, err := v.open()
		if err != nil {
			return nil, err
		}
		if r = v.patch(location, body, false); r.Status != 0 {
			break
		}
	}
	return r, nil
}

// limitMeans says which clients can push large layers. largest is the largest accepted
// body, in bytes; messages are those of the gateway in its refusals.
func limitMeans(largest int, messages []string) string {
	if len(messages) == 0 {
		return "No limit was found: every client can push layers of any size"
	}
	limit := "the registry"
	if slices.Contains(messages, "Request Entity Too Large") {
		limit = "API Gateway and Lambda, as expected"
	}
	return fmt.Sprintf("The limit is set by %s: the largest accepted body was %.1f MB. Layers above it: regctl pushes them as it is (chunks); "+
		"docker, podman, skopeo, buildah, containerd, BuildKit, oras, helm, crane and ko send a layer in one request and get 413. %s",
		limit, float64(max(largest, chunk))/1e6, oci.UploadAlternatives)
}
