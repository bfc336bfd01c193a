package verify

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Media types that docker writes.
const (
	mediaDockerConfig = "application/vnd.docker.container.image.v1+json"
	mediaDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// localImage is an image as a client has it before the push.
type localImage struct {
	config   blob
	layers   []blob
	manifest manifest
}

func (img localImage) blobs() []blob { return append(slices.Clone(img.layers), img.config) }

func (t *T) newLocalImage(layers int) localImage {
	img := localImage{config: t.newBlob(300)}
	for range layers {
		img.layers = append(img.layers, t.newBlob(20_000)) // all of one size, as nothing may tell them apart by it
	}
	img.manifest = t.imageOf(img.config, img.layers...).encode()
	return img
}

// asDocker gives the image the media types that docker writes.
func (img localImage) asDocker() localImage {
	doc := img.manifest.doc
	config := img.config.descriptor(mediaDockerConfig)
	doc.MediaType, doc.Config, doc.Layers, doc.Annotations = oci.MediaTypeDockerManifest, &config, nil, nil
	for _, l := range img.layers {
		doc.Layers = append(doc.Layers, l.descriptor(mediaDockerLayer))
	}
	img.manifest = doc.encode()
	return img
}

// wantImage expects that an image can be pulled as v1.
func (t *T) wantImage(img localImage) {
	t.getManifest(t.repo, "v1").wantStatus(http.StatusOK).wantBody(img.manifest.content)
	for _, b := range img.blobs() {
		t.wantBlob(t.repo, b)
	}
}

// merged adds the digest to an upload's location as most clients do: the query is
// read, sorted and written anew.
func (a *answer) merged(d oci.Digest) string {
	u, err := url.Parse(a.location())
	a.want(err == nil, "expected a Location header with a URL")
	q := u.Query()
	q.Set("digest", string(d))
	u.RawQuery = q.Encode()
	return u.String()
}

// appended adds the digest to an upload's location as regctl does: at the end, and
// with its colon.
func (a *answer) appended(d oci.Digest) string {
	sep := "?"
	if strings.Contains(a.location(), "?") {
		sep = "&"
	}
	return a.location() + sep + "digest=" + string(d)
}

// acceptLines sends the manifest types in one Accept line each, as docker, podman and
// regctl do.
func acceptLines() option {
	return func(r *Request) {
		r.Header["Accept"] = []string{oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.v1+prettyjws"}
	}
}

// acceptContainerd is containerd's one line.
func acceptContainerd() option {
	return withHeader("Accept", strings.Join([]string{oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, "*/*"}, ", "))
}

// streamed is a body as docker and podman send it: of no known length.
func streamed(content []byte) option {
	return func(r *Request) { r.Body, r.Stream = content, true }
}
