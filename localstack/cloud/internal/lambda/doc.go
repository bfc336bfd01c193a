// Package lambda runs functions as AWS Lambda does: bootstrap binaries that poll Lambda's
// runtime API. An instance handles one invocation at a time and is frozen in between;
// there are as many instances as concurrent invocations.
//
// It emulates the environment (functions inherit nothing), timeout, memory limit, payload
// limits and cold starts, but neither CPU shares nor a separate file system. It must not
// know what invokes the functions or what they do.
package lambda

import (
	"errors"
	"fmt"
	"strings"
)

// Lambda's limits for payloads of synchronous invocations, in bytes.
const (
	MaxRequest  = 6291456
	MaxResponse = 6291556
)

// ErrTooLarge is Lambda's RequestTooLargeException (413): the payload is above MaxRequest.
var ErrTooLarge = errors.New("lambda: the payload of the request is too large")

// ErrThrottled is Lambda's TooManyRequestsException (429): the function is at its
// concurrency limit and all instances are busy.
var ErrThrottled = errors.New("lambda: the function is at its concurrency limit")

// FunctionError is an error that Lambda reports with X-Amz-Function-Error: the function
// failed, was stopped, or could not be started.
type FunctionError struct {
	// Type is Runtime.ExitError, Sandbox.Timedout, Runtime.OutOfMemory,
	// Function.ResponseSizeTooLarge, or the type that the function reported.
	Type string
	// Message is Lambda's, or the document that the function reported.
	Message string
}

// Error implements error.
func (e *FunctionError) Error() string {
	return fmt.Sprintf("lambda: %s: %s", e.Type, strings.TrimSpace(e.Message))
}
