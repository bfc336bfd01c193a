package template

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// noValue is the result of Ref AWS::NoValue, which removes the property.
type noValue struct{}

// evaluator resolves intrinsic functions of single values: other parts of a template may
// use functions that the local cloud does not know.
type evaluator struct {
	parameters map[string]any
	conditions map[string]any
	resources  map[string]any
	pseudo     map[string]string
	names      map[string]string // physical names that the caller chose, by logical ID
	open       map[string]bool   // conditions that are being evaluated
}

// eval returns the value with all intrinsic functions resolved.
func (e *evaluator) eval(path string, value any) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if name, argument, ok := intrinsic(v); ok {
			return e.call(path, name, argument)
		}
		out := make(map[string]any, len(v))
		for key, item := range v {
			result, err := e.eval(path+"."+key, item)
			if err != nil {
				return nil, err
			}
			if _, none := result.(noValue); !none {
				out[key] = result
			}
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for i, item := range v {
			result, err := e.eval(path+"["+strconv.Itoa(i)+"]", item)
			if err != nil {
				return nil, err
			}
			if _, none := result.(noValue); !none {
				out = append(out, result)
			}
		}
		return out, nil
	}
	return value, nil
}

// intrinsic recognizes an intrinsic function. "Condition" is one only if it is the sole
// key and has a name: policy statements have a key of that name too.
func intrinsic(m map[string]any) (name string, argument any, ok bool) {
	if len(m) != 1 {
		return "", nil, false
	}
	for key, value := range m {
		_, text := value.(string)
		if key == "Ref" || strings.HasPrefix(key, "Fn::") || key == "Condition" && text {
			return key, value, true
		}
	}
	return "", nil, false
}

func (e *evaluator) call(path, name string, argument any) (any, error) {
	switch name {
	case "Ref":
		return e.ref(path, argument)
	case "Condition":
		return e.condition(path, argument)
	case "Fn::GetAtt":
		return e.getAtt(path, argument)
	case "Fn::Sub":
		return e.sub(path, argument)
	case "Fn::If":
		return e.ifElse(path, argument)
	}
	evaluated, err := e.eval(path+"."+name, argument)
	if err != nil {
		return nil, err
	}
	list, ok := evaluated.([]any)
	if !ok {
		return nil, errorAt(path, "%s needs a list", name)
	}
	switch name {
	case "Fn::Join":
		return join(path, list)
	case "Fn::Equals":
		if len(list) != 2 {
			return nil, errorAt(path, "%s needs two values", name)
		}
		return fmt.Sprint(list[0]) == fmt.Sprint(list[1]), nil
	case "Fn::Not":
		truths, err := booleans(path, list)
		if err != nil || len(truths) != 1 {
			return nil, errorAt(path, "%s needs one condition", name)
		}
		return !truths[0], nil
	case "Fn::And", "Fn::Or":
		truths, err := booleans(path, list)
		if err != nil {
			return nil, err
		}
		return slices.Contains(truths, name == "Fn::Or") == (name == "Fn::Or"), nil
	}
	return nil, errorAt(path, "%s is not known to the local cloud", name)
}

func booleans(path string, list []any) ([]bool, error) {
	out := make([]bool, 0, len(list))
	for _, item := range list {
		b, ok := item.(bool)
		if !ok {
			return nil, errorAt(path, "%v is not a condition", item)
		}
		out = append(out, b)
	}
	return out, nil
}

func (e *evaluator) ref(path string, argument any) (any, error) {
	name, _ := argument.(string)
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	if value, ok := e.pseudo[name]; ok {
		return value, nil
	}
	if value, ok := e.parameters[name]; ok {
		return value, nil
	}
	if _, ok := e.resources[name]; ok {
		return e.physical(path, name)
	}
	return nil, errorAt(path, "Ref %v: there is no such parameter or resource", argument)
}

func (e *evaluator) condition(path string, argument any) (any, error) {
	name, _ := argument.(string)
	expression, ok := e.conditions[name]
	if !ok {
		return nil, errorAt(path, "there is no condition %q", name)
	}
	if e.open[name] {
		return nil, errorAt(path, "condition %q depends on itself", name)
	}
	e.open[name] = true
	defer delete(e.open, name)
	value, err := e.eval("Conditions."+name, expression)
	if err != nil {
		return nil, err
	}
	if _, ok := value.(bool); !ok {
		return nil, errorAt("Conditions."+name, "this is not a condition")
	}
	return value, nil
}

func (e *evaluator) ifElse(path string, argument any) (any, error) {
	list, ok := argument.([]any)
	if !ok || len(list) != 3 {
		return nil, errorAt(path, "Fn::If needs a condition and two values")
	}
	truth, err := e.condition(path, list[0])
	if err != nil {
		return nil, err
	}
	if truth == true {
		return e.eval(path, list[1])
	}
	return e.eval(path, list[2])
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// sub replaces ${Name}, ${Resource.Attribute} and the variables that the call defines.
func (e *evaluator) sub(path string, argument any) (any, error) {
	text, own := "", map[string]any{}
	switch v := argument.(type) {
	case string:
		text = v
	case []any:
		if len(v) == 2 {
			text, _ = v[0].(string)
			own, _ = v[1].(map[string]any)
		}
	}
	if text == "" {
		return nil, errorAt(path, "Fn::Sub needs a string")
	}
	var failed error
	result := placeholder.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			return "${" + literal + "}"
		}
		value, err := e.named(path, name, own)
		if err != nil {
			failed = err
		}
		if _, structured := value.([]any); structured {
			failed = errorAt(path, "${%s} is a list", name)
		}
		return fmt.Sprint(value)
	})
	return result, failed
}

func (e *evaluator) named(path, name string, own map[string]any) (any, error) {
	if value, ok := own[name]; ok {
		return e.eval(path, value)
	}
	if resource, attribute, ok := strings.Cut(name, "."); ok {
		return e.getAtt(path, []any{resource, attribute})
	}
	return e.ref(path, name)
}

func join(path string, list []any) (any, error) {
	if len(list) == 2 {
		separator, isText := list[0].(string)
		items, isList := list[1].([]any)
		if isText && isList {
			texts := make([]string, len(items))
			for i, item := range items {
				texts[i] = fmt.Sprint(item)
			}
			return strings.Join(texts, separator), nil
		}
	}
	return nil, errorAt(path, "Fn::Join needs a separator and a list")
}
