package template

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Options are the inputs of a deployment and the names of existing resources.
type Options struct {
	Parameters map[string]string // by name; others have the template's defaults
	Region     string
	AccountID  string
	// Bucket and Table are the physical names of the template's only bucket and only
	// table. If it has several, use Names.
	Bucket, Table string
	Names         map[string]string // physical names by logical ID
}

// Stack has the resources of the template that the local cloud needs.
type Stack struct {
	Functions []Function // sorted by logical ID
	Routes    []Route    // sorted by path
	Tables    []Table
	APIID     string
	Warnings  []string // mistakes that do not fail a deployment
}

// Function is an AWS::Serverless::Function.
type Function struct {
	LogicalID, Name, ARN string
	Environment          map[string]string
	Memory               int // MB
	Timeout              int // seconds
	// Concurrency is ReservedConcurrentExecutions, or -1 if it is not set.
	Concurrency int
	// Statements has the evaluated statements of its policies, for package iam.
	Statements []any
}

// Route is one operation of the API's OpenAPI document with its integration.
type Route struct {
	Key           string // "ANY /a/{b}", or $default
	Function      string // logical ID
	TimeoutMillis int
	// Mapping has the response parameters by status ("401") and destination.
	Mapping map[string]map[string]string
	// Permitted says that the API may invoke the function.
	Permitted bool
}

// Table is an AWS::DynamoDB::Table.
type Table struct{ LogicalID, Name, HashKey string }

// Load reads and evaluates a template. Errors at a place in the template have the type
// *Error.
func Load(path string, opts Options) (*Stack, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return Parse(text, opts)
}

// Parse is Load for the text of a template.
func Parse(text []byte, opts Options) (*Stack, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	decoded, err := decode(&node)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	root, ok := decoded.(map[string]any)
	if !ok {
		return nil, errorAt("", "this is not a template")
	}
	e, err := newEvaluator(root, opts)
	if err != nil {
		return nil, err
	}
	l := &loader{evaluator: e, globals: root["Globals"]}
	return l.load()
}

func newEvaluator(root map[string]any, opts Options) (*evaluator, error) {
	section := func(name string) map[string]any {
		m, _ := root[name].(map[string]any)
		return m
	}
	parameters, err := parameters(section("Parameters"), opts.Parameters)
	if err != nil {
		return nil, err
	}
	e := &evaluator{
		parameters: parameters, conditions: section("Conditions"),
		resources: section("Resources"), names: maps.Clone(opts.Names), open: map[string]bool{},
		pseudo: map[string]string{
			"AWS::Region": opts.Region, "AWS::AccountId": opts.AccountID, "AWS::Partition": "aws",
			"AWS::StackName": "pierless-local", "AWS::URLSuffix": "amazonaws.com",
			"AWS::StackId": "arn:aws:cloudformation:" + opts.Region + ":" + opts.AccountID + ":stack/pierless-local/local",
		},
	}
	if e.names == nil {
		e.names = map[string]string{}
	}
	for kind, name := range map[string]string{typeBucket: opts.Bucket, typeTable: opts.Table} {
		if err := e.nameOnly(kind, name); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// nameOnly sets the name of the only resource of a type that has none yet.
func (e *evaluator) nameOnly(kind, name string) error {
	var unnamed []string
	for id := range e.resources {
		if _, named := e.names[id]; !named && e.typeOf(id) == kind {
			unnamed = append(unnamed, id)
		}
	}
	slices.Sort(unnamed)
	switch {
	case len(unnamed) > 1 && name != "":
		return errorAt("Resources", "%s are all of type %s: name them one by one", strings.Join(unnamed, ", "), kind)
	case len(unnamed) == 1 && name != "":
		e.names[unnamed[0]] = name
	}
	return nil
}

// parameters merges the given values with the defaults and validates both.
func parameters(declared map[string]any, given map[string]string) (map[string]any, error) {
	for name := range given {
		if _, ok := declared[name]; !ok {
			return nil, errorAt("Parameters", "%s is given, but there is no such parameter", name)
		}
	}
	out := make(map[string]any, len(declared))
	for name, declaration := range declared {
		path := "Parameters." + name
		d, ok := declaration.(map[string]any)
		if !ok {
			return nil, errorAt(path, "this is not a parameter")
		}
		value, set := given[name]
		if !set {
			fallback, hasDefault := d["Default"]
			if !hasDefault {
				return nil, errorAt(path, "it has no default: a value is required")
			}
			if fallback != nil {
				value = fmt.Sprint(fallback)
			}
		}
		if err := checkParameter(path, d, value); err != nil {
			return nil, err
		}
		kind, _ := d["Type"].(string)
		if kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<") {
			list := []any{}
			for _, item := range strings.Split(value, ",") {
				list = append(list, strings.TrimSpace(item))
			}
			out[name] = list
			continue
		}
		out[name] = value
	}
	return out, nil
}

func checkParameter(path string, declaration map[string]any, value string) error {
	if allowed, ok := declaration["AllowedValues"].([]any); ok && !slices.Contains(allowed, any(value)) {
		return errorAt(path, "%q is not an allowed value", value)
	}
	pattern, ok := declaration["AllowedPattern"].(string)
	if !ok {
		return nil
	}
	expression, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return errorAt(path, "AllowedPattern: %v", err)
	}
	if !expression.MatchString(value) {
		return errorAt(path, "%q does not match %s", value, pattern)
	}
	return nil
}
