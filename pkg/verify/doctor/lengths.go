package doctor

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func lengthChecks() []Check {
	return []Check{
		{
			ID: "head-manifest-length", Asks: "HEAD of a manifest has its size in Content-Length.",
			Breaks: "with 0 containerd believes it and refuses to pull; without it docker, crane and oras fail", needs: needImage, run: (*visit).headManifest,
		},
		{
			ID: "head-blob-length", Asks: "HEAD of a blob has its size in Content-Length, after a redirect if there is one.",
			Breaks: "with 0 docker and podman publish manifests with layers of size 0; without it docker, podman and oras fail", needs: needBlobs, run: (*visit).headBlob,
		},
		{
			ID: "manifest-bytes", Asks: "Manifests of every media type come back byte for byte.",
			Breaks: "every pull: the digest is another; signatures do not fit", needs: needBlobs, run: (*visit).manifestBytes,
		},
	}
}

func (v *visit) headManifest() finding {
	for _, ref := range []string{imageTag, string(v.image.digest)} {
		r := v.do(request{method: http.MethodHead, target: v.manifestPath(ref), header: accepted(*v.image)})
		f := lengthFault(r, len(v.image.bytes),
			"the function must answer HEAD with the manifest as body, which the gateway counts and strips: deploy the present version of the function manifests; if the body is there and this is still seen, the door itself is at fault: an HTTP API with payload format 2.0, not a REST API or function URL")
		if f.verdict != OK {
			return f
		}
	}
	return ok("%d bytes by tag and by digest", len(v.image.bytes))
}

func (v *visit) headBlob() finding {
	const set = "set the template parameter RedirectHead to true (or `serve --redirect-head`): HEAD is then sent to S3, which says the length, as the gateway puts its own count of the empty body in the place of the function's"
	q := request{method: http.MethodHead, target: v.blobPath(v.blobs.layer.digest)}
	r := v.do(q)
	if r.status == http.StatusTemporaryRedirect {
		return v.redirectedHead(r)
	}
	return lengthFault(r, len(v.blobs.layer.bytes), set)
}

// redirectedHead follows a redirect of HEAD, as every client does.
func (v *visit) redirectedHead(r *reply) finding {
	u, err := r.url.Parse(r.header.Get("Location"))
	if err != nil || r.header.Get("Location") == "" {
		return wrong(r, "deploy the present version of the function blobs", "%s without a URL in Location", r.what())
	}
	r = v.do(request{method: http.MethodHead, target: u.String(), as: asNobody})
	if r.status == http.StatusForbidden {
		return wrong(r, "presign the redirect of HEAD for HEAD: a URL that is signed for GET answers 403", "HEAD is sent to %s, which answers 403", u.Host)
	}
	return lengthFault(r, len(v.blobs.layer.bytes), "whatever is in front of the store must pass Content-Length of HEAD on")
}

// lengthFault compares the Content-Length of HEAD.
func lengthFault(r *reply, size int, set string) finding {
	got := r.header.Get("Content-Length")
	switch {
	case r.status == 0:
		return unknown(r, "%s", r.what())
	case r.status != http.StatusOK:
		return wrong(r, "the route must take HEAD ('make template' writes the routes), and the function be that of the present version", "%s", r.what())
	case got == "":
		return wrong(r, set, "no Content-Length in HEAD of %d bytes%s", size, renamedLength(r))
	case got != strconv.Itoa(size):
		return wrong(r, set, "Content-Length: %s in HEAD of %d bytes%s", got, size, renamedLength(r))
	}
	return ok("%d bytes", size)
}

func renamedLength(r *reply) string {
	if n := r.header.Get("X-Amzn-Remapped-Content-Length"); n != "" {
		return " (the function's is renamed to X-Amzn-Remapped-Content-Length: " + n + ")"
	}
	return ""
}

func (v *visit) manifestBytes() finding {
	image := v.blobs.image(oci.MediaTypeImageManifest)
	docker := v.blobs.image(oci.MediaTypeDockerManifest)
	all := []manifest{image, docker, index(oci.MediaTypeImageIndex, image), index(oci.MediaTypeDockerList, docker)}
	for i, m := range all {
		tag := fmt.Sprintf("bytes-%d", i)
		pushed := v.pushManifest(m, tag)
		if pushed.status == 0 {
			return unknown(pushed, "%s", pushed.what())
		}
		if pushed.status != http.StatusCreated {
			return wrong(pushed, "the function must decode the body where the event says isBase64Encoded, for manifests too: the gateway encodes what it does not take for text. If it says why in its error, follow that", "PUT of a manifest as %s answered %d", m.mediaType, pushed.status)
		}
		for _, ref := range []string{tag, string(m.digest)} {
			if f := manifestFault(v.getManifest(m, ref), m); f.verdict != OK {
				return f
			}
		}
	}
	return ok("%d media types, with letters beyond ASCII and a line break at the end", len(all))
}

// manifestFault compares a manifest with what was pushed.
func manifestFault(r *reply, m manifest) finding {
	const response = "the function must answer with isBase64Encoded as its body is: true with base64, false with text"
	contentType, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	plain, err := base64.StdEncoding.DecodeString(string(r.body))
	switch {
	case r.status == 0:
		return unknown(r, "%s", r.what())
	case err == nil && bytes.Equal(plain, m.bytes):
		return wrong(r, response, "GET of a manifest as %s gives its base64", m.mediaType)
	case r.status != http.StatusOK:
		return wrong(r, "the function must decode the body where the event says isBase64Encoded: other bytes were stored than were sent", "%s: pushed as %s", r.what(), m.mediaType)
	case !bytes.Equal(r.body, m.bytes):
		return wrong(r, "nothing in front may change bodies (a CDN's compression or rewriting); the function must decode and encode base64, never convert text", "GET of a manifest as %s gives %d bytes that are not the %d that were pushed", m.mediaType, len(r.body), len(m.bytes))
	case contentType != m.mediaType:
		return wrong(r, "the function must send Content-Type: without it the gateway puts text/plain", "Content-Type: %s for a manifest that was pushed as %s", contentType, m.mediaType)
	case r.header.Get("Docker-Content-Digest") != string(m.digest):
		return wrong(r, "Docker-Content-Digest must pass: a CDN in front must not drop it", "Docker-Content-Digest: %q, not %s", r.header.Get("Docker-Content-Digest"), m.digest)
	}
	return ok("")
}
