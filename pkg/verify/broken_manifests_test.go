package verify_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func brokenManifests() []broken {
	return slices.Concat(brokenManifestPushes(), brokenManifestBytes(), brokenManifestKinds(), brokenManifestRefusals(), brokenManifestNames(), brokenPushTags())
}

func brokenManifestPushes() []broken {
	const there = http.StatusOK
	large := func(r *http.Request) bool { return on("PUT", toManifest)(r) && r.ContentLength > 1<<20 }
	parameters := func(r *http.Request) bool { return strings.Contains(r.Header.Get("Content-Type"), ";") }
	return []broken{
		{"manifest pushed by tag is 200", []string{"manifest-put-by-tag"}, turns(on("PUT", toTag), http.StatusCreated, there)},
		{"manifest pushed by digest is 202", []string{"manifest-put-by-digest"}, turns(on("PUT", toDigest), http.StatusCreated, http.StatusAccepted)},
		{"manifest push by tag only", []string{"manifest-put-by-digest"}, refuses(on("PUT", toDigest), http.StatusMethodNotAllowed)},
		{"manifest not found by digest", []string{"manifest-put-by-tag"}, refuses(on("GET", toDigest), http.StatusNotFound)},
		{"manifest push without Location", []string{"manifest-put-location"}, drops(on("PUT", toManifest), "Location")},
		{"manifest Location leads nowhere", []string{"manifest-put-location"}, sets(on("PUT", toManifest), "Location", "/v2/manifests/"+anyDigest)},
		{"manifest push without a digest", []string{"manifest-put-digest-header"}, drops(on("PUT", toManifest), "Docker-Content-Digest")},
		{"manifest push with another's digest", []string{"manifest-put-digest-header"}, sets(on("PUT", toManifest), "Docker-Content-Digest", anyDigest)},
		{"manifest misses are cached", []string{"manifest-found-at-once"}, caches(on("GET|HEAD", toManifest), func(r *reply) bool { return r.status == http.StatusNotFound })},
		{
			"manifest hits are cached",
			[]string{"manifest-tag-moves", "delete-tag", "delete-manifest", "delete-manifest-tags"},
			caches(on("GET|HEAD", toManifest), (*reply).ok),
		},
		{"tag never moves", []string{"manifest-tag-moves"}, firstTagWins()},
		{"old manifest goes with its tag", []string{"manifest-untagged"}, around(on("PUT", toTag), func(next http.Handler, r *http.Request) *reply {
			old := ask(next, "HEAD", r.URL.Path).header.Get("Docker-Content-Digest")
			got := record(next, r)
			if got.ok() && old != "" && old != got.header.Get("Docker-Content-Digest") {
				ask(next, "DELETE", repositoryOf(r.URL.Path)+"/manifests/"+old)
			}
			return got
		})},
		{"manifest pushed again is 409", []string{"manifest-put-again", "manifest-tag-moves"}, around(on("PUT", toManifest), func(next http.Handler, r *http.Request) *reply {
			old := ask(next, "HEAD", r.URL.Path)
			got := record(next, r)
			if old.ok() {
				got.become(http.StatusConflict)
			}
			return got
		})},
		{"one tag for each manifest", []string{"manifest-many-tags"}, oneTagEach()},
		{"manifest type with parameters refused", []string{"manifest-type-parameters"}, refuses(parameters, http.StatusUnsupportedMediaType)},
		{
			"manifest type keeps its parameters",
			[]string{"manifest-type-parameters"},
			successes(on("GET|HEAD", toManifest), func(r *reply) { r.header.Set("Content-Type", r.header.Get("Content-Type")+"; charset=utf-8") }),
		},
		{"mediaType demanded", []string{"manifest-without-media-type"}, around(on("PUT", toManifest), func(next http.Handler, r *http.Request) *reply {
			missing := readManifest(requestBody(r)).MediaType == ""
			got := record(next, r)
			if missing {
				got.become(http.StatusBadRequest)
			}
			return got
		})},
		{"type is what the field says", []string{"manifest-without-media-type"}, successes(on("GET|HEAD", toManifest), func(r *reply) {
			r.header.Set("Content-Type", readManifest(r.body).MediaType)
		})},
		{"type of a push without one is lost", []string{"manifest-without-content-type", "manifest-kind-unknown"}, sets(on("GET", toTag), "Content-Type", "application/json")},
		{"manifests up to 1 MiB", []string{"manifest-4mb"}, refuses(large, http.StatusRequestEntityTooLarge)},
		{"large manifest is a fault", []string{"manifest-too-large"}, turns(on("PUT", toManifest), http.StatusRequestEntityTooLarge, http.StatusInternalServerError)},
		{"large manifest cut", []string{"manifest-4mb", "manifest-too-large"}, requests(large, func(r *http.Request) {
			m := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			r.Header.Set("Content-Type", oci.MediaTypeImageIndex)
			setRequestBody(r, m)
		})},
	}
}

