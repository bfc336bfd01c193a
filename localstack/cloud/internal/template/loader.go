package template

import (
	"fmt"
	"slices"
	"strconv"
)

// loader collects the resources into a Stack.
type loader struct {
	*evaluator
	globals    any
	apiID      string // logical ID of the HTTP API
	invocation string // beginning of the URIs that invoke functions
	stack      Stack
}

func (l *loader) load() (*Stack, error) {
	for _, step := range []func() error{l.api, l.tables, l.functions, l.stages, l.routes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(l.stack.Functions) == 0 {
		return nil, errorAt("Resources", "there is no %s", typeFunction)
	}
	return &l.stack, nil
}

// of returns the sorted logical IDs of the resources of a type whose condition is true.
func (l *loader) of(kind string) ([]string, error) {
	var ids []string
	for id, value := range l.resources {
		if l.typeOf(id) != kind {
			continue
		}
		resource, _ := value.(map[string]any)
		if condition, ok := resource["Condition"]; ok {
			truth, err := l.condition("Resources."+id, condition)
			if err != nil {
				return nil, err
			}
			if truth != true {
				continue
			}
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// property evaluates one property. It returns nil if the property is not set.
func (l *loader) property(id, name string) (any, error) {
	resource, _ := l.resources[id].(map[string]any)
	properties, _ := resource["Properties"].(map[string]any)
	value, err := l.eval("Resources."+id+".Properties."+name, properties[name])
	if _, none := value.(noValue); none {
		value = nil
	}
	return value, err
}

func (l *loader) text(id, name string) (string, error) {
	value, err := l.property(id, name)
	if err != nil || value == nil {
		return "", err
	}
	text, ok := value.(string)
	if !ok {
		return "", errorAt("Resources."+id+".Properties."+name, "a string is expected")
	}
	return text, nil
}

// api finds the HTTP API, of which there must be one.
func (l *loader) api() error {
	ids, err := l.of(typeAPI)
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return errorAt("Resources", "%d resources are %s: the local cloud serves one", len(ids), typeAPI)
	}
	l.apiID = ids[0]
	l.invocation = "arn:aws:apigateway:" + l.pseudo["AWS::Region"] + ":lambda:path/2015-03-31/functions/"
	resource, _ := l.resources[l.apiID].(map[string]any)
	// API Gateway rejects other properties as redundant.
	if _, err := object("Resources."+l.apiID+".Properties", resource["Properties"], "Body", "FailOnWarnings"); err != nil {
		return err
	}
	l.stack.APIID, err = l.physical("Resources."+l.apiID, l.apiID)
	return err
}

// stages checks that the only stage is $default: rawPath would begin with the name of
// any other stage.
func (l *loader) stages() error {
	ids, err := l.of(typeStage)
	if err != nil {
		return err
	}
	for _, id := range ids {
		name, err := l.text(id, "StageName")
		if err != nil {
			return err
		}
		if name != "$default" {
			return errorAt("Resources."+id, "the stage is %q: the local cloud serves $default only", name)
		}
	}
	if len(ids) != 1 {
		return errorAt("Resources", "%d resources are %s: one is needed", len(ids), typeStage)
	}
	return nil
}

func (l *loader) tables() error {
	ids, err := l.of(typeTable)
	if err != nil {
		return err
	}
	for _, id := range ids {
		path := "Resources." + id
		schema, err := l.property(id, "KeySchema")
		if err != nil {
			return err
		}
		name, err := l.physical(path, id)
		if err != nil {
			return err
		}
		table := Table{LogicalID: id, Name: name}
		list, _ := schema.([]any)
		for _, item := range list {
			if key, ok := item.(map[string]any); ok && key["KeyType"] == "HASH" {
				table.HashKey = fmt.Sprint(key["AttributeName"])
			}
		}
		if table.HashKey == "" {
			return errorAt(path, "the table has no partition key")
		}
		l.stack.Tables = append(l.stack.Tables, table)
	}
	return nil
}

// number reads a numeric property. CloudFormation accepts 29 and "29".
func number(path string, value any, otherwise int) (int, error) {
	if value == nil {
		return otherwise, nil
	}
	n, err := strconv.Atoi(fmt.Sprint(value))
	if err != nil {
		return 0, errorAt(path, "%v is not a number", value)
	}
	return n, nil
}

// functionOf returns the logical ID of the function that has this name or ARN.
func (l *loader) functionOf(path, reference string) (string, error) {
	for _, f := range l.stack.Functions {
		if reference == f.Name || reference == f.ARN {
			return f.LogicalID, nil
		}
	}
	return "", errorAt(path, "%q is not a function of this template", reference)
}
