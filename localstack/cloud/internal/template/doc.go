// Package template reads a SAM template and says what it would deploy: the
// functions with their environment, limits and policies, the routes of the HTTP API
// with their integrations, and the keys of the tables.
//
// Only what the local cloud needs is evaluated. What it does not understand there is
// an error and never left out: a condition of a policy that is skipped would allow
// what AWS refuses. It must not know how functions are run or requests answered.
package template

import "fmt"

// Error is a place in the template and what is wrong with it.
type Error struct {
	Path   string // for example Resources.BlobsFunction.Properties.Timeout
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("template: %s: %s", e.Path, e.Reason) }

func errorAt(path, format string, args ...any) error {
	return &Error{Path: path, Reason: fmt.Sprintf(format, args...)}
}
