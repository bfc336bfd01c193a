package verify_test

import (
	"bytes"
	"net/http"
	"slices"
)

const (
	toPost  = `/blobs/uploads/\?digest=`
	toMount = `/blobs/uploads/\?.*mount=`
)

func brokenPushes() []broken {
	return slices.Concat(brokenUploads(), brokenBlobPushes(), brokenDigests(), brokenPosts(), brokenMounts())
}

func brokenUploads() []broken {
	start := on("POST", toUploads)
	return []broken{
		{"upload start is 201", []string{"upload-start", "upload-start-location", "upload-location-usable"}, turns(start, http.StatusAccepted, http.StatusCreated)},
		{"repositories are not made by a push", []string{"upload-start", "mount-without-from-session"}, refuses(start, http.StatusNotFound)},
		{"upload without a Location", []string{"upload-start-location", "upload-location-usable", "upload-location-same-host"}, drops(start, "Location")},
		{"one upload for all", []string{"upload-start-location", "chunk-interleaved"}, sharedUpload},
		{"Location of an upload leads nowhere", []string{"upload-location-usable"}, sets(start, "Location", "/v2/gone/blobs/uploads/gone")},
		{"upload parameters only in their order", []string{"upload-location-sorted"}, firstParameter},
		{
			"uploads on another host",
			[]string{"upload-location-same-host"},
			successes(start, func(r *reply) { r.header.Set("Location", "http://uploads.example"+r.header.Get("Location")) }),
		},
		{
			"unknown upload is 500",
			[]string{"upload-unknown-patch", "upload-unknown-put", "upload-unknown-get", "upload-unknown-delete", "upload-of-one-repository", "upload-complete-ended", "upload-cancel-gone"},
			turns(on("GET|PATCH|PUT|DELETE", toSession), http.StatusNotFound, http.StatusInternalServerError),
		},
		{"every upload can be cancelled", []string{"upload-unknown-delete", "upload-cancel-gone", "hostile-session-guessed"}, turns(on("DELETE", toSession), http.StatusNotFound, http.StatusNoContent)},
		{
			"every upload has a status",
			[]string{"upload-unknown-get", "upload-complete-ended", "upload-cancel-gone", "upload-of-one-repository"},
			turns(on("GET", toSession), http.StatusNotFound, http.StatusNoContent),
		},
		{"every upload takes chunks", []string{"upload-unknown-patch", "upload-complete-ended", "upload-cancel-gone", "hostile-session-guessed"}, turns(on("PATCH", toSession), http.StatusNotFound, http.StatusAccepted)},
		{"PUT makes uploads", []string{"upload-unknown-put", "upload-cancel-gone", "upload-of-one-repository"}, putMakesUploads},
		{
			"unknown upload has another's code",
			[]string{"upload-unknown-code"},
			answers(on("GET", toSession), func(r *reply) {
				r.setBody(bytes.ReplaceAll(r.body, []byte("BLOB_UPLOAD_UNKNOWN"), []byte("BLOB_UNKNOWN")))
			}),
		},
		{"uploads know no repository", []string{"upload-of-one-repository"}, uploadsOfAll},
		{"chunks are blobs", []string{"upload-unfinished-invisible"}, chunksAreBlobs},
		{"closing twice is 400", []string{"upload-complete-again"}, again(on("PUT", toSession), http.StatusBadRequest)},
		{"closing twice is a wrong digest", []string{"upload-complete-again"}, chain(
			answers(on("PUT", toSession), func(r *reply) { r.setBody([]byte(`{"errors":[{"code":"DIGEST_INVALID","message":"wrong digest"}]}`)) }),
			again(on("PUT", toSession), http.StatusBadRequest),
		)},
		{"closing twice is 500", []string{"upload-complete-again"}, again(on("PUT", toSession), http.StatusInternalServerError)},
		{"the last writer wins", []string{"upload-complete-other-content"}, lastWriterWins},
		{"cancel is 200", []string{"upload-cancel"}, turns(on("DELETE", toSession), http.StatusNoContent, http.StatusOK)},
		{"cancel does nothing", []string{"upload-cancel-gone", "upload-cancel-invisible"}, refuses(on("DELETE", toSession), http.StatusNoContent)},
	}
}

