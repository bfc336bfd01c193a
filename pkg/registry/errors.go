package registry

import (
	"fmt"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

// wrap adds the attempted operation to an error; nil stays nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// OffsetError reports that a chunk does not begin at the end of the upload. It carries the
// code RANGE_INVALID.
type OffsetError struct{ Upload Upload }

// Error names the offset.
func (e *OffsetError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the *oci.Error for the client.
func (e *OffsetError) Unwrap() error {
	return oci.NewError(oci.RangeInvalid, "the next chunk must begin at byte %d", e.Upload.Offset)
}

// errBroken reports a body that ended with an error after n bytes; the cause is for the
// log.
func errBroken(n int64, cause error) error {
	return fmt.Errorf("%w (cause: %w)",
		oci.NewError(oci.BlobUploadInvalid, "the body broke off after %d bytes; none of them counts", n), cause)
}

func errLength(got, want int64) error {
	return oci.NewError(oci.SizeInvalid, "the body has %d bytes, %d were announced", got, want)
}

func errDigest(got, want oci.Digest) error {
	return oci.NewError(oci.DigestInvalid, "the content has the digest %s, not %s", got, want)
}

func errTakenOver() error {
	return oci.NewError(oci.BlobUploadInvalid, "another request on this upload came later and took it over: ask for its status")
}

func errKept() error {
	return oci.NewError(oci.BlobUploadInvalid,
		"this upload has all its bytes, and only its digest was refused: repeat its last request with the right digest, or start a new one")
}

// endedError reports that a session has become a blob: the request may be the repetition of
// the one that completed it.
type endedError struct {
	digest oci.Digest
	error
}

func (e *endedError) Unwrap() error { return e.error }

func errManifestUnknown(repo string, ref oci.Reference) error {
	return oci.NewError(oci.ManifestUnknown, "repository %s has no manifest %s", repo, ref)
}

// errManifestTooLarge is SIZE_INVALID with status 413.
func errManifestTooLarge() error {
	err := oci.NewError(oci.SizeInvalid, "a manifest may have at most %d bytes", MaxManifest)
	err.Status = http.StatusRequestEntityTooLarge
	return err
}

func errBlobUnknown(repo string, d oci.Digest) error {
	return oci.NewError(oci.BlobUnknown, "repository %s has no blob %s", repo, d)
}
