package doctor

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// chunk is what the registry tells clients in OCI-Chunk-Min-Length, in bytes, so
// that their chunks fit through a Lambda function.
const chunk = 4 << 20

// tooManyTries is how often a request is sent whose connection broke: an early
// refusal can get lost behind the body that is still on its way.
const tooManyTries = 3

func bodyChecks() []Check {
	return []Check{
		{
			ID: "body-chunk", Asks: "A chunk of 4 MiB is taken, and OCI-Chunk-Min-Length asks for no more.",
			Breaks: "regctl sends large layers in such chunks: nothing large can be pushed at all", run: (*visit).bodyChunk,
		},
		{
			ID: "body-limit", Asks: "Larger bodies are taken or refused with 413, never with 5xx or a connection that breaks (the largest is reported).",
			Breaks: "clients retry on 5xx for minutes instead of saying that the layer is too large", run: (*visit).bodyLimit,
		},
	}
}

// sizes are between the limits of Lambda and API Gateway, in bytes: 6 MiB of
// base64 are 4.7 MB, and the gateway takes 10 MB.
func sizes() []int { return []int{4_600_000, 5_500_000, 7_000_000, 11_000_000} }

func (v *visit) bodyChunk() finding {
	location, err := v.open()
	if err != nil {
		return unknown(v.failed, "could not be prepared: %v", err)
	}
	announced := v.failed.header.Get("OCI-Chunk-Min-Length")
	var least int
	if _, err := fmt.Sscan(announced, &least); err == nil && least > chunk {
		return wrong(v.failed, "the function uploads of the present version announces 4194304", "OCI-Chunk-Min-Length: %d: such chunks do not fit through a Lambda function", least)
	}
	b := newBlob(random(chunk))
	r := v.patch(location, b.bytes)
	const set = "parameter UploadMemorySize (memory of the function uploads): 512, its default, or more; its log says whether memory or time ran out. Nothing in front may have a limit under 6 MB"
	if r.status != http.StatusAccepted {
		return wrong(r, set, "PATCH of %d bytes: %s", chunk, r.what())
	}
	last, err := v.here(r)
	if err != nil {
		return wrong(r, "Location must pass: a CDN in front must not drop it", "%v", err)
	}
	r = v.do(request{method: http.MethodPut, target: withQuery(last, "digest", string(b.digest))})
	if err := v.completed(r, location, b.digest); err != nil {
		return wrong(r, "the body must arrive as it was sent: the function must decode it where the event says isBase64Encoded", "the upload of a chunk of %d bytes could not be completed: %v", chunk, err)
	}
	return ok("%d bytes taken, OCI-Chunk-Min-Length: %s", chunk, announced)
}

func (v *visit) patch(location string, body []byte) *reply {
	return v.do(request{
		method: http.MethodPatch, target: location, body: body,
		header: http.Header{"Content-Type": {octetStream}, "Content-Range": {fmt.Sprintf("0-%d", len(body)-1)}},
	})
}

func (v *visit) bodyLimit() finding {
	var seen, doorSays []string
	largest := 0
	for _, n := range sizes() {
		r, err := v.tryBody(n)
		if err != nil {
			return unknown(v.failed, "could not be prepared: %v", err)
		}
		size := fmt.Sprintf("%.1f MB", float64(n)/1e6)
		const set = "a refusal must be 413: of the gateway's own there is no other, so raise the memory of the function uploads (parameter UploadMemorySize), and look into its log for what went wrong"
		switch r.status {
		case http.StatusAccepted:
			largest = n
		case http.StatusRequestEntityTooLarge:
			doorSays = append(doorSays, gatewaySays(r))
		case 0:
			return wrong(r, "what is in front must read the body to its end, or answer 413 before it closes", "a body of %s: the connection broke %d times: %v", size, tooManyTries, r.err)
		default:
			return wrong(r, set, "a body of %s: %d, expected 202 or 413", size, r.status)
		}
		seen = append(seen, fmt.Sprintf("%s: %d", size, r.status))
	}
	return ok("%s. %s", strings.Join(seen, ", "), limitMeans(largest, doorSays))
}

// tryBody sends a body of n bytes to an upload of its own.
func (v *visit) tryBody(n int) (r *reply, err error) {
	body := bytes.Repeat([]byte("pierless doctor "), n/16+1)[:n]
	for range tooManyTries {
		location, err := v.open()
		if err != nil {
			return nil, err
		}
		if r = v.patch(location, body); r.status != 0 {
			break
		}
	}
	return r, nil
}

// limitMeans says who can push large layers.
func limitMeans(largest int, doorSays []string) string {
	if len(doorSays) == 0 {
		return "No limit was found: every client can push layers of any size"
	}
	who := "the registry"
	if slices.Contains(doorSays, "Request Entity Too Large") {
		who = "API Gateway and Lambda, as expected"
	}
	taken := fmt.Sprintf("%.1f MB", float64(max(largest, chunk))/1e6)
	return "The limit is set by " + who + ": the largest body taken was " + taken + ". Layers above it: regctl pushes them as it is (chunks); docker, podman, skopeo, buildah, " +
		"containerd, BuildKit, oras, helm, crane and ko send a layer in one request and get 413. " + oci.UploadAlternatives
}
