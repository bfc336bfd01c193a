package s3blobs

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/pierless/pierless/pkg/registry"
)

// Codes that S3 answers with and that mean something here.
const (
	codePrecondition = "PreconditionFailed"
	codeConflict     = "ConditionalRequestConflict"
	codeNoKey        = "NoSuchKey"
	codeNoUpload     = "NoSuchUpload"
	codeRange        = "InvalidRange"
	codeNotFound     = "NotFound" // of a HEAD, which has no body to say what
)

// meant wraps an error of S3 into the one of registry that it means: the key has content,
// what should become its content is gone, or another write to the key is under way. S3 may
// drop a multipart upload whose completion met another write; completing it again tells.
func meant(err error) error {
	switch code(err) {
	case codePrecondition, codeNoUpload, codeNoKey:
		return fmt.Errorf("%w: %w", registry.ErrTaken, err)
	case codeConflict:
		return fmt.Errorf("%w: %w", registry.ErrContended, err)
	}
	return err
}

// code is the code of S3's error in err, "" where there is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
