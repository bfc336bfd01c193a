package upload

import "github.com/pierless/pierless/pkg/oci"

// OffsetError rejects a chunk that does not begin at the end of the upload. The code is
// RANGE_INVALID.
type OffsetError struct {
	Offset int64 // bytes that the upload holds
}

// Error implements error.
func (e *OffsetError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the *oci.Error for the client.
func (e *OffsetError) Unwrap() error {
	return oci.NewError(oci.RangeInvalid, "the next chunk must begin at byte %d", e.Offset)
}

// ErrUnknown returns the error for an upload that cannot be used. There is one text for all
// reasons, so that it reveals nothing about the uploads of other repositories.
func ErrUnknown() *oci.Error {
	return oci.NewError(oci.BlobUploadUnknown, "this upload was not started in this repository, has ended, or has expired: start a new one")
}

// ErrTakenOver returns the error for a request whose upload was claimed by a later request.
func ErrTakenOver() *oci.Error {
	return oci.NewError(oci.BlobUploadInvalid, "a later request took over this upload: ask for its status")
}

// CheckSize compares the size of a blob with the announced one, both in bytes; a negative
// announcement is not compared. The error is SIZE_INVALID.
func CheckSize(got, announced int64) error {
	if announced >= 0 && got != announced {
		return oci.NewError(oci.SizeInvalid, "the blob has %d bytes, but %d were announced", got, announced)
	}
	return nil
}

// CheckDigest compares the digest of content with the announced one. The error is
// DIGEST_INVALID.
func CheckDigest(got, announced oci.Digest) error {
	if got != announced {
		return oci.NewError(oci.DigestInvalid, "the content has the digest %s, not %s", got, announced)
	}
	return nil
}

// Check compares the content of an upload with its announced size and digest. computed
// reports whether the digest could be compared: hs lacks an algorithm that the client did
// not announce at the start. Errors: SIZE_INVALID, DIGEST_INVALID.
func (f Finish) Check(hs Hashes, size int64) (computed bool, err error) {
	if err := CheckSize(size, f.Size); err != nil {
		return false, err
	}
	got, computed := hs.Digest(f.Digest.Algorithm())
	if !computed {
		return false, nil
	}
	return true, CheckDigest(got, f.Digest)
}
