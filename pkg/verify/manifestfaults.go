package verify

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

const wrongDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000001"

func manifestRefusalCases() []Case {
	const unpullable = "an image that some or all clients cannot pull is found out at the pull, not at the push"
	return []Case{
		{
			"manifest-digest-mismatch", Push, Must, "Pushing Manifests",
			"PUT of a manifest to a digest that is not its own is refused, and nothing is found under that digest.",
			"whoever pushes decides what a digest means", manifestDigestMismatch,
		},
		{
			"manifest-digest-mismatch-status", Push, Should, "Error Codes",
			"PUT of a manifest to a digest that is not its own answers 400 with DIGEST_INVALID.",
			"users are not told what is wrong", manifestDigestMismatchStatus,
		},
		{
			"manifest-digest-malformed", Push, Must, "Pushing Manifests",
			"PUT of a manifest to something that is neither a tag nor a digest is refused with a 4xx status.",
			"content that no client can name", manifestDigestMalformed,
		},
		{
			"manifest-missing-blob", Push, Must, "Push",
			"Where an image is refused because its config or a layer is missing, the error is MANIFEST_BLOB_UNKNOWN.",
			"clients that push what is missing and try again", manifestMissingBlob,
		},
		{
			"manifest-missing-child", Push, Must, "Push",
			"Where an index is refused because one of its manifests is missing, the error is MANIFEST_BLOB_UNKNOWN.",
			"clients that push what is missing and try again", manifestMissingChild,
		},
		{
			"manifest-missing-all", Push, Should, "Push",
			"A manifest that is refused because content is missing is answered with all that is missing at once.",
			"one try for each missing layer", manifestMissingAll,
		},
		{
			"manifest-refused-not-stored", Push, Must, "Pushing Manifests",
			"A manifest that was refused is not found by its digest, and the tag stays where it was.",
			"a failed push breaks the release that is there", manifestRefusedNotStored,
		},
		{
			"manifest-blob-elsewhere", Push, Should, "Definitions",
			"A manifest does not bring blobs of another repository into its own: refused or not, they are not pulled from there.",
			"whoever knows a digest reads other people's content", manifestBlobElsewhere,
		},
		{
			"manifest-not-json", Push, Should, "Definitions",
			"A manifest that is not a JSON object is refused with a 4xx status.",
			unpullable, manifestNotJSON,
		},
		{
			"manifest-empty-body", Push, Should, "Definitions",
			"A push of a manifest without a body is refused with a 4xx status.",
			unpullable, manifestEmptyBody,
		},
		{
			"manifest-invalid-code", Push, Should, "Error Codes",
			"A manifest that cannot be read is refused with 400 and MANIFEST_INVALID.",
			"users are not told what is wrong", manifestInvalidCode,
		},
		{
			"manifest-type-contradicts", Push, Should, "Pushing Manifests",
			"A manifest whose mediaType is another than its Content-Type is refused with a 4xx status.",
			"two clients take one digest for different things", manifestTypeContradicts,
		},
		{
			"manifest-descriptor-malformed", Push, Should, "Definitions",
			"A manifest with a digest in it that is none is refused with a 4xx status.",
			unpullable, manifestDescriptorMalformed,
		},
		{
			"manifest-config-size-differs", Push, Should, "docker, podman",
			"A manifest whose config has another size than the blob is refused with a 4xx status.",
			unpullable, manifestConfigSizeDiffers,
		},
		{
			"manifest-layer-size-differs", Push, Should, "docker, podman",
			"A manifest whose layer has another size than the blob is refused with a 4xx status.",
			unpullable, manifestLayerSizeDiffers,
		},
	}
}

func manifestDigestMismatch(p *probe) {
	m := p.newImage(p.repo)
	p.putManifest(p.repo, wrongDigest, m).refused()
	p.getManifest(p.repo, wrongDigest).is(http.StatusNotFound)
}

func manifestDigestMismatchStatus(p *probe) {
	p.putManifest(p.repo, wrongDigest, p.newImage(p.repo)).isError(http.StatusBadRequest, oci.DigestInvalid)
}

func manifestDigestMalformed(p *probe) {
	m := p.newImage(p.repo)
	hex := strings.Repeat("a", 64)
	for _, ref := range []string{"sha256:abc", "sha256:" + hex[1:], "sha256:" + strings.Repeat("g", 64), "sha256:", ":" + hex, "nothing:" + hex, "v1:v2"} {
		p.putManifest(p.repo, ref, m).refused()
	}
}

