package iam

import (
	"fmt"
	"slices"
	"strings"
)

// The condition keys of calls.
const (
	KeyLeadingKeys = "dynamodb:LeadingKeys" // partition keys of the items, as text
	KeyPrefix      = "s3:prefix"            // of a listing
)

// condition is one operator on one key.
type condition struct {
	key    string
	each   string // "", ForAllValues or ForAnyValue
	negate bool
	like   bool
	exists bool // the IfExists form: true if the key is missing
	values []string
}

func newCondition(operator, key string, values []string) (condition, error) {
	c := condition{key: key, values: values}
	name := operator
	if each, rest, ok := strings.Cut(operator, ":"); ok {
		c.each, name = each, rest
	}
	name, c.exists = strings.CutSuffix(name, "IfExists")
	switch name {
	case "StringEquals":
	case "StringNotEquals":
		c.negate = true
	case "StringLike":
		c.like = true
	case "StringNotLike":
		c.negate, c.like = true, true
	default:
		return c, fmt.Errorf("the operator %s is not known to the local cloud", operator)
	}
	if c.each != "" && c.each != "ForAllValues" && c.each != "ForAnyValue" {
		return c, fmt.Errorf("the operator %s is not known to the local cloud", operator)
	}
	for _, value := range values {
		if strings.Contains(value, "${") {
			return c, fmt.Errorf("the policy variable in %q is not known to the local cloud", value)
		}
	}
	return c, nil
}

func (c condition) holds(context map[string][]string) bool {
	got, present := context[c.key]
	switch {
	case c.each == "ForAllValues":
		// As on AWS, this is true for a missing or empty key.
		return !slices.ContainsFunc(got, func(v string) bool { return !c.fits(v) })
	case !present:
		return c.exists || c.negate && c.each == ""
	case c.each == "ForAnyValue":
		return slices.ContainsFunc(got, c.fits)
	}
	return len(got) == 1 && c.fits(got[0])
}

func (c condition) fits(value string) bool {
	found := slices.ContainsFunc(c.values, func(want string) bool {
		if c.like {
			return Match(want, value)
		}
		return want == value
	})
	return found != c.negate
}
