package verify

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Media types of Docker.
const (
	mediaDockerConfig = "application/vnd.docker.container.image.v1+json"
	mediaDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// localImage is an image before the push.
type localImage struct {
	config   blob
	layers   []blob
	manifest manifest
}

func (img localImage) blobs() []blob { return append(slices.Clone(img.layers), img.config) }

func (t *T) newLocalImage(layers int) localImage {
	img := localImage{config: t.newBlob(300)}
	for range layers {
		img.layers = append(img.layers, t.newBlob(20_000)) // of the same size, so that registries cannot distinguish them by it
	}
	img.manifest = t.imageOf(img.config, img.layers...).encode()
	return img
}

// asDocker gives the image the media types of Docker.
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
	t.wantBlobs(img.blobs())
}

// acceptLines sends one Accept line for each manifest type, as docker, podman and regctl do.
func acceptLines() option {
	return func(r *Request) {
		r.Header["Accept"] = []string{oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.v1+prettyjws"}
	}
}

// acceptContainerd sends the Accept line of containerd.
func acceptContainerd() option {
	return withHeader("Accept", strings.Join([]string{oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, "*/*"}, ", "))
}

// streamed is a body without Content-Length, as docker and podman send it.
func streamed(content []byte) option { return func(r *Request) { r.Body, r.Stream = content, true } }

// dockerBlob pushes a blob like docker with its own image store.
func (t *T) dockerBlob(b blob) {
	opened := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	sent := t.patch(opened.location(), streamed(b.content)).wantStatus(http.StatusAccepted).wantRange(len(b.content))
	t.put(sent.merged(b.digest), withHeader("Content-Type", octetStream)).wantStatus(http.StatusCreated)
	t.head(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantLength(len(b.content))
}

// pushed pushes an image that the case will pull.
func (t *T) pushed(img localImage) localImage {
	for _, b := range img.blobs() {
		t.seedBlob(t.repo, b)
	}
	t.seedManifest(t.repo, "v1", img.manifest)
	return img
}
