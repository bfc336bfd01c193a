package verify_test

import (
	"bytes"
	"net/http"
	"strings"
)

const anyDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func brokenPulls() []broken {
	return []broken{
		{"no ping", []string{"ping"}, turns(on("GET", `/v2/$`), http.StatusOK, http.StatusNoContent)},
		{
			"manifest bytes written anew",
			[]string{"manifest-get-by-tag", "manifest-get-by-digest"},
			successes(on("GET", toManifest), func(r *reply) { r.setBody(bytes.ReplaceAll(r.body, []byte("\n"), nil)) }),
		},
		{"manifest by tag 203", []string{"manifest-get-by-tag"}, turns(on("GET", toTag), http.StatusOK, http.StatusNonAuthoritativeInfo)},
		{"manifest by digest unknown", []string{"manifest-get-by-digest"}, turns(on("GET", toDigest), http.StatusOK, http.StatusNotFound)},
		{"manifest GET without a digest", []string{"manifest-get-digest-header"}, drops(on("GET", toManifest), "Docker-Content-Digest")},
		{"manifest GET with another's digest", []string{"manifest-get-digest-header"}, sets(on("GET", toManifest), "Docker-Content-Digest", anyDigest)},
		{"manifest type forgotten", []string{"manifest-get-content-type"}, sets(on("GET|HEAD", toManifest), "Content-Type", "application/json")},
		{
			"manifest type with parameters",
			[]string{"manifest-get-content-type"},
			successes(on("GET", toManifest), func(r *reply) { r.header.Set("Content-Type", r.header.Get("Content-Type")+"; charset=utf-8") }),
		},
		{"manifest missing is 200", []string{"manifest-get-missing", "manifest-get-missing-repository"}, turns(on("GET", toManifest), http.StatusNotFound, http.StatusOK)},
		{"manifest missing is 500", []string{"manifest-get-missing"}, turns(on("GET", toManifest), http.StatusNotFound, http.StatusInternalServerError)},
		{"manifest HEAD not allowed", []string{"manifest-head"}, refuses(on("HEAD", toManifest), http.StatusMethodNotAllowed)},
		{"manifest HEAD without a digest", []string{"manifest-head-digest-header"}, drops(on("HEAD", toManifest), "Docker-Content-Digest")},
		{"manifest HEAD of 0 bytes", []string{"manifest-head-length"}, sets(on("HEAD", toManifest), "Content-Length", "0")},
		{"manifest HEAD without a length", []string{"manifest-head-length"}, drops(on("HEAD", toManifest), "Content-Length")},
		{"manifest HEAD finds all", []string{"manifest-head-missing"}, turns(on("HEAD", toManifest), http.StatusNotFound, http.StatusOK)},
		{"blob bytes reversed", []string{"blob-get"}, successes(on("GET", toBlob), func(r *reply) {
			for i, j := 0, len(r.body)-1; i < j; i, j = i+1, j-1 {
				r.body[i], r.body[j] = r.body[j], r.body[i]
			}
		})},
		{"blob cut short", []string{"blob-get"}, successes(on("GET", toBlob), func(r *reply) { r.setBody(r.body[:len(r.body)-1]) })},
		{"blob length a lie", []string{"blob-get"}, sets(on("GET", toBlob), "Content-Length", "100000")},
		{"blob GET without a digest", []string{"blob-get-digest-header"}, drops(on("GET", toBlob), "Docker-Content-Digest")},
		{"blob missing is 403", []string{"blob-get-missing"}, turns(on("GET", toBlob), http.StatusNotFound, http.StatusForbidden)},
		{"blob GET chunked", []string{"blob-get-length"}, drops(on("GET", toBlob), "Content-Length")},
		{"blob HEAD not allowed", []string{"blob-head"}, refuses(on("HEAD", toBlob), http.StatusMethodNotAllowed)},
		{"blob HEAD without a digest", []string{"blob-head-digest-header"}, drops(on("HEAD", toBlob), "Docker-Content-Digest")},
		{"blob HEAD of 0 bytes", []string{"blob-head-length"}, sets(on("HEAD", toBlob), "Content-Length", "0")},
		{"blob HEAD finds all", []string{"blob-head-missing"}, turns(on("HEAD", toBlob), http.StatusNotFound, http.StatusOK)},
		{"one repository for all", []string{"manifest-repositories-apart", "blob-repositories-apart"}, requests(on("GET|HEAD|PUT|POST|PATCH", `/v2/.`), oneRepository)},
		{"mounted blob has the length of a link", []string{"blob-head-length"}, sets(on("HEAD", `-other/blobs/`), "Content-Length", "95")},
		{"empty blob refused", []string{"blob-empty"}, answers(on("PUT", `digest=sha256%3Ae3b0c442`), func(r *reply) { r.status = http.StatusBadRequest })},
		{"pushes by sha512 are a fault", []string{"blob-sha512", "manifest-sha512"}, refuses(on("PUT", `(/manifests/|=)sha512`), http.StatusInternalServerError)},
		{
			"sha512 kept as sha256",
			[]string{"blob-sha512", "manifest-sha512"},
			sets(on("GET|PUT", `/(manifests|blobs)/sha512`), "Docker-Content-Digest", anyDigest),
		},
	}
}

// oneRepository sends a request to a repository that all share.
func oneRepository(r *http.Request) {
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if _, rest, found := strings.Cut(r.URL.Path, kind); found {
			r.URL.Path, r.URL.RawPath = "/v2/shared"+kind+rest, ""
		}
	}
}

func brokenRanges() []broken {
	ranged := func(r *http.Request) bool { return r.Header.Get("Range") != "" }
	partial := func(change func(*reply)) func(http.Handler) http.Handler {
		return answers(ranged, func(r *reply) {
			if r.status == http.StatusPartialContent {
				change(r)
			}
		})
	}
	return []broken{
		{
			"ranges ignored",
			[]string{"range-middle", "range-open", "range-suffix", "range-single-byte", "range-beyond-end", "range-content-range"},
			requests(ranged, func(r *http.Request) { r.Header.Del("Range") }),
		},
		{
			"range end exclusive",
			[]string{"range-middle", "range-single-byte", "range-content-range"},
			partial(func(r *reply) { r.setBody(r.body[:len(r.body)-1]) }),
		},
		{"416 never", []string{"range-unsatisfiable"}, turns(ranged, http.StatusRequestedRangeNotSatisfiable, http.StatusOK)},
		{"range fault", []string{"range-malformed"}, turns(ranged, http.StatusRequestedRangeNotSatisfiable, http.StatusInternalServerError)},
		{"206 without Content-Range", []string{"range-content-range"}, drops(ranged, "Content-Range")},
		{"206 with the whole length", []string{"range-content-range"}, partial(func(r *reply) { r.header.Set("Content-Range", "bytes 0-2047/2048") })},
	}
}