func brokenBlobPushes() []broken {
	closing := on("PUT", toSession)
	return []broken{
		{"pushed blob is 200", []string{"blob-put", "upload-location-usable"}, turns(closing, http.StatusCreated, http.StatusOK)},
		{"pushed blob is 204", []string{"blob-put", "blob-put-sizes", "blob-put-stream", "blob-put-range"}, turns(closing, http.StatusCreated, http.StatusNoContent)},
		{"pushed blob without a Location", []string{"blob-put-location", "chunk-complete-location"}, drops(closing, "Location")},
		{"Location of a pushed blob leads nowhere", []string{"blob-put-location", "chunk-complete-location"}, sets(closing, "Location", "/v2/gone/blobs/"+anyDigest)},
		{"pushed blob without a digest", []string{"blob-put-digest-header", "chunk-complete-digest-header"}, drops(closing, "Docker-Content-Digest")},
		{"pushed blob with another's digest", []string{"blob-put-digest-header", "chunk-complete-digest-header"}, sets(closing, "Docker-Content-Digest", anyDigest)},
		{"pushed blob is seen late", []string{"blob-put-visible", "blob-put-visible-after-miss", "blob-put"}, seenLate},
		{"one replica of four lags", []string{"blob-put-visible"}, lagging},
		{"misses are cached", []string{"blob-put-visible-after-miss"}, missesCached},
		{"pushed again is 409", []string{"blob-put-again"}, pushedOnce},
		{"a blob has one owner", []string{"blob-put-two-repositories", "mount-pull", "mount-location", "mount-chain", "mount-again"}, oneOwner},
		{"the link before the content", []string{
			"blob-put-cut", "blob-digest-mismatch", "blob-post-mismatch", "blob-post-cut", "chunk-digest-mismatch", "upload-sha512-mismatch",
			"chunk-put-out-of-order", "mount-missing-invisible", "upload-unknown-put", "upload-cancel-invisible",
		}, linkFirst},
		{
			"blobs cut at 4 MiB",
			[]string{"blob-put-sizes", "chunk-edges-below", "chunk-edges-at", "chunk-edges-above", "chunk-large"},
			successes(on("GET", toBlob), func(r *reply) { r.setBody(r.body[:min(len(r.body), 4<<20)]) }),
		},
		{
			"the last part lost after a full one",
			[]string{"blob-put-sizes", "chunk-edges-above"},
			successes(on("GET", toBlob), func(r *reply) {
				if len(r.body) > 5<<20 && len(r.body) < 6<<20 {
					r.setBody(r.body[:5<<20])
				}
			}),
		},
		{
			"a blob of full parts loses one",
			[]string{"blob-put-sizes", "chunk-edges-at"},
			successes(on("GET", toBlob), func(r *reply) {
				if len(r.body)%(5<<20) == 0 {
					r.setBody(nil)
				}
			}),
		},
		{"PUT needs a length", []string{"blob-put-stream"}, refuses(both(closing, ofNoLength), http.StatusBadRequest)},
		{
			"PUT takes no Content-Range",
			[]string{"blob-put-range", "chunk-final-put", "chunk-final-one-byte", "chunk-put-out-of-order", "chunk-put-out-of-order-unharmed"},
			refuses(both(closing, placed), http.StatusBadRequest),
		},
		{
			"sha512 is a fault",
			[]string{"blob-put-sha512-unannounced", "upload-sha512-chunks", "upload-sha512-unannounced"},
			turns(on("PUT", `digest=sha512`), http.StatusCreated, http.StatusInternalServerError),
		},
		{"sha512 is not checked", []string{"upload-sha512-mismatch"}, turns(on("PUT", `digest=sha512`), http.StatusBadRequest, http.StatusCreated)},
	}
}