// firstTagWins accepts pushes to a tag that is there, and keeps it as it is.
func firstTagWins() func(http.Handler) http.Handler {
	return around(on("PUT", toTag), func(next http.Handler, r *http.Request) *reply {
		old := ask(next, "GET", r.URL.Path)
		got := record(next, r)
		if old.ok() && got.ok() {
			again := r.Clone(r.Context())
			setRequestBody(again, old.body)
			again.Header.Set("Content-Type", old.header.Get("Content-Type"))
			record(next, again)
		}
		return got
	})
}

// oneTagEach takes the tag that a manifest had away when it gets another one.
func oneTagEach() func(http.Handler) http.Handler {
	var tags memory[string]
	return around(on("PUT", toTag), func(next http.Handler, r *http.Request) *reply {
		got := record(next, r)
		key := repositoryOf(r.URL.Path) + got.header.Get("Docker-Content-Digest")
		if old, found := tags.set(key, r.URL.Path); got.ok() && found && old != r.URL.Path {
			ask(next, "DELETE", old)
		}
		return got
	})
}

func brokenManifestBytes() []broken {
	rewritten := func(change func([]byte) []byte) func(http.Handler) http.Handler {
		return successes(on("GET", toManifest), func(r *reply) { r.setBody(change(r.body)) })
	}
	return []broken{
		{
			"manifests are kept as objects",
			[]string{"manifest-bytes-whitespace", "manifest-bytes-key-order", "manifest-bytes-text", "manifest-bytes-numbers"},
			successes(on("GET", toManifest), func(r *reply) { r.editJSON(func(object) {}) }),
		},
		{"manifests are trimmed", []string{"manifest-bytes-whitespace"}, rewritten(bytes.TrimSpace)},
		{"manifests in a text column", []string{"manifest-bytes-whitespace"}, rewritten(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) })},
		{"manifests escaped for HTML", []string{"manifest-bytes-text"}, rewritten(func(b []byte) []byte {
			var out bytes.Buffer
			json.HTMLEscape(&out, b)
			return out.Bytes()
		})},
		{"manifest numbers are floats", []string{"manifest-bytes-numbers"}, rewritten(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("1e3"), []byte("1000")) })},
		{"manifest fields in any case", []string{"manifest-field-case"}, refusesBody(`"Layers": "`, http.StatusBadRequest)},
		{"manifest fields of the spec alone", []string{"manifest-bytes-fields"}, rewritten(func(b []byte) []byte {
			return regexp.MustCompile(`"x-custom": \{[^}]*\}\], "a": true\},`).ReplaceAll(b, nil)
		})},
	}
}

func brokenManifestKinds() []broken {
	const bad = http.StatusBadRequest
	return []broken{
		{"no Docker types", []string{"manifest-kind-docker"}, refusesType(oci.MediaTypeDockerManifest, http.StatusUnsupportedMediaType)},
		{"no Docker lists", []string{"manifest-kind-docker-list"}, refusesType(oci.MediaTypeDockerList, http.StatusUnsupportedMediaType)},
		{"no indexes", []string{"manifest-kind-index", "manifest-kind-empty-index"}, refusesType(oci.MediaTypeImageIndex, bad)},
		{"nested index is a fault", []string{"manifest-kind-nested-index"}, refusesBody(`(?s)"manifests".*image.index`, http.StatusInternalServerError)},
		{"index of nothing refused", []string{"manifest-kind-empty-index"}, refusesBody(`"manifests": \[\]`, bad)},
		{"no artifacts", []string{"manifest-kind-artifact", "manifest-kind-data"}, refusesBody(`"artifactType"`, bad)},
		{"configs of images alone", []string{"manifest-kind-custom-config"}, refusesBody(`(?s)"config": \{\s*"mediaType": "application/vnd.cncf`, bad)},
		{"image of nothing refused", []string{"manifest-kind-no-layers"}, refusesBody(`"layers": \[\]`, bad)},
		{"layers are a set", []string{"manifest-kind-repeated-layer"}, refuses(func(r *http.Request) bool {
			if !on("PUT", toManifest)(r) {
				return false
			}
			layers := readManifest(requestBody(r)).Layers
			return len(layers) > 1 && layers[0] == layers[1]
		}, http.StatusInternalServerError)},
		{"every layer demanded", []string{"manifest-kind-foreign-layer"}, refusesBody(`nondistributable|foreign`, bad)},
		{"no data in descriptors", []string{"manifest-kind-data"}, refusesBody(`"data":`, bad)},
		{"data taken out of descriptors", []string{"manifest-kind-data"}, successes(on("GET", toManifest), func(r *reply) {
			r.setBody(regexp.MustCompile(`"data": "[^"]*",`).ReplaceAll(r.body, nil))
		})},
	}
}

