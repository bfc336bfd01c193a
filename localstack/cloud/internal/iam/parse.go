package iam

import (
	"fmt"
	"slices"
	"strings"
)

// Parse reads the statements of a template, after the evaluation of intrinsic functions.
func Parse(statements []any) (Policy, error) {
	var p Policy
	for i, value := range statements {
		s, err := parseStatement(value)
		if err != nil {
			return Policy{}, fmt.Errorf("statement %d: %w", i+1, err)
		}
		p.statements = append(p.statements, s)
	}
	return p, nil
}

func parseStatement(value any) (statement, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return statement{}, fmt.Errorf("%v is not a statement", value)
	}
	var s statement
	for key := range m {
		if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Condition"}, key) {
			return s, fmt.Errorf("%s is not known to the local cloud", key)
		}
	}
	switch m["Effect"] {
	case "Allow":
	case "Deny":
		s.deny = true
	default:
		return s, fmt.Errorf("the effect is %v", m["Effect"])
	}
	var err error
	if s.actions, err = texts("Action", m["Action"]); err != nil {
		return s, err
	}
	for i, action := range s.actions {
		if action != "*" && !strings.Contains(action, ":") {
			return s, fmt.Errorf("%q is not an action", action)
		}
		s.actions[i] = strings.ToLower(action)
	}
	if s.resources, err = texts("Resource", m["Resource"]); err != nil {
		return s, err
	}
	for _, resource := range s.resources {
		if resource != "*" && !strings.HasPrefix(resource, "arn:") || strings.Contains(resource, "${") {
			return s, fmt.Errorf("%q is not a resource", resource)
		}
	}
	s.conditions, err = parseConditions(m["Condition"], s.checkable())
	return s, err
}

// checkable reports whether a statement has actions of S3 or DynamoDB.
func (s statement) checkable() bool {
	return slices.ContainsFunc(s.actions, func(action string) bool {
		service, _, _ := strings.Cut(action, ":")
		return Match(service, "s3") || Match(service, "dynamodb")
	})
}

// parseConditions rejects unknown operators and, if checkKeys is set, unknown condition
// keys: no call has such a key, so the statement would allow or deny too much.
func parseConditions(value any, checkKeys bool) ([]condition, error) {
	if value == nil {
		return nil, nil
	}
	operators, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%v is not a condition", value)
	}
	var all []condition
	for operator, entry := range operators {
		keys, ok := entry.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s needs keys and values", operator)
		}
		for key, value := range keys {
			if checkKeys && key != KeyLeadingKeys && key != KeyPrefix {
				return nil, fmt.Errorf("the condition key %s is not known to the local cloud", key)
			}
			values, err := texts(key, value)
			if err != nil {
				return nil, err
			}
			c, err := newCondition(operator, key, values)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// texts reads a string or a list of strings.
func texts(element string, value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%s: %v is not a string", element, item)
			}
			list = append(list, text)
		}
		if len(list) > 0 {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s is missing", element)
}
