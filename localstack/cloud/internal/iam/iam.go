// Package iam decides whether a policy allows a call, by the rules of AWS's identity
// policies: a Deny wins, without an Allow there is no access.
//
// It knows the words of policies that the local cloud can check. Any other word is an
// error when the policy is read: it is never passed over. It must not know how a call
// looks on the wire, or which calls there are.
package iam

import (
	"fmt"
	"slices"
	"strings"
)

// Call is what somebody wants to do: one action on one resource.
type Call struct {
	Action   string // dynamodb:PutItem
	Resource string // an ARN, or "*" for actions that have none
	// Context holds the values of condition keys by their name. A key that is not
	// there is not part of the call.
	Context map[string][]string
}

// DeniedError says which call a policy does not allow.
type DeniedError struct {
	Call Call
	// Explicit: a statement denies it. Else none allows it.
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

// Policy is what one principal may do. The zero value allows nothing.
type Policy struct{ statements []statement }

type statement struct {
	deny       bool
	actions    []string // lower case: actions are compared without regard to it
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

// Match compares text with a pattern in which '*' stands for any characters, slashes
// too, and '?' for one.
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
