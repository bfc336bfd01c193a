package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// MarkUnavailable returns an API option of a client. It wraps as around the error of a call
// if the service did not answer, failed itself or throttled, after the SDK's last try, but
// not if the caller's context ended.
func MarkUnavailable(as error) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("MarkUnavailable", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleInitialize(ctx, in)
			if err != nil && unavailable(err) {
				err = fmt.Errorf("%w: %w", as, err)
			}
			return out, metadata, err
		}), middleware.Before)
	}
}

// retryables decide which errors the SDK retries: those of its standard mode, and answers that end
// early, which it treats as malformed.
func retryables() []retry.IsErrorRetryable {
	return append(slices.Clone(retry.DefaultRetryables), retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return aws.TrueTernary
		}
		return aws.UnknownTernary
	}))
}

// unavailable reports whether the SDK retries an error. The end of a context is not retried.
func unavailable(err error) bool {
	return retry.IsErrorRetryables(retryables()).IsErrorRetryable(err) == aws.TrueTernary
}

// Advice returns the setting to check after the first call of a service failed, "" if the
// cause is unknown.
func Advice(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) || unavailable(err) {
		return "no answer: check the network, AWS_REGION and, if set, " +
			"AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL"
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException":
		return "the credentials do not allow it: docs/operations.md lists the permissions"
	case "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException",
		"InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return "AWS refuses the credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_PROFILE"
	case "ExpiredToken", "ExpiredTokenException":
		return "the credentials have expired: get new ones"
	case "RequestTimeTooSkewed", "RequestExpired":
		return "this machine's clock is wrong: set it"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "it is in another region: set AWS_REGION to that one"
	}
	return ""
}
