// Package lambda runs functions as AWS Lambda does: real bootstrap binaries that poll
// Lambda's runtime API, one invocation at a time in each instance, as many instances
// as there are invocations at once, frozen in between.
//
// What a function notices is kept: its environment (nothing is inherited), timeout,
// memory limit, payload limits, cold starts. CPU shares are not, nor is a file system
// of its own. It must not know what invokes functions or what they do.
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

// ErrThrottled is Lambda's TooManyRequestsException (429): all instances that the
// function may have are busy.
var ErrThrottled = errors.New("lambda: the function is at its concurrency limit")

// FunctionError is what Lambda reports with X-Amz-Function-Error: the function failed,
// was stopped, or could not be started.
type FunctionError struct {
	// Type is Lambda's: Runtime.ExitError, Sandbox.Timedout, Runtime.OutOfMemory,
	// Function.ResponseSizeTooLarge, or the one that the function reported.
	Type string
	// Message is Lambda's, or the document that the function reported.
	Message string
}

// Error implements error.
func (e *FunctionError) Error() string {
	return fmt.Sprintf("lambda: %s: %s", e.Type, strings.TrimSpace(e.Message))
}
