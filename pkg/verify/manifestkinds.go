package verify

import (
	"encoding/base64"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func manifestKindCases() []Case {
	return []Case{
		{
			"manifest-kind-docker", Push, Must, "docker",
			"An image manifest of Docker's type (schema 2) is accepted and pulled.",
			"docker push, where images are not kept by containerd", manifestKindDocker,
		},
		{
			"manifest-kind-docker-list", Push, Must, "docker",
			"A manifest list of Docker's type is accepted and pulled.",
			"docker manifest push; copies of older multi-platform images", manifestKindDockerList,
		},
		{
			"manifest-kind-index", Push, Must, "Pushing Manifests",
			"An image index whose manifests are in the repository is accepted and pulled.",
			"multi-platform images", manifestKindIndex,
		},
		{
			"manifest-kind-nested-index", Push, Should, "Pushing Manifests",
			"An index of indexes is accepted and pulled.",
			"images that are grouped by product or version", manifestKindNestedIndex,
		},
		{
			"manifest-kind-empty-index", Push, Must, "Pushing Manifests",
			"An index without manifests is accepted and pulled.",
			"clients that take the last entry out of an index: oras and regctl with referrers", manifestKindEmptyIndex,
		},
		{
			"manifest-kind-artifact", Push, Must, "Pushing Manifests",
			"An artifact, with an artifactType and the empty config of the image spec, is accepted and pulled.",
			"oras, notation, and attestations of docker buildx", manifestKindArtifact,
		},
		{
			"manifest-kind-custom-config", Push, Must, "Pushing Manifests",
			"A manifest whose config and layers have types of their own is accepted and pulled.",
			"helm charts, cosign signatures, WebAssembly modules", manifestKindCustomConfig,
		},
		{
			"manifest-kind-no-layers", Push, Must, "Pushing Manifests",
			"An image without layers is accepted and pulled.",
			"artifacts that are their annotations alone", manifestKindNoLayers,
		},
		{
			"manifest-kind-repeated-layer", Push, Must, "Pushing Manifests",
			"An image that names one layer several times is accepted and pulled.",
			"images with empty layers: docker build makes them", manifestKindRepeatedLayer,
		},
		{
			"manifest-kind-foreign-layer", Push, Should, "docker",
			"An image is accepted without its non-distributable layers.",
			"Windows images: clients leave these layers out of a push", manifestKindForeignLayer,
		},
		{
			"manifest-kind-data", Push, Must, "Pushing Manifests",
			"A manifest with content in a descriptor's data field is accepted and pulled.",
			"clients that save themselves a request for small content", manifestKindData,
		},
		{
			"manifest-kind-unknown", Push, May, "Pushing Manifests",
			"A manifest of a type that the registry does not know is accepted, and pulled as that type.",
			"formats to come", manifestKindUnknown,
		},
	}
}

func manifestKindDocker(p *probe) {
	doc := p.newImage(p.repo).doc
	doc.MediaType = oci.MediaTypeDockerManifest
	doc.Config.MediaType = "application/vnd.docker.container.image.v1+json"
	doc.Layers[0].MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	doc.Annotations = nil // the format has none
	p.accepts(doc.encode())
}

func manifestKindDockerList(p *probe) {
	doc := p.newImage(p.repo).doc
	doc.MediaType = oci.MediaTypeDockerManifest
	doc.Annotations = nil
	list := p.indexOf(p.hasManifest(p.repo, "", doc.encode()))
	list.MediaType, list.Annotations = oci.MediaTypeDockerList, nil
	p.accepts(list.encode())
}

func manifestKindIndex(p *probe) {
	a, b := p.hasImage(p.repo, ""), p.hasImage(p.repo, "")
	m := p.indexOf(a, b).encode()
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
	p.pulls(p.repo, "v1", m)
	for _, child := range []manifest{a, b} {
		p.pulls(p.repo, string(child.digest), child)
	}
}

func manifestKindNestedIndex(p *probe) {
	image := p.hasImage(p.repo, "")
	inner := p.hasManifest(p.repo, "", p.indexOf(image).encode())
	p.accepts(p.indexOf(inner, image).encode())
}

func manifestKindEmptyIndex(p *probe) { p.accepts(p.indexOf().encode()) }

// newArtifact is an artifact with one layer, whose blobs are in the repository;
// an empty type is left out.
func (p *probe) newArtifact(repo repository, artifactType string) document {
	config, layer := blobOf([]byte("{}")), p.newBlob(100)
	p.hasBlob(repo, config)
	p.hasBlob(repo, layer)
	doc := p.imageOf(config, layer)
	doc.ArtifactType = artifactType
	doc.Config.MediaType, doc.Layers[0].MediaType = mediaEmpty, octetStream
	return doc
}

func manifestKindArtifact(p *probe) {
	p.accepts(p.newArtifact(p.repo, "application/vnd.example.artifact").encode())
}

func manifestKindCustomConfig(p *probe) {
	doc := p.newImage(p.repo).doc
	doc.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	doc.Layers[0].MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	p.accepts(doc.encode())
}

func manifestKindNoLayers(p *probe) {
	doc := p.newImage(p.repo).doc
	doc.Layers = []oci.Descriptor{}
	p.accepts(doc.encode())
}

func manifestKindRepeatedLayer(p *probe) {
	doc := p.newImage(p.repo).doc
	doc.Layers = append(doc.Layers, doc.Layers[0], doc.Layers[0])
	p.accepts(doc.encode())
}

func manifestKindForeignLayer(p *probe) {
	for manifestType, layerType := range map[string]string{
		mediaManifest:               "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		oci.MediaTypeDockerManifest: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	} {
		doc := p.newImage(p.repo).doc
		layer := p.newBlob(100).descriptor(layerType)
		layer.URLs = []string{"https://example.com/layer"}
		doc.MediaType, doc.Layers = manifestType, append(doc.Layers, layer)
		m := doc.encode()
		if a := p.putManifest(p.repo, string(m.digest), m); a.status < http.StatusInternalServerError && a.names("MANIFEST_BLOB_UNKNOWN") {
			p.notOffered(a, "what a manifest refers to must be there")
		}
		p.accepts(m)
	}
}

func manifestKindData(p *probe) {
	m := p.newArtifact(p.repo, "application/vnd.example.artifact").encode()
	p.accepts(m.edited(`"config": {`, `"config": {"data": "`+base64.StdEncoding.EncodeToString([]byte("{}"))+`",`))
}

func manifestKindUnknown(p *probe) {
	p.hasImage(p.repo, "v1")
	m := textManifest("application/vnd.example.manifest.v1+json", `{"mediaType": "application/vnd.example.manifest.v1+json", "things": []}`)
	a := p.putManifest(p.repo, "v2", m)
	if a.status >= 400 && a.status < 500 {
		p.notOffered(a, "manifests of other types are refused")
	}
	a.is(http.StatusCreated)
	p.pulls(p.repo, "v2", m).has("Content-Type", m.mediaType)
}
