package registry

import (
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// wrap adds the attempted operation to an error; nil stays nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
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

func errBlobUnknown(repo string, d oci.Digest) error {
	return oci.NewError(oci.BlobUnknown, "repository %s has no blob %s", repo, d)
}
