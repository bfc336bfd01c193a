package verify

import (
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// shortCases returns the cases that consist of a few parameters.
func shortCases() map[string]func(*T) {
	const get, head = http.MethodGet, http.MethodHead
	return map[string]func(*T){
		"ping":                 func(t *T) { t.get("/v2/").wantStatus(http.StatusOK) },
		"client-ping-no-slash": func(t *T) { t.get("/v2").wantStatus(http.StatusOK) },
		"client-api-version": func(t *T) {
			t.get("/v2/").wantStatus(http.StatusOK).wantHeader("Docker-Distribution-Api-Version", "registry/2.0")
		},
		"upload-unknown-get": func(t *T) { t.get(t.neverStarted()).wantStatus(http.StatusNotFound) },

		"manifest-get-by-tag":         onManifest(get, func(a *answer, m manifest) { a.wantBody(m.content) }, "v1"),
		"manifest-get-by-digest":      onManifest(get, func(a *answer, m manifest) { a.wantBody(m.content) }, ""),
		"manifest-get-digest-header":  onManifest(get, func(a *answer, m manifest) { a.wantDigest(m.digest) }, "v1", ""),
		"manifest-head":               onManifest(head, func(a *answer, _ manifest) { a.wantBody(nil) }, "v1", ""),
		"manifest-head-digest-header": onManifest(head, func(a *answer, m manifest) { a.wantDigest(m.digest) }, "v1", ""),
		"manifest-head-length":        onManifest(head, func(a *answer, m manifest) { a.wantLength(len(m.content)) }, "v1", ""),
		"manifest-get-missing":        missingManifest(get),
		"manifest-head-missing":       missingManifest(head),

		"blob-get":                  onBlob(get, func(a *answer, b blob) { a.wantBody(b.content) }),
		"blob-get-digest-header":    onBlob(get, func(a *answer, b blob) { a.wantDigest(b.digest) }),
		"blob-get-length":           onBlob(get, func(a *answer, b blob) { a.wantLength(len(b.content)) }),
		"blob-head":                 onBlob(head, func(a *answer, _ blob) { a.wantBody(nil) }),
		"blob-head-digest-header":   onBlob(head, func(a *answer, b blob) { a.wantDigest(b.digest) }),
		"blob-get-missing":          missingBlob(get),
		"blob-head-missing":         missingBlob(head),
		"client-blob-redirect":      redirectedBlob(get),
		"client-blob-head-redirect": redirectedBlob(head),

		"range-middle":      ranges(byteRange{"bytes=500-1499", 500, 1500}, byteRange{"bytes=0-2047", 0, 2048}),
		"range-open":        ranges(byteRange{"bytes=500-", 500, 2048}, byteRange{"bytes=0-", 0, 2048}),
		"range-suffix":      ranges(byteRange{"bytes=-500", 1548, 2048}, byteRange{"bytes=-5000", 0, 2048}),
		"range-single-byte": ranges(byteRange{"bytes=0-0", 0, 1}, byteRange{"bytes=2047-2047", 2047, 2048}),
		"range-beyond-end":  ranges(byteRange{"bytes=2000-5000", 2000, 2048}),

		// Every way to store a blob, and the headers of its 201.
		"blob-put": func(t *T) {
			b := t.newBlob(3000)
			t.pushBlob(t.repo, b).wantStored(t.repo, b)
		},
		"blob-put-location":            stored(inPut, (*answer).wantPullable),
		"blob-put-digest-header":       stored(inPut, (*answer).wantDigestOf),
		"blob-post-location":           stored(inPost, (*answer).wantPullable),
		"blob-post-digest-header":      stored(inPost, (*answer).wantDigestOf),
		"chunk-complete-location":      stored(inChunk, (*answer).wantPullable),
		"chunk-complete-digest-header": stored(inChunk, (*answer).wantDigestOf),
		"mount-location":               stored(inMount, (*answer).wantPullable),
		"mount-digest-header":          stored(inMount, (*answer).wantDigestOf),

		"chunk-edges-below":     edgeOf(5*mib - 1),
		"chunk-edges-at":        edgeOf(5 * mib),
		"chunk-edges-above":     edgeOf(5*mib + 1),
		"chunk-final-put":       finalPut(true),
		"chunk-final-put-plain": finalPut(false),
		"blob-digest-mismatch-status": func(t *T) {
			_, _, a := t.mismatched()
			a.wantStatus(http.StatusBadRequest)
		},
		"chunk-digest-mismatch-status": func(t *T) {
			_, a := t.closedWrong()
			a.wantStatus(http.StatusBadRequest)
		},

		"manifest-kind-empty-index": func(t *T) { t.wantAccepted(t.indexOf().encode()) },
		"manifest-kind-artifact": func(t *T) {
			t.wantAccepted(t.newArtifact(t.repo, "application/vnd.example.artifact").encode())
		},
		"manifest-kind-no-layers": func(t *T) {
			doc := t.newImage(t.repo).doc
			doc.Layers = []oci.Descriptor{}
			t.wantAccepted(doc.encode())
		},
		"manifest-bytes-text": edit(`"annotations": {`,
			`"annotations": {"title": "größer 日本 😀 \u00fc \ud83d\ude00 \/ <&> \u003c",`),
		"manifest-bytes-numbers": edit("{",
			`{"x-numbers": [1e3, 1E+3, 1.0, -0, 0.1000, 12345678901234567890, 1234567890.12345678901234567890],`),
		// The second set of fields must neither be read as descriptors nor hide the first.
		"manifest-field-case": edit("{", `{"Layers": "none", "CONFIG": 1, "mediatype": "text/plain",`),

		"manifest-tag-characters": tags("a", "Z", "0", "_", "__", "a.b-c_D9", "_.-", "a..b", "x--y", "1.0.0-rc.1_build", "v1.", "v1-"),
		"manifest-tag-longest":    tags(strings.Repeat("a", 128), strings.Repeat("a", 127)+"-"),
		"manifest-tag-case":       tags("latest", "Latest", "LATEST"),
		"manifest-tag-like-route": tags("list", "tags", "manifests", "blobs", "uploads", "referrers", "v2", "_catalog"),
		"manifest-tag-too-long": func(t *T) {
			t.putManifest(t.repo, strings.Repeat("a", 129), t.newImage(t.repo)).wantRefused()
		},
		"manifest-name-separators": func(t *T) { t.wantRepositoryAccepted(t.repo + "/a.b/c_d/e__f/g-h/i--j/k---l/0.1_2") },
		"manifest-name-components": func(t *T) { t.wantRepositoryAccepted(t.repo + repository(strings.Repeat("/a", 12))) },

		"delete-blob-mounted-from": deletedCopy(true, false),
		"delete-blob-mounted-to":   deletedCopy(true, true),
		"delete-blob-twice-pushed": deletedCopy(false, false),
	}
}

// onManifest pushes an image as v1, requests it by these references (empty: its digest)
// and checks the 200.
func onManifest(method string, check func(*answer, manifest), refs ...string) func(*T) {
	return func(t *T) {
		m := t.seedImage(t.repo, "v1")
		for _, ref := range refs {
			if ref == "" {
				ref = string(m.digest)
			}
			check(t.do(method, t.repo.manifest(ref), withHeader("Accept", acceptedByMost)).wantStatus(http.StatusOK), m)
		}
	}
}

// missingManifest requests a tag and a digest that do not exist.
func missingManifest(method string) func(*T) {
	return func(t *T) {
		t.seedImage(t.repo, "v1")
		for _, ref := range []string{"v2", string(t.newBlob(10).digest)} {
			t.do(method, t.repo.manifest(ref), withHeader("Accept", acceptedByMost)).wantStatus(http.StatusNotFound)
		}
	}
}

// onBlob pushes a blob, requests it and checks the 200.
func onBlob(method string, check func(*answer, blob)) func(*T) {
	return func(t *T) {
		b := t.seedNewBlob(t.repo)
		check(t.do(method, t.repo.blob(b.digest)).wantStatus(http.StatusOK), b)
	}
}

// missingBlob requests a blob that does not exist, in a repository and in none.
func missingBlob(method string) func(*T) {
	return func(t *T) {
		t.seedNewBlob(t.repo)
		for _, repo := range []repository{t.repo, t.other} {
			t.do(method, repo.blob(t.newBlob(10).digest)).wantStatus(http.StatusNotFound)
		}
	}
}

// redirectedBlob follows the redirects of a blob, if there are any: temporary ones, to
// URLs that need no credentials.
func redirectedBlob(method string) func(*T) {
	return func(t *T) {
		b := t.seedNewBlob(t.repo)
		a := t.do(method, t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantContent(b.content)
		for _, h := range a.hops {
			permanent := method == http.MethodGet && h.status == http.StatusMovedPermanently
			a.want(!permanent, "expected a temporary redirect: 302, 303, 307 or 308")
		}
		for _, place := range a.places() {
			if place.Host != t.client.Base.Host {
				t.do(method, place.String(), anonymous()).wantStatus(http.StatusOK).wantContent(b.content)
			}
		}
	}
}

// byteRange is a Range header and the bytes from first to end (exclusive) that it selects.
type byteRange struct {
	spec       string
	first, end int
}

// ranges requests ranges of a blob of 2048 bytes.
func ranges(all ...byteRange) func(*T) {
	return func(t *T) {
		b, request := t.seedRanges()
		for _, r := range all {
			request(r.spec).wantStatus(http.StatusPartialContent).wantBody(b.content[r.first:r.end])
		}
	}
}

// stored stores a blob and checks the 201.
func stored(store func(*T, blob) *answer, check func(*answer, blob) *answer) func(*T) {
	return func(t *T) {
		b := t.newBlob(3000)
		check(t.setupWith(func() *answer { return store(t, b).wantStatus(http.StatusCreated) }), b)
	}
}

func inPut(t *T, b blob) *answer  { return t.pushBlob(t.repo, b) }
func inPost(t *T, b blob) *answer { return t.singlePost(b.digest, b.content).offersPost() }

func inChunk(t *T, b blob) *answer {
	u := t.startUpload(t.repo, "")
	u.chunk(0, b.content).wantStatus(http.StatusAccepted)
	return u.put(b.digest, nil)
}

func inMount(t *T, b blob) *answer {
	t.seedBlob(t.repo, b)
	return t.mount(t.other, b.digest, t.repo).offersMount()
}

// finalPut sends the last chunk in the closing PUT, with or without Content-Range.
func finalPut(withRange bool) func(*T) {
	return func(t *T) {
		u, b, chunks := t.startParts(1)
		u.seedChunk(0, chunks[0])
		var opts []option
		if withRange {
			opts = append(opts, contentRange(u.min, len(chunks[1])))
		}
		u.put(b.digest, chunks[1], opts...).wantStored(t.repo, b)
	}
}

// edit pushes an image with one piece of its text replaced.
func edit(from, to string) func(*T) {
	return func(t *T) { t.wantAccepted(t.newImage(t.repo).edited(from, to)) }
}

// tags pushes a different image to each tag, and expects that all can be pulled.
func tags(names ...string) func(*T) {
	return func(t *T) { t.wantTagsAccepted(names...) }
}

// deletedCopy brings a blob to a second repository, by a mount or a push, and deletes it
// in one of the two.
func deletedCopy(byMount, inSecond bool) func(*T) {
	return func(t *T) {
		b := t.pushedBlob(t.repo)
		if byMount {
			t.seedMount(t.other, t.repo, b.digest)
		} else {
			t.seedBlob(t.other, b)
		}
		gone, kept := t.repo, t.other
		if inSecond {
			gone, kept = kept, gone
		}
		t.seedDelete(gone.blob(b.digest))
		t.wantNoBlob(gone, b.digest)
		t.wantBlobFound(kept, b)
	}
}
