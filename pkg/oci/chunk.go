package oci

import (
	"strconv"
	"strings"
)

// ParseChunkRange returns offset and length, in bytes, of a chunk with this Content-Range,
// which clients send with and without "bytes " (spec, "Pushing a blob in chunks"), and
// Content-Length, which is negative if it is unknown. A negative offset means that the
// request names none and the chunk is appended. Errors: BLOB_UPLOAD_INVALID, and
// SIZE_INVALID if the two headers disagree.
func ParseChunkRange(contentRange string, contentLength int64) (offset, length int64, err error) {
	if contentRange == "" || contentLength == 0 {
		return -1, contentLength, nil
	}
	spec, _, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	first, last, _ := strings.Cut(spec, "-")
	a, errA := strconv.ParseUint(first, 10, 62)
	b, errB := strconv.ParseUint(last, 10, 62)
	if errA != nil || errB != nil || b < a {
		return -1, contentLength, NewError(BlobUploadInvalid, "Content-Range must name the first and the last byte of the chunk, for example 0-1023")
	}
	length = int64(b-a) + 1
	if contentLength >= 0 && contentLength != length {
		return -1, contentLength, NewError(SizeInvalid, "Content-Range covers %d bytes, Content-Length is %d", length, contentLength)
	}
	return int64(a), length, nil
}

// ParseSize returns the size of a blob, in bytes, that a client may announce when it
// completes an upload, and -1 if it does not. The error is SIZE_INVALID.
func ParseSize(announced string, present bool) (int64, error) {
	if !present {
		return -1, nil
	}
	size, err := strconv.ParseUint(announced, 10, 63)
	if err != nil {
		return -1, NewError(SizeInvalid, "size must be a number of bytes")
	}
	return int64(size), nil
}
