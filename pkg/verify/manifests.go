package verify

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func manifestCases() []Case {
	return slices.Concat(manifestPushCases(), manifestBytesCases(), manifestKindCases(), manifestRefusalCases(), manifestNameCases(), pushTagsCases())
}

func manifestPushCases() []Case {
	return []Case{
		{
			"manifest-put-by-tag", Push, Must, "Pushing Manifests",
			"PUT of a manifest to a tag answers 201, and the manifest is pulled by the tag and by its digest.",
			everyClient + " pushes by tag", manifestPutByTag,
		},
		{
			"manifest-put-by-digest", Push, Must, "Pushing Manifests",
			"PUT of a manifest to its digest answers 201, and the manifest is pulled by it.",
			"the children of multi-platform images; helm, oras and cosign", manifestPutByDigest,
		},
		{
			"manifest-put-location", Push, Must, "Pushing Manifests",
			"The answer to a PUT of a manifest has a Location from which the manifest is pulled.",
			"clients that go on with the Location", manifestPutLocation,
		},
		{
			"manifest-put-digest-header", Push, Must, "Pushing Manifests",
			"The answer to a PUT of a manifest has its digest in Docker-Content-Digest.",
			"docker push takes the digest from it and fails without it", manifestPutDigestHeader,
		},
		{
			"manifest-found-at-once", Push, Must, "Pushing Manifests",
			"A manifest that was asked for in vain is found as soon as its push is answered.",
			everyClient + " looks before it pushes", manifestFoundAtOnce,
		},
		{
			"manifest-tag-moves", Push, Must, "Pushing Manifests",
			"PUT of another manifest to a tag moves the tag: GET and HEAD of it find the new one at once.",
			"deployments that pull a tag right after the push get what was there before", manifestTagMoves,
		},
		{
			"manifest-untagged", Push, Must, "Definitions",
			"A manifest whose tag has moved to another one is still pulled by its digest.",
			"pinned deployments fail once the tag has moved", manifestUntagged,
		},
		{
			"manifest-put-again", Push, Must, "Pushing Manifests",
			"PUT of a manifest that is there already answers 201 again.",
			"builds that are run twice, and clients that try again", manifestPutAgain,
		},
		{
			"manifest-many-tags", Push, Must, "Definitions",
			"A manifest has as many tags as were pushed, and is pulled by each of them.",
			"releases as 1, 1.2, 1.2.3 and latest", manifestManyTags,
		},
		{
			"manifest-type-parameters", Push, Should, "Pushing Manifests",
			"Parameters of the Content-Type of a push are ignored: the manifest has the type without them.",
			"clients whose HTTP library adds a charset", manifestTypeParameters,
		},
		{
			"manifest-without-media-type", Push, Must, "Pushing Manifests",
			"A manifest without the field mediaType is accepted, and its Content-Type says what it is.",
			"buildah, kaniko and others that leave the field out, as the image spec allows", manifestWithoutMediaType,
		},
		{
			"manifest-without-content-type", Push, May, "Pushing Manifests",
			"A push without Content-Type takes the type from the manifest's mediaType.",
			"scripts that push with curl", manifestWithoutContentType,
		},
		{
			"manifest-4mb", Push, Should, "Pushing Manifests",
			"A manifest of 4 megabytes is accepted and pulled.",
			"artifacts that carry their data in the manifest", manifest4MB,
		},
		{
			"manifest-too-large", Push, Should, "Pushing Manifests",
			"A manifest that is larger than the registry takes is refused with 413.",
			"clients try again on a fault, for ever in vain", manifestTooLarge,
		},
	}
}

// pulls expects the manifest under a tag or digest, byte for byte.
func (p *probe) pulls(repo repository, ref string, m manifest) *answer {
	return p.getManifest(repo, ref).is(http.StatusOK).hasBody(m.content)
}

// accepts pushes a manifest and pulls it, where this is what the case is about.
func (p *probe) accepts(m manifest) {
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.pulls(p.repo, string(m.digest), m)
}

// textManifest is a manifest that no document can be encoded to.
func textManifest(mediaType, content string) manifest {
	return manifest{blob: blobOf([]byte(content)), mediaType: mediaType}
}

// edited is the manifest with one piece of its text replaced.
func (m manifest) edited(from, to string) manifest {
	return textManifest(m.mediaType, strings.Replace(string(m.content), from, to, 1))
}

