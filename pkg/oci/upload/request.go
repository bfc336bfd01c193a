package upload

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Chunk is the body of one request of an upload.
type Chunk struct {
	// Offset is the position in the blob, in bytes, at which the client places the body.
	// It is negative if the request does not say: then the body is appended.
	Offset int64
	// Length of the body in bytes; negative if it is unknown until the body ends.
	Length int64
	// Body may be nil if Length is 0.
	Body io.Reader
}

// Finish is the last request of an upload.
type Finish struct {
	Digest oci.Digest
	// Size of the whole blob in bytes, as the client announces it; negative if it does not.
	Size int64
	// Chunk is the last piece. Its Length is 0 if the client has sent all bytes before.
	Chunk Chunk
}

// ParseChunk reads the headers of a request that carries a chunk (spec, "Pushing a blob in
// chunks"). Errors: BLOB_UPLOAD_INVALID for a malformed Content-Range, SIZE_INVALID if it
// disagrees with Content-Length.
func ParseChunk(r *http.Request) (Chunk, error) {
	c := Chunk{Offset: -1, Length: r.ContentLength, Body: r.Body}
	contentRange := r.Header.Get("Content-Range")
	if contentRange == "" || c.Length == 0 {
		return c, nil
	}
	// The spec has no unit in this header, HTTP has one: accept both.
	spec, _, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	first, last, _ := strings.Cut(spec, "-")
	a, errA := strconv.ParseUint(first, 10, 62)
	b, errB := strconv.ParseUint(last, 10, 62)
	if errA != nil || errB != nil || b < a {
		return c, oci.NewError(oci.BlobUploadInvalid, "Content-Range must be the first and the last byte of the chunk, as in 0-1023")
	}
	length := int64(b-a) + 1
	if c.Length >= 0 && c.Length != length {
		return c, oci.NewError(oci.SizeInvalid, "Content-Range covers %d bytes, but Content-Length is %d", length, c.Length)
	}
	c.Offset, c.Length = int64(a), length
	return c, nil
}

// ParseFinish reads the query and the headers of an upload's last request: digest, and
// optionally size. Errors: those of ParseChunk, DIGEST_INVALID, SIZE_INVALID.
func ParseFinish(r *http.Request) (f Finish, err error) {
	q := r.URL.Query()
	if f.Digest, err = oci.ParseDigest(q.Get("digest")); err != nil {
		return f, err
	}
	f.Size = -1
	if q.Has("size") {
		size, err := strconv.ParseUint(q.Get("size"), 10, 63)
		if err != nil {
			return f, oci.NewError(oci.SizeInvalid, "size must be a number of bytes")
		}
		f.Size = int64(size)
	}
	f.Chunk, err = ParseChunk(r)
	return f, err
}

// Range returns the Range header of an upload that holds size bytes. An empty upload has
// 0-0 as well: some clients stop without the header.
func Range(size int64) string { return fmt.Sprintf("0-%d", max(size-1, 0)) }
