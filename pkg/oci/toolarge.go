package oci

import "net/http"

// UploadAlternatives describes the ways to push a blob without sending its bytes through a
// function. Errors, doctor and help texts share it.
const UploadAlternatives = "'pierless push' sends the bytes straight to the store, 'pierless proxy' does so for docker and every other client, " +
	"and 'pierless serve' over the same bucket and table accepts up to 250 GB in one request"

// TooLarge returns the error, with status 413, for a body that a registry or a gateway in
// front of it does not accept in one request. size is in bytes, negative if unknown. API
// Gateway and Lambda, which accept about 4.5 MiB, answer 413 in another form than the
// spec's: clients and proxies then show this error instead.
func TooLarge(size int64) *Error {
	err := NewError(SizeInvalid, "the body is larger than this registry accepts in one request: %s", UploadAlternatives)
	if size >= 0 {
		err = NewError(SizeInvalid, "a body of %d bytes is larger than this registry accepts in one request: %s", size, UploadAlternatives)
	}
	return err.WithStatus(http.StatusRequestEntityTooLarge)
}
