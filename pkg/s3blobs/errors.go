package s3blobs

import (
	"errors"

	"github.com/aws/smithy-go"
)

// Codes that S3 answers with and that mean something here.
const (
	codePrecondition = "PreconditionFailed"
	codeNoKey        = "NoSuchKey"
	codeNoUpload     = "NoSuchUpload"
	codeRange        = "InvalidRange"
	codeNotFound     = "NotFound" // of a HEAD, which has no body to say what
)

// code is the code of S3's error in err, "" where there is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
