package verify

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

const wrongDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000001"

func manifestDigestMismatch(t *T) {
	m := t.newImage(t.repo)
	t.putManifest(t.repo, wrongDigest, m).wantRefused()
	t.getManifest(t.repo, wrongDigest).wantStatus(http.StatusNotFound)
}

func manifestDigestMismatchStatus(t *T) {
	t.putManifest(t.repo, wrongDigest, t.newImage(t.repo)).wantError(http.StatusBadRequest, oci.DigestInvalid)
}

func manifestDigestMalformed(t *T) {
	m := t.newImage(t.repo)
	hex := strings.Repeat("a", 64)
	for _, ref := range []string{"sha256:abc", "sha256:" + hex[1:], "sha256:" + strings.Repeat("g", 64), "sha256:", ":" + hex, "nothing:" + hex, "v1:v2"} {
		t.putManifest(t.repo, ref, m).wantRefused()
	}
}

// sparse pushes a manifest that refers to missing content, and ends the case if the registry
// accepts it.
func (t *T) sparse(repo repository, ref string, m manifest) *answer {
	a := t.putManifest(repo, ref, m)
	a.notOfferedIf("manifests with missing content are accepted", http.StatusCreated)
	return a.wantRefused()
}

// wantBlobUnknown expects MANIFEST_BLOB_UNKNOWN, if the error is in the spec's format.
func (a *answer) wantBlobUnknown() {
	errs := a.errors()
	isUnknown := func(e oci.Error) bool { return e.Code == oci.ManifestBlobUnknown }
	a.want(errs == nil || slices.ContainsFunc(errs, isUnknown), "expected an error with the code %s", oci.ManifestBlobUnknown)
}

func manifestMissingBlob(t *T) {
	there, missing := t.newBlob(100), t.newBlob(100)
	t.seedBlob(t.repo, there)
	t.sparse(t.repo, "v1", t.imageOf(there, missing).encode()).wantBlobUnknown()
	t.sparse(t.repo, "v1", t.imageOf(missing, there).encode()).wantBlobUnknown()
}

func manifestMissingChild(t *T) {
	there, missing := t.seedImage(t.repo, ""), t.newImage(t.repo)
	t.sparse(t.repo, "v1", t.indexOf(there, missing).encode()).wantBlobUnknown()
}

func manifestMissingAll(t *T) {
	t.seedImage(t.repo, "v1")
	missing := []blob{t.newBlob(100), t.newBlob(100), t.newBlob(100)}
	a := t.sparse(t.repo, "v2", t.imageOf(missing[0], missing[1:]...).encode())
	for _, b := range missing {
		a.want(a.contains(string(b.digest)), "expected the missing %s to be named", b.digest)
	}
}

func manifestRefusedNotStored(t *T) {
	old := t.seedImage(t.repo, "v1")
	config := t.seedNewBlob(t.repo)
	refused := t.imageOf(config, t.newBlob(100)).encode()
	t.setup(func() { t.sparse(t.repo, "v1", refused) })
	t.getManifest(t.repo, string(refused.digest)).wantStatus(http.StatusNotFound)
	t.wantManifest(t.repo, "v1", old)
}

func manifestBlobElsewhere(t *T) {
	t.seedImage(t.other, "v1")
	m := t.newImage(t.repo)
	t.putManifest(t.other, "v2", m)
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		t.get(t.other.blob(d.Digest)).wantStatus(http.StatusNotFound)
	}
}

func manifestNotJSON(t *T) {
	m := t.newImage(t.repo)
	for _, content := range []string{"manifest", string(m.content[:len(m.content)-3]), "[]", `"text"`, "1", "null", "\x00\xff", string(m.content) + "}"} {
		t.putManifest(t.repo, "v1", textManifest(m.mediaType, content)).wantRefused()
	}
}

func manifestEmptyBody(t *T) {
	t.seedImage(t.repo, "v1")
	t.putManifest(t.repo, "v2", textManifest(mediaManifest, "")).wantRefused()
	t.putManifest(t.repo, "v2", textManifest(mediaIndex, "")).wantRefused()
}

func manifestInvalidCode(t *T) {
	t.seedImage(t.repo, "v1")
	t.putManifest(t.repo, "v2", textManifest(mediaManifest, `{"schemaVersion": 2,`)).wantError(http.StatusBadRequest, oci.ManifestInvalid)
}

func manifestTypeContradicts(t *T) {
	image := t.seedImage(t.repo, "")
	index := t.indexOf(image).encode()
	t.put(t.repo.manifest("v1"), withBody(image.content), withHeader("Content-Type", mediaIndex)).wantRefused()
	t.put(t.repo.manifest("v1"), withBody(index.content), withHeader("Content-Type", mediaManifest)).wantRefused()
}

func manifestDescriptorMalformed(t *T) {
	doc := t.newImage(t.repo).doc
	for _, d := range []oci.Digest{"", "latest", "sha256:abc", "sha256:../../../../etc/passwd"} {
		doc.Layers[0].Digest = d
		t.putManifest(t.repo, "v1", doc.encode()).wantRefused()
	}
}

func manifestConfigSizeDiffers(t *T) {
	doc := t.newImage(t.repo).doc
	for _, size := range []int64{0, -1, doc.Config.Size + 1} {
		config := *doc.Config
		config.Size = size
		wrong := doc
		wrong.Config = &config
		t.putManifest(t.repo, "v1", wrong.encode()).wantRefused()
	}
}

func manifestLayerSizeDiffers(t *T) {
	doc := t.newImage(t.repo).doc
	size := doc.Layers[0].Size
	for _, wrong := range []int64{0, -1, size - 1} {
		doc.Layers[0].Size = wrong
		t.putManifest(t.repo, "v1", doc.encode()).wantRefused()
	}
}
