package s3blobs

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/pierless/pierless/pkg/registry"
)

// Error codes of S3 that the adapter handles.
const (
	codePrecondition = "PreconditionFailed"
	codeConflict     = "ConditionalRequestConflict"
	codeNoKey        = "NoSuchKey"
	codeNoUpload     = "NoSuchUpload"
	codeRange        = "InvalidRange"
	codeNotFound     = "NotFound" // of a HEAD, whose answer has no body with a code
)

// portError maps an error of S3 to the one of the port: the key has content, the upload is
// gone, or another write to the key is under way. S3 may drop a multipart upload whose
// completion met another write; repeating the completion shows the outcome.
func portError(err error) error {
	switch code(err) {
	case codePrecondition, codeNoUpload, codeNoKey:
		return fmt.Errorf("%w: %w", registry.ErrTaken, err)
	case codeConflict:
		return fmt.Errorf("%w: %w", registry.ErrContended, err)
	}
	return err
}

// code returns S3's error code, "" if err is not an error of S3.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
