package verify

import (
	"fmt"
	"net/http"
	"strings"
)

func manifestPutByTag(t *T) {
	m := t.newImage(t.repo)
	t.wantPushed(t.repo, "v1", m)
	t.wantManifest(t.repo, string(m.digest), m)
}

func manifestPutByDigest(t *T) {
	m := t.newImage(t.repo)
	t.wantPushed(t.repo, string(m.digest), m)
}

func manifestPutLocation(t *T) {
	m := t.newImage(t.repo)
	for _, ref := range []string{"v1", string(m.digest)} {
		loc := t.putManifest(t.repo, ref, m).wantStatus(http.StatusCreated).location()
		t.get(loc, withHeader("Accept", acceptedByMost)).wantStatus(http.StatusOK).wantBody(m.content)
	}
}

func manifestPutDigestHeader(t *T) {
	m := t.newImage(t.repo)
	for _, ref := range []string{"v1", string(m.digest)} {
		t.putManifest(t.repo, ref, m).wantStatus(http.StatusCreated).wantDigest(m.digest)
	}
}

func manifestFoundAtOnce(t *T) {
	m := t.newImage(t.repo)
	refs := []string{"v1", string(m.digest)}
	t.setup(func() {
		for _, ref := range refs {
			t.headManifest(t.repo, ref).wantStatus(http.StatusNotFound)
			t.getManifest(t.repo, ref).wantStatus(http.StatusNotFound)
		}
	})
	t.seedManifest(t.repo, "v1", m)
	for _, ref := range refs {
		t.headManifest(t.repo, ref).wantStatus(http.StatusOK)
		t.wantManifest(t.repo, ref, m)
	}
}

func manifestTagMoves(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.wantManifest(t.repo, "v1", m)
	for range 3 {
		m = t.variant(m)
		t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated)
		t.headManifest(t.repo, "v1").wantStatus(http.StatusOK).wantDigest(m.digest)
		t.wantManifest(t.repo, "v1", m).wantDigest(m.digest)
	}
}

func manifestUntagged(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedManifest(t.repo, "v1", t.variant(m))
	t.headManifest(t.repo, string(m.digest)).wantStatus(http.StatusOK)
	t.wantManifest(t.repo, string(m.digest), m)
}

func manifestPutAgain(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated)
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
	t.wantManifest(t.repo, "v1", m)
}

func manifestManyTags(t *T) {
	m := t.newImage(t.repo)
	for i := range 20 {
		t.seedManifest(t.repo, fmt.Sprintf("v%d", i), m)
	}
	for i := range 20 {
		t.wantManifest(t.repo, fmt.Sprintf("v%d", i), m)
	}
}

func manifestTypeParameters(t *T) {
	m := t.newImage(t.repo)
	t.put(t.repo.manifest("v1"), withBody(m.content), withHeader("Content-Type", m.mediaType+"; charset=utf-8")).wantStatus(http.StatusCreated)
	t.wantManifest(t.repo, "v1", m).wantHeader("Content-Type", m.mediaType)
}

func manifestWithoutMediaType(t *T) {
	image := t.newImage(t.repo)
	index := t.indexOf(t.seedManifest(t.repo, "", t.variant(image)))
	for _, doc := range []document{image.doc, index} {
		mediaType := doc.MediaType
		doc.MediaType = ""
		m := doc.encode()
		m.mediaType = mediaType
		t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
		t.wantManifest(t.repo, string(m.digest), m).wantHeader("Content-Type", mediaType)
	}
}

func manifestWithoutContentType(t *T) {
	m := t.newImage(t.repo)
	t.put(t.repo.manifest("v1"), withBody(m.content)).
		notOfferedIf4xx("a push without Content-Type is refused").wantStatus(http.StatusCreated)
	t.wantManifest(t.repo, "v1", m).wantHeader("Content-Type", m.mediaType)
}

// imageOfSize returns an image whose manifest has exactly n bytes.
func (t *T) imageOfSize(n int) manifest {
	doc := t.newImage(t.repo).doc
	doc.Annotations["padding"] = ""
	doc.Annotations["padding"] = strings.Repeat("x", n-len(doc.encode().content))
	return doc.encode()
}

func manifest4MB(t *T) {
	m := t.imageOfSize(4_000_000)
	t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated)
	t.headManifest(t.repo, "v1").wantStatus(http.StatusOK).wantLength(len(m.content))
	t.wantManifest(t.repo, "v1", m)
}

func manifestTooLarge(t *T) {
	m := t.imageOfSize(4<<20 + 1)
	a := t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated, http.StatusRequestEntityTooLarge)
	if a.Status == http.StatusCreated {
		t.wantManifest(t.repo, "v1", m) // the limit is higher, or there is none
		return
	}
	t.getManifest(t.repo, "v1").wantStatus(http.StatusNotFound)
}

func manifestBytesWhitespace(t *T) {
	m := t.newImage(t.repo)
	text := string(m.content)
	for _, content := range []string{
		strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), " ", ""),
		strings.ReplaceAll(text, "\n", "\r\n\t"),
		text + "\n",
		"\n\n " + text + " \n\n",
	} {
		t.wantAccepted(textManifest(m.mediaType, content))
	}
}

func manifestBytesKeyOrder(t *T) {
	m := t.newImage(t.repo)
	c, l := m.doc.Config, m.doc.Layers[0]
	t.wantAccepted(textManifest(m.mediaType, fmt.Sprintf(
		`{"layers":[{"size":%d,"mediaType":%q,"digest":%q}],"mediaType":%q,"config":{"digest":%q,"size":%d,"mediaType":%q},"schemaVersion":2}`,
		l.Size, l.MediaType, l.Digest, m.mediaType, c.Digest, c.Size, c.MediaType)))
}

func manifestBytesFields(t *T) {
	m := t.newImage(t.repo)
	t.wantAccepted(m.edited("{", `{"x-custom": {"b": [1, {"a": null}], "a": true},`))
	t.wantAccepted(m.edited(`"config": {`, `"config": {"x-custom": {"b": [1, {"a": null}], "a": true},`))
}
