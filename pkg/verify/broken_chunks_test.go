package verify_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func brokenChunks() []broken {
	return slices.Concat(brokenChunkAnswers(), brokenChunkContent(), brokenChunkOrder())
}

func brokenChunkAnswers() []broken {
	patch, status := on("PATCH", toSession), on("GET", toSession)
	return []broken{
		{
			"chunk is 201",
			[]string{"chunk-patch", "chunk-stream", "chunk-no-range", "chunk-stray-digest", "chunk-min-length-kept", "chunk-one-byte-blob", "chunk-large"},
			turns(patch, http.StatusAccepted, http.StatusCreated),
		},
		{"chunk is 204", []string{"chunk-patch", "chunk-interleaved", "chunk-edges-below", "chunk-edges-at", "chunk-edges-above"}, turns(patch, http.StatusAccepted, http.StatusNoContent)},
		{"chunk without a Location", []string{"chunk-patch-location", "chunk-stream", "chunk-no-range"}, drops(patch, "Location")},
		{"Location of a chunk leads nowhere", []string{"chunk-patch-location", "chunk-stream"}, sets(patch, "Location", "/v2/gone/blobs/uploads/gone")},
		{
			"chunk without a Range",
			[]string{"chunk-patch-range", "chunk-stream", "chunk-no-range", "chunk-stream-several", "chunk-no-range-several", "chunk-final-one-byte", "chunk-one-byte-blob"},
			drops(patch, "Range"),
		},
		{"Range of the last chunk alone", []string{"chunk-patch-range", "chunk-final-one-byte"}, successes(patch, func(r *reply) {
			r.header.Set("Range", r.request.Header.Get("Content-Range"))
		})},
		{
			"Range counts bytes",
			[]string{"chunk-patch-range", "chunk-status-range", "chunk-status-old-location", "chunk-resume", "chunk-out-of-order-status", "chunk-cut-durable", "chunk-cut"},
			successes(on("PATCH|GET", toSession), func(r *reply) {
				var last int
				_, _ = fmt.Sscanf(r.header.Get("Range"), "0-%d", &last) // always there
				r.header.Set("Range", fmt.Sprintf("0-%d", last+1))
			}),
		},
		{"Range with a unit", []string{"chunk-patch-range"}, successes(patch, func(r *reply) { r.header.Set("Range", "bytes="+r.header.Get("Range")) })},
		{
			"status is 200",
			[]string{"chunk-status", "chunk-status-old-location", "chunk-out-of-order-status", "chunk-resume", "chunk-cut"},
			turns(status, http.StatusNoContent, http.StatusOK),
		},
		{"status is not allowed", []string{"chunk-status", "chunk-resume", "chunk-cut"}, refuses(status, http.StatusMethodNotAllowed)},
		{"status without a Location", []string{"chunk-status-location", "chunk-resume"}, drops(status, "Location")},
		{"Location of a status leads nowhere", []string{"chunk-status-location", "chunk-resume"}, sets(status, "Location", "/v2/gone/blobs/uploads/gone")},
		{"status without a Range", []string{"chunk-status-range", "chunk-status-old-location", "chunk-resume", "chunk-cut"}, drops(status, "Range")},
		{
			"status is always empty",
			[]string{"chunk-status-range", "chunk-status-old-location", "chunk-resume", "chunk-out-of-order-status", "chunk-cut", "chunk-cut-durable"},
			sets(status, "Range", "0-0"),
		},
		{"old Locations are gone", []string{"chunk-status-old-location"}, newLocations},
		{"least length in words", []string{"chunk-min-length"}, sets(on("POST", toUploads), "OCI-Chunk-Min-Length", "4MiB")},
		{"least length refused", []string{"chunk-min-length-kept", "chunk-patch"}, refuses(both(patch, long(4<<20, 4<<20)), http.StatusBadRequest)},
		{"least length of the last chunk too", []string{"chunk-min-length-kept", "chunk-final-one-byte", "chunk-one-byte-blob"}, refuses(both(patch, long(1, 4<<20-1)), http.StatusBadRequest)},
	}
}

