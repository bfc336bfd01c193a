// Package policyproxy is a proxy between functions and the emulated S3 and DynamoDB that
// enforces policies. It identifies the function by the access key of the call, derives
// the IAM actions and resources, and answers calls that the policy does not allow with
// AWS's own error. Other calls are forwarded unchanged, including signature and Host, so
// that presigned URLs work.
//
// It rejects calls that it does not know: a missing permission must fail here and not
// after a deployment. It must not know registries. The emulator checks signatures.
package policyproxy

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// Config of a proxy.
type Config struct {
	Region, AccountID string
	// DynamoDB is the URL of DynamoDB, or nil if it is that of S3.
	DynamoDB *url.URL
	// HashKeys has the name of the partition key attribute by table.
	HashKeys map[string]string
	// Principals has the functions by access key ID.
	Principals map[string]Principal
}

// Principal is a function with its policy.
type Principal struct {
	Name   string
	Policy iam.Policy
}

// errUnknownCall reports a call for which the local cloud cannot derive permissions.
var errUnknownCall = errors.New("the local cloud does not know which permissions this call needs")

func unknownCall(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnknownCall, fmt.Sprintf(format, args...))
}