func brokenManifestRefusals() []broken {
	const bad, created, fault = http.StatusBadRequest, http.StatusCreated, http.StatusInternalServerError
	unchecked := []string{
		"manifest-not-json", "manifest-empty-body", "manifest-invalid-code", "manifest-type-contradicts",
		"manifest-descriptor-malformed", "manifest-config-size-differs", "manifest-layer-size-differs",
	}
	return []broken{
		{"manifests are not looked at", slices.Concat(unchecked, []string{"manifest-digest-mismatch", "manifest-digest-malformed"}), turns(on("PUT", toManifest), bad, created)},
		{
			"refusals are faults", slices.Concat(unchecked, []string{"manifest-digest-mismatch", "manifest-digest-malformed", "manifest-missing-blob", "manifest-missing-child"}),
			turns(on("PUT", toManifest), bad, fault),
		},
		{"digest in the path ignored", []string{"manifest-digest-mismatch"}, requests(on("PUT", toDigest), func(r *http.Request) {
			r.URL.Path = repositoryOf(r.URL.Path) + "/manifests/" + string(oci.SHA256.FromBytes(requestBody(r)))
		})},
		{"refused with 422", []string{"manifest-digest-mismatch-status", "manifest-invalid-code"}, turns(on("PUT", toManifest), bad, http.StatusUnprocessableEntity)},
		{
			"refused without a code",
			[]string{"manifest-digest-mismatch-status", "manifest-invalid-code"},
			answers(on("PUT", toManifest), func(r *reply) { r.setBody([]byte("bad request")) }),
		},
		{
			"missing content is BLOB_UNKNOWN",
			[]string{"manifest-missing-blob", "manifest-missing-child"},
			answers(on("PUT", toManifest), func(r *reply) {
				r.setBody(bytes.ReplaceAll(r.body, []byte("MANIFEST_BLOB_UNKNOWN"), []byte("BLOB_UNKNOWN")))
			}),
		},
		{"one missing blob at a time", []string{"manifest-missing-all"}, answers(on("PUT", toManifest), func(r *reply) {
			r.editJSON(func(body object) {
				if errs := body.list("errors"); len(errs) > 1 {
					body["errors"] = errs[:1]
				}
			})
		})},
		{"refused and stored", []string{"manifest-refused-not-stored", "manifest-digest-mismatch"}, storesRefused()},
		{"refused push loses the tag", []string{"manifest-refused-not-stored"}, around(on("PUT", toTag), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			if !got.ok() {
				ask(next, "DELETE", r.URL.Path)
			}
			return got
		})},
		{"blobs of all repositories", []string{"manifest-blob-elsewhere"}, requests(on("GET|HEAD|PUT|POST|PATCH", `/v2/.`), oneRepository)},
	}
}

// storesRefused finds what was refused, where it was pushed to and by its digest.
func storesRefused() func(http.Handler) http.Handler {
	var stored memory[[]byte]
	return chain(
		around(on("PUT", toManifest), func(next http.Handler, r *http.Request) *reply {
			body := requestBody(r)
			got := record(next, r)
			if !got.ok() {
				stored.set(r.URL.Path, body)
				stored.set(repositoryOf(r.URL.Path)+"/manifests/"+string(oci.SHA256.FromBytes(body)), body)
			}
			return got
		}),
		around(on("GET", toManifest), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			if body, found := stored.get(r.URL.Path); found {
				got.status = http.StatusOK
				got.setBody(body)
			}
			return got
		}),
	)
}
