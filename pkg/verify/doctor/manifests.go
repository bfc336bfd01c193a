package doctor

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/verify"
)

func (v *visit) headManifest() verify.Result {
	for _, ref := range []string{imageTag, string(v.image.digest)} {
		r := v.do(request{Method: http.MethodHead, Target: v.manifestPath(ref), Header: accepted(*v.image)})
		f := lengthFault(r, len(v.image.bytes),
			"the function must answer HEAD with the manifest as body, which the gateway counts and strips: deploy the current version of the function manifests. If that does not help, use an HTTP API with payload format 2.0, not a REST API or function URL")
		if f.Status != verify.Passed {
			return f
		}
	}
	return ok("%d bytes by tag and by digest", len(v.image.bytes))
}

func (v *visit) headBlob() verify.Result {
	const set = "set the template parameter RedirectHead to true (or `serve --redirect-head`): HEAD is then redirected to S3, which returns the length. The gateway replaces the Content-Length of the function by that of the empty body"
	q := request{Method: http.MethodHead, Target: v.blobPath(v.blobs.layer.digest)}
	r := v.do(q)
	if r.Status == http.StatusTemporaryRedirect {
		return v.redirectedHead(r)
	}
	return lengthFault(r, len(v.blobs.layer.bytes), set)
}

// redirectedHead follows a redirect of HEAD, like every client.
func (v *visit) redirectedHead(r *verify.Reply) verify.Result {
	u, err := r.URL.Parse(r.Header.Get("Location"))
	if err != nil || r.Header.Get("Location") == "" {
		return wrong(r, "deploy the current version of the function blobs", "%s without a URL in Location", r)
	}
	r = v.doAs(asNobody, request{Method: http.MethodHead, Target: u.String()})
	if r.Status == http.StatusForbidden {
		return wrong(r, "the redirect of HEAD must be presigned for HEAD: a URL signed for GET answers 403", "HEAD is redirected to %s, which answers 403", u.Host)
	}
	return lengthFault(r, len(v.blobs.layer.bytes), "proxies in front of the store must forward the Content-Length of HEAD")
}

// lengthFault checks the Content-Length of HEAD. set is the advice if it is wrong.
func lengthFault(r *verify.Reply, size int, set string) verify.Result {
	got := r.Header.Get("Content-Length")
	switch {
	case r.Status != http.StatusOK:
		return wrong(r, "the route must accept HEAD, as in the template, and the function must be of the current version", "%s", r)
	case got == "":
		return wrong(r, set, "no Content-Length in HEAD of %d bytes%s", size, renamedLength(r))
	case got != strconv.Itoa(size):
		return wrong(r, set, "Content-Length: %s in HEAD of %d bytes%s", got, size, renamedLength(r))
	}
	return ok("%d bytes", size)
}

func renamedLength(r *verify.Reply) string {
	if n := r.Header.Get("X-Amzn-Remapped-Content-Length"); n != "" {
		return " (that of the function is renamed to X-Amzn-Remapped-Content-Length: " + n + ")"
	}
	return ""
}

func (v *visit) manifestBytes() verify.Result {
	image := v.blobs.image(oci.MediaTypeImageManifest)
	docker := v.blobs.image(oci.MediaTypeDockerManifest)
	all := []manifest{image, docker, index(oci.MediaTypeImageIndex, image), index(oci.MediaTypeDockerList, docker)}
	for i, m := range all {
		tag := fmt.Sprintf("bytes-%d", i)
		pushed := v.pushManifest(m, tag)
		if pushed.Status != http.StatusCreated {
			return wrong(pushed, "the function must decode the body if the event says isBase64Encoded, also for manifests: the gateway encodes bodies that it does not consider text. Otherwise follow the message of the error", "PUT of a manifest as %s answered %d", m.mediaType, pushed.Status)
		}
		for _, ref := range []string{tag, string(m.digest)} {
			if f := manifestFault(v.getManifest(m, ref), m); f.Status != verify.Passed {
				return f
			}
		}
	}
	return ok("%d media types, with characters beyond ASCII and a line break at the end", len(all))
}

// manifestFault compares a pulled manifest with the pushed one.
func manifestFault(r *verify.Reply, m manifest) verify.Result {
	const response = "the function must set isBase64Encoded according to its body: true for base64, false for text"
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	plain, err := base64.StdEncoding.DecodeString(string(r.Body))
	switch {
	case err == nil && bytes.Equal(plain, m.bytes):
		return wrong(r, response, "GET of a manifest as %s returns its base64", m.mediaType)
	case r.Status != http.StatusOK:
		return wrong(r, "the function must decode the body if the event says isBase64Encoded: the stored bytes differ from those sent", "%s: pushed as %s", r, m.mediaType)
	case !bytes.Equal(r.Body, m.bytes):
		return wrong(r, "proxies in front must not change bodies (compression or rewriting by a CDN); the function must decode and encode base64, and never convert text", "GET of a manifest as %s returns %d bytes that differ from the %d pushed", m.mediaType, len(r.Body), len(m.bytes))
	case contentType != m.mediaType:
		return wrong(r, "the function must send Content-Type: without it the gateway sends text/plain", "Content-Type: %s for a manifest pushed as %s", contentType, m.mediaType)
	case r.Header.Get("Docker-Content-Digest") != string(m.digest):
		return wrong(r, "a CDN in front must not drop Docker-Content-Digest", "Docker-Content-Digest: %q, not %s", r.Header.Get("Docker-Content-Digest"), m.digest)
	}
	return ok("")
}
