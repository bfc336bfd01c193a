package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Lambda's own defaults and limits.
const (
	defaultTimeout = 3   // seconds
	defaultMemory  = 128 // MB
	maxTimeout     = 900
	maxMemory      = 10240
	maxEnvironment = 4096 // bytes, names and values together
)

// unsupported lists properties that change a function's permissions or invocation in a
// way that the local cloud does not emulate.
var unsupported = []string{
	"AutoPublishAlias", "Role", "PermissionsBoundary", "VpcConfig", "Layers", "Events", "ImageUri", "FileSystemConfigs", "DurableConfig",
}

func (l *loader) functions() error {
	ids, err := l.of(typeFunction)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, err := l.function(id)
		if err != nil {
			return err
		}
		l.stack.Functions = append(l.stack.Functions, f)
	}
	return nil
}

func (l *loader) function(id string) (Function, error) {
	path := "Resources." + id
	p, err := l.merged(id)
	if err != nil {
		return Function{}, err
	}
	for _, name := range unsupported {
		if p[name] != nil {
			return Function{}, errorAt(path, "the local cloud does not know %s of functions", name)
		}
	}
	if runtime := fmt.Sprint(p["Runtime"]); !strings.HasPrefix(runtime, "provided.al") {
		return Function{}, errorAt(path, "the runtime is %s: the local cloud runs bootstrap binaries (provided.al2023)", runtime)
	}
	f := Function{LogicalID: id}
	if f.Name, err = l.physical(path, id); err != nil {
		return Function{}, err
	}
	f.ARN = l.arn(typeFunction, f.Name)
	for _, n := range []struct {
		name           string
		to             *int
		otherwise, max int
	}{
		{"Timeout", &f.Timeout, defaultTimeout, maxTimeout},
		{"MemorySize", &f.Memory, defaultMemory, maxMemory},
		{"ReservedConcurrentExecutions", &f.Concurrency, -1, 1000},
	} {
		if *n.to, err = number(path+"."+n.name, p[n.name], n.otherwise); err != nil {
			return Function{}, err
		}
		if *n.to > n.max {
			return Function{}, errorAt(path, "%s is %d: %d is the limit", n.name, *n.to, n.max)
		}
	}
	if f.Environment, err = environment(path, p["Environment"]); err != nil {
		return Function{}, err
	}
	f.Statements, err = l.policies(path+".Policies", p["Policies"])
	return f, err
}

// merged evaluates a function's properties over Globals.Function. As in SAM, maps are
// merged and everything else is replaced.
func (l *loader) merged(id string) (map[string]any, error) {
	globals, _ := l.globals.(map[string]any)
	general, err := l.eval("Globals.Function", globals["Function"])
	if err != nil {
		return nil, err
	}
	resource, _ := l.resources[id].(map[string]any)
	own, err := l.eval("Resources."+id+".Properties", resource["Properties"])
	if err != nil {
		return nil, err
	}
	result, _ := merge(general, own).(map[string]any)
	return result, nil
}

func merge(general, own any) any {
	g, both := general.(map[string]any)
	o, isMap := own.(map[string]any)
	switch {
	case own == nil:
		return general
	case !both || !isMap:
		return own
	}
	out := maps.Clone(g)
	for key, value := range o {
		out[key] = merge(g[key], value)
	}
	return out
}

func environment(path string, value any) (map[string]string, error) {
	section, _ := value.(map[string]any)
	variables, _ := section["Variables"].(map[string]any)
	out := make(map[string]string, len(variables))
	size := 0
	for name, v := range variables {
		if reserved(name) {
			return nil, errorAt(path, "Lambda rejects the variable %s: the name is reserved", name)
		}
		switch v.(type) {
		case nil:
			v = ""
		case map[string]any, []any:
			return nil, errorAt(path, "the variable %s is not a string", name)
		}
		out[name] = fmt.Sprint(v)
		size += len(name) + len(out[name])
	}
	if size > maxEnvironment {
		return nil, errorAt(path, "the environment has %d bytes: %d are the limit", size, maxEnvironment)
	}
	return out, nil
}

// reserved reports whether Lambda reserves a variable. Other AWS variables, such as
// AWS_ENDPOINT_URL_S3, may be set.
func reserved(name string) bool {
	return strings.HasPrefix(name, "AWS_LAMBDA_") || slices.Contains([]string{
		"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_ACCESS_KEY",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
	}, name)
}

// managed lists AWS managed policies that grant nothing on S3 or DynamoDB.
var managed = []string{"AWSLambdaBasicExecutionRole", "AWSXRayDaemonWriteAccess", "AWSXrayWriteOnlyAccess"}

// policies collects the statements of a function's inline policies and of the template's managed
// ones.
func (l *loader) policies(path string, value any) ([]any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		if name := v[strings.LastIndexByte(v, '/')+1:]; slices.Contains(managed, name) {
			return nil, nil
		}
		return l.managedPolicy(path, v)
	case []any:
		var all []any
		for _, item := range v {
			some, err := l.policies(path, item)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case map[string]any:
		for key := range v {
			if key != "Statement" && key != "Version" && key != "Id" {
				return nil, errorAt(path, "the local cloud does not know %s in a policy", key)
			}
		}
		if list, ok := v["Statement"].([]any); ok {
			return list, nil
		}
		return []any{v["Statement"]}, nil
	}
	return nil, errorAt(path, "this is not a policy")
}

// managedPolicy returns the statements of a managed policy in the template, by its logical ID.
func (l *loader) managedPolicy(path, id string) ([]any, error) {
	if l.typeOf(id) != typePolicy {
		return nil, errorAt(path, "the local cloud does not know the policy %s", id)
	}
	resource, _ := l.resources[id].(map[string]any)
	properties, _ := resource["Properties"].(map[string]any)
	for key := range properties {
		if key != "Description" && key != "PolicyDocument" {
			return nil, errorAt("Resources."+id, "the local cloud does not know %s of managed policies", key)
		}
	}
	document, err := l.eval("Resources."+id, properties["PolicyDocument"])
	if err != nil {
		return nil, err
	}
	if _, is := document.(map[string]any); !is {
		return nil, errorAt("Resources."+id, "this is not a policy")
	}
	return l.policies("Resources."+id, document)
}
