package oci

import (
	"strconv"
	"strings"
)

// ParseChunkRange reads the Content-Range of a chunk, which clients send with "bytes "
// before it and without (spec, "Pushing a blob in chunks"), beside the request's
// Content-Length, which is below 0 where it is not known. An offset below 0: the request
// does not say, and the chunk is appended. Errors: BLOB_UPLOAD_INVALID, SIZE_INVALID
// where the two disagree.
func ParseChunkRange(contentRange string, contentLength int64) (offset, length int64, err error) {
	if contentRange == "" || contentLength == 0 {
		return -1, contentLength, nil
	}
	spec, _, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	first, last, _ := strings.Cut(spec, "-")
	a, errA := strconv.ParseUint(first, 10, 62)
	b, errB := strconv.ParseUint(last, 10, 62)
	if errA != nil || errB != nil || b < a {
		return -1, contentLength, NewError(BlobUploadInvalid, "Content-Range must be the first and the last byte of the chunk, as in 0-1023")
	}
	length = int64(b-a) + 1
	if contentLength >= 0 && contentLength != length {
		return -1, contentLength, NewError(SizeInvalid, "Content-Range speaks of %d bytes, Content-Length of %d", length, contentLength)
	}
	return int64(a), length, nil
}

// ParseSize reads the size of a blob, in bytes, that a client may announce at its end.
// Below 0: it announces none. The error is SIZE_INVALID.
func ParseSize(announced string, there bool) (int64, error) {
	if !there {
		return -1, nil
	}
	size, err := strconv.ParseUint(announced, 10, 63)
	if err != nil {
		return -1, NewError(SizeInvalid, "size must be a number of bytes")
	}
	return int64(size), nil
}