// sparse pushes a manifest that refers to what is not there. A registry may
// accept it: then the case ends.
func (p *probe) sparse(repo repository, ref string, m manifest) *answer {
	a := p.putManifest(repo, ref, m)
	if a.status == http.StatusCreated {
		p.notOffered(a, "manifests are accepted before what they refer to")
	}
	return a.refused()
}

// saysUnknown expects MANIFEST_BLOB_UNKNOWN, where the body has the spec's form.
func (a *answer) saysUnknown() {
	errs := a.errors()
	isUnknown := func(e oci.Error) bool { return e.Code == oci.ManifestBlobUnknown }
	a.want(errs == nil || slices.ContainsFunc(errs, isUnknown), "expected an error with the code %s", oci.ManifestBlobUnknown)
}

func manifestMissingBlob(p *probe) {
	there, missing := p.newBlob(100), p.newBlob(100)
	p.hasBlob(p.repo, there)
	p.sparse(p.repo, "v1", p.imageOf(there, missing).encode()).saysUnknown()
	p.sparse(p.repo, "v1", p.imageOf(missing, there).encode()).saysUnknown()
}

func manifestMissingChild(p *probe) {
	there, missing := p.hasImage(p.repo, ""), p.newImage(p.repo)
	p.sparse(p.repo, "v1", p.indexOf(there, missing).encode()).saysUnknown()
}

func manifestMissingAll(p *probe) {
	p.hasImage(p.repo, "v1")
	missing := []blob{p.newBlob(100), p.newBlob(100), p.newBlob(100)}
	a := p.sparse(p.repo, "v2", p.imageOf(missing[0], missing[1:]...).encode())
	for _, b := range missing {
		a.want(a.names(string(b.digest)), "expected the missing %s to be named", b.digest)
	}
}

func manifestRefusedNotStored(p *probe) {
	old := p.hasImage(p.repo, "v1")
	config := p.newBlob(100)
	p.hasBlob(p.repo, config)
	refused := p.imageOf(config, p.newBlob(100)).encode()
	p.given(func() { p.sparse(p.repo, "v1", refused) })
	p.getManifest(p.repo, string(refused.digest)).is(http.StatusNotFound)
	p.pulls(p.repo, "v1", old)
}

func manifestBlobElsewhere(p *probe) {
	p.hasImage(p.other, "v1")
	m := p.newImage(p.repo)
	p.putManifest(p.other, "v2", m)
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		p.get(p.other.blob(d.Digest)).is(http.StatusNotFound)
	}
}

func manifestNotJSON(p *probe) {
	m := p.newImage(p.repo)
	for _, content := range []string{"manifest", string(m.content[:len(m.content)-3]), "[]", `"text"`, "1", "null", "\x00\xff", string(m.content) + "}"} {
		p.putManifest(p.repo, "v1", textManifest(m.mediaType, content)).refused()
	}
}

func manifestEmptyBody(p *probe) {
	p.hasImage(p.repo, "v1")
	p.putManifest(p.repo, "v2", textManifest(mediaManifest, "")).refused()
	p.putManifest(p.repo, "v2", textManifest(mediaIndex, "")).refused()
}

func manifestInvalidCode(p *probe) {
	p.hasImage(p.repo, "v1")
	p.putManifest(p.repo, "v2", textManifest(mediaManifest, `{"schemaVersion": 2,`)).isError(http.StatusBadRequest, oci.ManifestInvalid)
}

func manifestTypeContradicts(p *probe) {
	image := p.hasImage(p.repo, "")
	index := p.indexOf(image).encode()
	p.put(p.repo.manifest("v1"), withBody(image.content), withHeader("Content-Type", mediaIndex)).refused()
	p.put(p.repo.manifest("v1"), withBody(index.content), withHeader("Content-Type", mediaManifest)).refused()
}

func manifestDescriptorMalformed(p *probe) {
	doc := p.newImage(p.repo).doc
	for _, d := range []oci.Digest{"", "latest", "sha256:abc", "sha256:../../../../etc/passwd"} {
		doc.Layers[0].Digest = d
		p.putManifest(p.repo, "v1", doc.encode()).refused()
	}
}

func manifestConfigSizeDiffers(p *probe) {
	doc := p.newImage(p.repo).doc
	for _, size := range []int64{0, -1, doc.Config.Size + 1} {
		config := *doc.Config
		config.Size = size
		wrong := doc
		wrong.Config = &config
		p.putManifest(p.repo, "v1", wrong.encode()).refused()
	}
}

func manifestLayerSizeDiffers(p *probe) {
	doc := p.newImage(p.repo).doc
	size := doc.Layers[0].Size
	for _, wrong := range []int64{0, -1, size - 1} {
		doc.Layers[0].Size = wrong
		p.putManifest(p.repo, "v1", doc.encode()).refused()
	}
}
