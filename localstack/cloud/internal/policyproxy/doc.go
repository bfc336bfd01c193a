// Package policyproxy stands between functions and the emulated S3 and DynamoDB: it
// finds out who calls by the access key, which actions on which resources the call
// means to AWS, and refuses with AWS's own answer what the caller's policy does not
// allow. What it allows is passed on as it came, signature and Host included, so that
// presigned URLs work for clients too.
//
// A call that it does not know is refused: forgetting one must fail here and not after
// a deploy. It must not know what a registry is. Signatures are the emulator's affair.
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
	// DynamoDB is its own address, if the emulator has it elsewhere than S3; else nil.
	DynamoDB *url.URL
	// HashKeys are the partition keys' attributes by table.
	HashKeys map[string]string
	// Principals by access key id.
	Principals map[string]Principal
}

// Principal is a function with its policy.
type Principal struct {
	Name   string
	Policy iam.Policy
}

// errUnknownCall: the local cloud cannot say which permissions the call needs.
var errUnknownCall = errors.New("the local cloud does not know which permissions this call needs")

func unknownCall(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnknownCall, fmt.Sprintf(format, args...))
}
