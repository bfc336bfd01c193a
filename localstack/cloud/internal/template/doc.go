// Package template reads a SAM template: the functions with their environment, limits
// and policies, the routes of the HTTP API with their integrations, and the keys of the
// tables.
//
// It evaluates only the properties that the local cloud needs, and returns an error for
// everything in them that it does not know: skipping a condition of a policy would allow
// calls that AWS rejects. It must not know how functions are run or requests handled.
package template

import "fmt"

// Error is an error at a place in the template.
type Error struct {
	Path   string // for example Resources.BlobsFunction.Properties.Timeout
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("template: %s: %s", e.Path, e.Reason) }

func errorAt(path, format string, args ...any) error {
	return &Error{Path: path, Reason: fmt.Sprintf(format, args...)}
}
