// Package iam evaluates identity-based policies as AWS does: an explicit deny overrides
// every allow, and access needs an allow.
//
// It knows the policy elements that the local cloud can check. Parse returns an error
// for every other element, as ignoring one would change the result. The package must not
// know how calls are sent or which ones exist.
package iam

import (
	"fmt"
	"slices"
	"strings"
)

// Call is one action on one resource.
type Call struct {
	Action   string // dynamodb:PutItem
	Resource string // an ARN, or "*" for actions without resources
	// Context holds the values of condition keys by name. A call without a key has no
	// entry for it.
	Context map[string][]string
}

// DeniedError reports a call that a policy does not allow.
type DeniedError struct {
	Call Call
	// Explicit says that a statement denies the call; else no statement allows it.
	Explicit bool
}

// Error implements error.
func (e *DeniedError) Error() string {
	why := "no statement allows it"
	if e.Explicit {
		why = "a statement denies it"
	}
	if keys := e.Call.Context[KeyLeadingKeys]; len(keys) > 0 {
		why += ", leading keys " + strings.Join(keys, " ")
	}
	return fmt.Sprintf("%s on %s (%s)", e.Call.Action, e.Call.Resource, why)
}

// Policy is the identity-based policy of one principal. The zero value allows nothing.
type Policy struct{ statements []statement }

type statement struct {
	deny       bool
	actions    []string // in lower case, as the comparison ignores case
	resources  []string
	conditions []condition
}

// Check returns a *DeniedError if the policy does not allow the call.
func (p Policy) Check(c Call) error {
	allowed := false
	for _, s := range p.statements {
		if !s.applies(c) {
			continue
		}
		if s.deny {
			return &DeniedError{Call: c, Explicit: true}
		}
		allowed = true
	}
	if !allowed {
		return &DeniedError{Call: c}
	}
	return nil
}

func (s statement) applies(c Call) bool {
	action := strings.ToLower(c.Action)
	if !slices.ContainsFunc(s.actions, func(p string) bool { return Match(p, action) }) ||
		!slices.ContainsFunc(s.resources, func(p string) bool { return Match(p, c.Resource) }) {
		return false
	}
	for _, condition := range s.conditions {
		if !condition.holds(c.Context) {
			return false
		}
	}
	return true
}

// Match reports whether text matches a pattern in which '*' stands for any characters,
// including slashes, and '?' for one.
func Match(pattern, text string) bool {
	star, mark := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