func manifestPutByTag(p *probe) {
	m := p.newImage(p.repo)
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
	p.pulls(p.repo, "v1", m)
	p.pulls(p.repo, string(m.digest), m)
}

func manifestPutByDigest(p *probe) {
	m := p.newImage(p.repo)
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.pulls(p.repo, string(m.digest), m)
}

func manifestPutLocation(p *probe) {
	m := p.newImage(p.repo)
	for _, ref := range []string{"v1", string(m.digest)} {
		loc := p.putManifest(p.repo, ref, m).is(http.StatusCreated).location()
		p.get(loc, withHeader("Accept", acceptedByMost)).is(http.StatusOK).hasBody(m.content)
	}
}

func manifestPutDigestHeader(p *probe) {
	m := p.newImage(p.repo)
	for _, ref := range []string{"v1", string(m.digest)} {
		p.putManifest(p.repo, ref, m).is(http.StatusCreated).hasDigest(m.digest)
	}
}

func manifestFoundAtOnce(p *probe) {
	m := p.newImage(p.repo)
	refs := []string{"v1", string(m.digest)}
	p.given(func() {
		for _, ref := range refs {
			p.headManifest(p.repo, ref).is(http.StatusNotFound)
			p.getManifest(p.repo, ref).is(http.StatusNotFound)
		}
	})
	p.hasManifest(p.repo, "v1", m)
	for _, ref := range refs {
		p.headManifest(p.repo, ref).is(http.StatusOK)
		p.pulls(p.repo, ref, m)
	}
}

// variant is the same image with another digest.
func (p *probe) variant(m manifest) manifest {
	d := m.doc
	d.Annotations = p.annotated()
	return d.encode()
}

func manifestTagMoves(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.pulls(p.repo, "v1", m)
	for range 3 {
		m = p.variant(m)
		p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
		p.headManifest(p.repo, "v1").is(http.StatusOK).hasDigest(m.digest)
		p.pulls(p.repo, "v1", m).hasDigest(m.digest)
	}
}

func manifestUntagged(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasManifest(p.repo, "v1", p.variant(m))
	p.headManifest(p.repo, string(m.digest)).is(http.StatusOK)
	p.pulls(p.repo, string(m.digest), m)
}

func manifestPutAgain(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.pulls(p.repo, "v1", m)
}

func manifestManyTags(p *probe) {
	m := p.newImage(p.repo)
	for i := range 20 {
		p.hasManifest(p.repo, fmt.Sprintf("v%d", i), m)
	}
	for i := range 20 {
		p.pulls(p.repo, fmt.Sprintf("v%d", i), m)
	}
}

func manifestTypeParameters(p *probe) {
	m := p.newImage(p.repo)
	p.put(p.repo.manifest("v1"), withBody(m.content), withHeader("Content-Type", m.mediaType+"; charset=utf-8")).is(http.StatusCreated)
	p.pulls(p.repo, "v1", m).has("Content-Type", m.mediaType)
}

func manifestWithoutMediaType(p *probe) {
	image := p.newImage(p.repo)
	index := p.indexOf(p.hasManifest(p.repo, "", p.variant(image)))
	for _, doc := range []document{image.doc, index} {
		mediaType := doc.MediaType
		doc.MediaType = ""
		m := doc.encode()
		m.mediaType = mediaType
		p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
		p.pulls(p.repo, string(m.digest), m).has("Content-Type", mediaType)
	}
}

func manifestWithoutContentType(p *probe) {
	m := p.newImage(p.repo)
	a := p.put(p.repo.manifest("v1"), withBody(m.content))
	if a.status >= 400 && a.status < 500 {
		p.notOffered(a, "a push without Content-Type is refused")
	}
	a.is(http.StatusCreated)
	p.pulls(p.repo, "v1", m).has("Content-Type", m.mediaType)
}

// imageOfSize is an image whose manifest has exactly n bytes.
func (p *probe) imageOfSize(n int) manifest {
	doc := p.newImage(p.repo).doc
	doc.Annotations["padding"] = ""
	doc.Annotations["padding"] = strings.Repeat("x", n-len(doc.encode().content))
	return doc.encode()
}

