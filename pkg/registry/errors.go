package registry

import (
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// wrap prefixes an error with the operation that failed. It returns nil if err is nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errKept rejects a chunk for an upload that keep has recorded.
func errKept() error {
	return oci.NewError(oci.BlobUploadInvalid,
		"this upload has all its bytes, but its last request had a wrong digest: repeat that request with the correct digest, or start a new upload")
}

// endedError reports that a session has become a blob. The request may repeat the one that
// completed the upload: see checkRepeated.
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

func errNameUnknown(repo string) error {
	return oci.NewError(oci.NameUnknown, "there is no repository %s: no manifest was pushed to it, or it was deleted", repo)
}