func brokenChunkContent() []broken {
	patch, closing := on("PATCH", toSession), on("PUT", toSession)
	later := func(r *http.Request) bool {
		return placed(r) && !strings.HasPrefix(r.Header.Get("Content-Range"), "0-")
	}
	zeros := func(r *http.Request) { setRequestBody(r, make([]byte, len(requestBody(r)))) }
	nothing := func(r *http.Request) { _ = requestBody(r); setRequestBody(r, nil) }
	return []broken{
		{
			"later chunks are lost",
			[]string{"chunk-complete", "chunk-patch-location", "chunk-status-location", "chunk-min-length-kept", "chunk-large", "chunk-edges-at", "chunk-interleaved", "upload-sha512-chunks"},
			requests(both(patch, later), zeros),
		},
		{
			"the body of the closing PUT is lost",
			[]string{"chunk-final-put", "chunk-final-put-plain", "chunk-final-one-byte", "blob-put"},
			requests(closing, nothing),
		},
		{"0-0 is taken for nothing", []string{"chunk-one-byte-blob"}, requests(both(patch, func(r *http.Request) bool { return r.Header.Get("Content-Range") == "0-0" }), nothing)},
		{"no streams", []string{"chunk-stream", "chunk-stream-several"}, refuses(both(patch, ofNoLength), http.StatusLengthRequired)},
		{"streams are not read", []string{"chunk-stream", "chunk-stream-several"}, requests(both(patch, ofNoLength), nothing)},
		{"one PATCH without a range", []string{"chunk-stream-several", "chunk-no-range-several"}, again(both(patch, unplaced), http.StatusRequestedRangeNotSatisfiable)},
		{"chunks need a range", []string{"chunk-no-range", "chunk-no-range-several", "chunk-stream"}, refuses(both(patch, unplaced), http.StatusBadRequest)},
		{"PATCH knows its parameters", []string{"chunk-stray-digest"}, refuses(on("PATCH", `digest=`), http.StatusBadRequest)},
		{"an empty chunk is a fault", []string{"chunk-empty"}, refuses(both(patch, long(0, 0)), http.StatusInternalServerError)},
		{"an empty chunk ends the upload", []string{"chunk-empty"}, cancelsAfter(func(r *reply) bool {
			return r.request.Method == http.MethodPatch && r.request.ContentLength == 0
		})},
	}
}

func brokenChunkOrder() []broken {
	patch, closing := on("PATCH", toSession), on("PUT", toSession)
	forget := func(r *http.Request) { r.Header.Del("Content-Range") }
	is416 := func(r *reply) bool { return r.status == http.StatusRequestedRangeNotSatisfiable }
	return []broken{
		{
			"chunks go where the upload stands",
			[]string{"chunk-gap", "chunk-repeat", "chunk-overlap", "chunk-repeat-other-bytes", "chunk-length-mismatch", "chunk-range-malformed"},
			requests(patch, forget),
		},
		{"a chunk out of order is 400", []string{"chunk-gap", "chunk-repeat", "chunk-overlap", "chunk-repeat-other-bytes"}, turns(patch, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest)},
		{"a chunk out of order is 500", []string{"chunk-gap", "chunk-repeat", "chunk-overlap"}, turns(patch, http.StatusRequestedRangeNotSatisfiable, http.StatusInternalServerError)},
		{
			"a chunk out of order is kept",
			[]string{"chunk-out-of-order-status", "chunk-out-of-order-unharmed", "chunk-resume"},
			keepsChunks(http.StatusRequestedRangeNotSatisfiable),
		},
		{
			"a chunk out of order ends the upload",
			[]string{"chunk-out-of-order-status", "chunk-out-of-order-unharmed", "chunk-resume", "chunk-put-out-of-order-unharmed"},
			cancelsAfter(is416),
		},
		{"a repeated chunk is 202", []string{"chunk-repeat", "chunk-repeat-other-bytes"}, repeatedIsFine},
		{"a closing PUT forgets its range", []string{"chunk-put-out-of-order"}, requests(closing, forget)},
		{"a closing PUT out of order is 400", []string{"chunk-put-out-of-order"}, turns(closing, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest)},
		{"a chunk of the wrong length is a fault", []string{"chunk-length-mismatch", "chunk-range-malformed"}, turns(patch, http.StatusBadRequest, http.StatusInternalServerError)},
		{"a chunk of the wrong length is kept", []string{"chunk-length-mismatch-unharmed"}, keepsChunks(http.StatusBadRequest)},
		{"a break ends the upload", []string{"chunk-cut"}, onBreak(func(next http.Handler, r *http.Request, _ []byte) {
			record(next, sibling(r, http.MethodDelete, r.URL.Path, "", nil))
		})},
		{"a break leaves what was not stored", []string{"chunk-cut", "chunk-cut-durable"}, onBreak(func(next http.Handler, r *http.Request, got []byte) {
			record(next, sibling(r, http.MethodPatch, r.URL.Path, "", make([]byte, len(got))))
		})},
	}
}