func manifest4MB(p *probe) {
	m := p.imageOfSize(4_000_000)
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated)
	p.headManifest(p.repo, "v1").is(http.StatusOK).hasLength(len(m.content))
	p.pulls(p.repo, "v1", m)
}

func manifestTooLarge(p *probe) {
	m := p.imageOfSize(4<<20 + 1)
	a := p.putManifest(p.repo, "v1", m).is(http.StatusCreated, http.StatusRequestEntityTooLarge)
	if a.status == http.StatusCreated {
		p.pulls(p.repo, "v1", m) // the limit is a higher one, or there is none
		return
	}
	p.getManifest(p.repo, "v1").is(http.StatusNotFound)
}

func manifestBytesCases() []Case {
	const breaks = "the manifest no longer has the digest that clients and signatures know"
	return []Case{
		{
			"manifest-bytes-whitespace", Push, Must, "Pushing Manifests",
			"A manifest keeps its whitespace: none at all, tabs and CRLF, and what stands before and after.",
			breaks, manifestBytesWhitespace,
		},
		{
			"manifest-bytes-key-order", Push, Must, "Pushing Manifests",
			"A manifest keeps the order of its keys.",
			breaks, manifestBytesKeyOrder,
		},
		{
			"manifest-bytes-fields", Push, Must, "Pushing Manifests",
			"A manifest keeps fields that the registry does not know, in descriptors too.",
			breaks, manifestBytesFields,
		},
		{
			"manifest-bytes-text", Push, Must, "Pushing Manifests",
			"A manifest keeps its text as it is written: UTF-8 and escapes alike.",
			breaks, manifestBytesText,
		},
		{
			"manifest-bytes-numbers", Push, Must, "Pushing Manifests",
			"A manifest keeps its numbers as they are written, like 1e3, 1.0 and 12345678901234567890.",
			breaks, manifestBytesNumbers,
		},
		{
			"manifest-field-case", Push, Should, "image-spec Considerations",
			"Fields whose names differ in upper and lower case from those of the spec are fields that the registry does not know.",
			"the registry sees other layers than clients do, and may clear away the ones in use", manifestFieldCase,
		},
	}
}

func manifestBytesWhitespace(p *probe) {
	m := p.newImage(p.repo)
	text := string(m.content)
	for _, content := range []string{
		strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), " ", ""),
		strings.ReplaceAll(text, "\n", "\r\n\t"),
		text + "\n",
		"\n\n " + text + " \n\n",
	} {
		p.accepts(textManifest(m.mediaType, content))
	}
}

func manifestBytesKeyOrder(p *probe) {
	m := p.newImage(p.repo)
	c, l := m.doc.Config, m.doc.Layers[0]
	p.accepts(textManifest(m.mediaType, fmt.Sprintf(
		`{"layers":[{"size":%d,"mediaType":%q,"digest":%q}],"mediaType":%q,"config":{"digest":%q,"size":%d,"mediaType":%q},"schemaVersion":2}`,
		l.Size, l.MediaType, l.Digest, m.mediaType, c.Digest, c.Size, c.MediaType)))
}

func manifestBytesFields(p *probe) {
	m := p.newImage(p.repo)
	p.accepts(m.edited("{", `{"x-custom": {"b": [1, {"a": null}], "a": true},`))
	p.accepts(m.edited(`"config": {`, `"config": {"x-custom": {"b": [1, {"a": null}], "a": true},`))
}

func manifestBytesText(p *probe) {
	m := p.newImage(p.repo)
	p.accepts(m.edited(`"annotations": {`, `"annotations": {"title": "größer 日本 😀 \u00fc \ud83d\ude00 \/ <&> \u003c",`))
}

func manifestBytesNumbers(p *probe) {
	m := p.newImage(p.repo)
	p.accepts(m.edited("{", `{"x-numbers": [1e3, 1E+3, 1.0, -0, 0.1000, 12345678901234567890, 1234567890.12345678901234567890],`))
}

// manifestFieldCase has a second set of fields, which must neither be read as
// descriptors nor hide the first.
func manifestFieldCase(p *probe) {
	m := p.newImage(p.repo)
	p.accepts(m.edited("{", `{"Layers": "none", "CONFIG": 1, "mediatype": "text/plain",`))
}

// names reports whether an answer's body names the text.
func (a *answer) names(text string) bool { return bytes.Contains(a.body, []byte(text)) }
