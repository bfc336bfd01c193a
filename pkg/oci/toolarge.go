package oci

import "net/http"

// WaysPast names the ways that do not put the bytes of a blob through a function: the
// one wording of it, for errors, doctor and help.
const WaysPast = "'pierless push' sends the bytes straight to the store, 'pierless proxy' does so for docker and every other client, " +
	"and 'pierless serve' over the same bucket and table has no limit"

// TooLarge returns the error for a body of size bytes, less than 0 if that is not known,
// that is larger than what a registry, or a gateway in front of it, takes in one request.
// Its status is 413. API Gateway and Lambda, which take about 4.5 MiB, say so themselves
// and not in the spec's form: then a client or a proxy says this in their place.
func TooLarge(size int64) *Error {
	err := NewError(SizeInvalid, "the body is larger than this registry takes in one request: %s", WaysPast)
	if size >= 0 {
		err = NewError(SizeInvalid, "a body of %d bytes is larger than this registry takes in one request: %s", size, WaysPast)
	}
	err.Status = http.StatusRequestEntityTooLarge
	return err
}
