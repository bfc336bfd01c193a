package verify

import (
	"encoding/base64"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func manifestKindDocker(t *T) {
	doc := t.newImage(t.repo).doc
	doc.MediaType = oci.MediaTypeDockerManifest
	doc.Config.MediaType = "application/vnd.docker.container.image.v1+json"
	doc.Layers[0].MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	doc.Annotations = nil // the format has no annotations
	t.wantAccepted(doc.encode())
}

func manifestKindDockerList(t *T) {
	doc := t.newImage(t.repo).doc
	doc.MediaType = oci.MediaTypeDockerManifest
	doc.Annotations = nil
	list := t.indexOf(t.seedManifest(t.repo, "", doc.encode()))
	list.MediaType, list.Annotations = oci.MediaTypeDockerList, nil
	t.wantAccepted(list.encode())
}

func manifestKindIndex(t *T) {
	a, b := t.seedImage(t.repo, ""), t.seedImage(t.repo, "")
	m := t.indexOf(a, b).encode()
	t.wantPushed(t.repo, "v1", m)
	for _, child := range []manifest{a, b} {
		t.wantManifest(t.repo, string(child.digest), child)
	}
}

func manifestKindNestedIndex(t *T) {
	image := t.seedImage(t.repo, "")
	inner := t.seedManifest(t.repo, "", t.indexOf(image).encode())
	t.wantAccepted(t.indexOf(inner, image).encode())
}

func manifestKindCustomConfig(t *T) {
	doc := t.newImage(t.repo).doc
	doc.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	doc.Layers[0].MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	t.wantAccepted(doc.encode())
}

func manifestKindRepeatedLayer(t *T) {
	doc := t.newImage(t.repo).doc
	doc.Layers = append(doc.Layers, doc.Layers[0], doc.Layers[0])
	t.wantAccepted(doc.encode())
}

func manifestKindForeignLayer(t *T) {
	for manifestType, layerType := range map[string]string{
		mediaManifest:               "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		oci.MediaTypeDockerManifest: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	} {
		doc := t.newImage(t.repo).doc
		layer := t.newBlob(100).descriptor(layerType)
		layer.URLs = []string{"https://example.com/layer"}
		doc.MediaType, doc.Layers = manifestType, append(doc.Layers, layer)
		m := doc.encode()
		if a := t.putManifest(t.repo, string(m.digest), m); a.Status < http.StatusInternalServerError && a.contains("MANIFEST_BLOB_UNKNOWN") {
			t.notOffered(a, "missing content is refused")
		}
		t.wantAccepted(m)
	}
}

func manifestKindData(t *T) {
	m := t.newArtifact(t.repo, "application/vnd.example.artifact").encode()
	t.wantAccepted(m.edited(`"config": {`, `"config": {"data": "`+base64.StdEncoding.EncodeToString([]byte("{}"))+`",`))
}

func manifestKindUnknown(t *T) {
	t.seedImage(t.repo, "v1")
	m := textManifest("application/vnd.example.manifest.v1+json", `{"mediaType": "application/vnd.example.manifest.v1+json", "things": []}`)
	t.putManifest(t.repo, "v2", m).notOfferedIf4xx("manifests of other types are refused").wantStatus(http.StatusCreated)
	t.wantManifest(t.repo, "v2", m).wantHeader("Content-Type", m.mediaType)
}