func brokenDigests() []broken {
	closing := on("PUT", toSession)
	return []broken{
		{
			"blob digests are not checked",
			[]string{
				"blob-digest-mismatch", "blob-digest-mismatch-status", "blob-digest-malformed", "blob-digest-unsupported", "blob-digest-missing",
				"chunk-digest-mismatch", "chunk-digest-mismatch-status",
			},
			turns(closing, http.StatusBadRequest, http.StatusCreated),
		},
		{
			"wrong digest is 500",
			[]string{"blob-digest-mismatch-status", "blob-digest-malformed", "blob-digest-unsupported", "blob-digest-missing", "chunk-digest-mismatch-status"},
			turns(closing, http.StatusBadRequest, http.StatusInternalServerError),
		},
		{
			"wrong digest has another's code",
			[]string{"blob-digest-mismatch-code"},
			answers(closing, func(r *reply) {
				r.setBody(bytes.ReplaceAll(r.body, []byte("DIGEST_INVALID"), []byte("BLOB_UPLOAD_INVALID")))
			}),
		},
		{"refused content is kept", []string{"blob-digest-mismatch-own"}, keepsRefusedBlobs},
		{"PUT without a digest is trusted", []string{"blob-digest-missing"}, trustsContent},
		{
			"wrong digest of an upload is 500",
			[]string{"upload-algorithm-unsupported", "blob-post-digest-status", "mount-digest-invalid"},
			turns(on("POST", toUploads), http.StatusBadRequest, http.StatusInternalServerError),
		},
	}
}

func brokenPosts() []broken {
	post := on("POST", toPost)
	return []broken{
		{"single POST is 200", []string{"blob-post", "blob-post-or-session"}, turns(post, http.StatusCreated, http.StatusOK)},
		{"single POST is refused", []string{"blob-post", "blob-post-or-session"}, refuses(post, http.StatusBadRequest)},
		{"single POST without a Location", []string{"blob-post-location"}, drops(post, "Location")},
		{"single POST without a digest", []string{"blob-post-digest-header"}, drops(post, "Docker-Content-Digest")},
		{
			"single POST declined without a Location",
			[]string{"blob-post-or-session"},
			successes(post, func(r *reply) { r.status = http.StatusAccepted; r.header.Del("Location") }),
		},
		{"single POST is not checked", []string{"blob-post-mismatch", "blob-post-digest-status"}, turns(post, http.StatusBadRequest, http.StatusCreated)},
	}
}

func brokenMounts() []broken {
	toMounts := on("POST", toMount)
	accepted := func(change func(*reply)) func(http.Handler) http.Handler {
		return answers(toMounts, func(r *reply) {
			if r.status == http.StatusAccepted {
				change(r)
			}
		})
	}
	return []broken{
		{"mount is 200", []string{"mount", "mount-without-from"}, turns(toMounts, http.StatusCreated, http.StatusOK)},
		{"mount without a Location", []string{"mount-location"}, drops(toMounts, "Location")},
		{"Location of a mount leads to its source", []string{"mount-location"}, sets(toMounts, "Location", "/v2/gone/blobs/"+anyDigest)},
		{"mount without a digest", []string{"mount-digest-header"}, drops(toMounts, "Docker-Content-Digest")},
		{
			"mount believes the client", []string{
				"mount-pull", "mount-location", "mount-chain", "mount-again", "mount-missing", "mount-missing-invisible",
				"mount-unknown-repository", "mount-without-from", "mount-without-from-session", "mount-digest-invalid",
			}, mountBelieves,
		},
		{"mount takes the blob away", []string{"mount-pull"}, mountMoves},
		{"mounted blob has the length of a text link", []string{"mount-pull"}, sets(on("HEAD", `-other/blobs/`), "Content-Length", "95")},
		{"a mount twice is 409", []string{"mount-again"}, again(toMounts, http.StatusConflict)},
		{"what was mounted cannot be mounted", []string{"mount-chain", "mount-again"}, refuses(on("POST", `from=[^&]*-other&`), http.StatusNotFound)},
		{"mount of nothing is 404", []string{"mount-missing", "mount-unknown-repository", "mount-without-from-session"}, turns(toMounts, http.StatusAccepted, http.StatusNotFound)},
		{"mount of nothing without a Location", []string{"mount-missing-session", "mount-unknown-repository", "mount-without-from-session"}, accepted(func(r *reply) { r.header.Del("Location") })},
		{
			"mount of nothing opens no upload",
			[]string{"mount-missing-session", "mount-unknown-repository", "mount-without-from-session"},
			accepted(func(r *reply) { r.header.Set("Location", "/v2/gone/blobs/uploads/gone") }),
		},
		{"mount needs from", []string{"mount-without-from", "mount-without-from-session"}, refuses(on("POST", `/blobs/uploads/\?mount=`), http.StatusBadRequest)},
	}
}
