package ddbmeta

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/pierless/pierless/pkg/registry"
)

// never is a condition that no row meets.
const never = "attribute_exists(pk) AND attribute_not_exists(pk)"

// expression hands out placeholders, so that neither a reserved word nor a value
// ever stands in the text. The first error is kept. The same write always gets
// the same placeholders: a transaction that is sent again must be the same.
type expression struct {
	names  map[string]string
	values map[string]types.AttributeValue
	err    error
}

// name is the placeholder of an attribute of the table.
func (e *expression) name(attr string) string {
	for have, name := range e.names {
		if name == attr {
			return have
		}
	}
	if e.names == nil {
		e.names = make(map[string]string)
	}
	placeholder := "#" + strconv.Itoa(len(e.names))
	e.names[placeholder] = attr
	return placeholder
}

// attr is the placeholder of an attribute of a row.
func (e *expression) attr(name string) string { return e.name(stored(name)) }

func (e *expression) value(value any) string {
	encoded, err := encode(value)
	if err != nil && e.err == nil {
		e.err = err
	}
	if e.values == nil {
		e.values = make(map[string]types.AttributeValue)
	}
	placeholder := ":" + strconv.Itoa(len(e.values))
	e.values[placeholder] = encoded
	return placeholder
}

// condition renders a condition; the empty string always holds.
func (e *expression) condition(c registry.Cond) string {
	switch c.Op {
	case registry.Always:
		return ""
	case registry.RowAbsent:
		return "attribute_not_exists(" + e.name(attrPK) + ")"
	case registry.RowExists:
		return "attribute_exists(" + e.name(attrPK) + ")"
	case registry.AttrEqual:
		return e.attr(c.Attr) + " = " + e.value(c.Value)
	case registry.AttrLess:
		return e.attr(c.Attr) + " < " + e.value(c.Value)
	case registry.AttrGreater:
		return e.attr(c.Attr) + " > " + e.value(c.Value)
	case registry.AllOf:
		return e.all(c.Of)
	case registry.AnyOf:
		return e.any(c.Of)
	}
	if e.err == nil {
		e.err = fmt.Errorf("ddbmeta: unknown condition %d", c.Op)
	}
	return never
}

func (e *expression) all(of []registry.Cond) string {
	var parts []string
	for _, c := range of {
		if part := e.condition(c); part != "" {
			parts = append(parts, part)
		}
	}
	return join(parts, " AND ")
}

func (e *expression) any(of []registry.Cond) string {
	// Looked at before anything is rendered: DynamoDB refuses unused placeholders.
	if slices.ContainsFunc(of, always) {
		return ""
	}
	if len(of) == 0 {
		return never
	}
	parts := make([]string, len(of))
	for i, c := range of {
		parts[i] = e.condition(c)
	}
	return join(parts, " OR ")
}

// always says that a condition is rendered as the empty string.
func always(c registry.Cond) bool {
	switch c.Op {
	case registry.Always:
		return true
	case registry.AllOf:
		return !slices.ContainsFunc(c.Of, func(of registry.Cond) bool { return !always(of) })
	case registry.AnyOf:
		return slices.ContainsFunc(c.Of, always)
	case registry.RowAbsent, registry.RowExists, registry.AttrEqual, registry.AttrLess, registry.AttrGreater:
	}
	return false
}

func join(parts []string, by string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return "(" + strings.Join(parts, ")"+by+"(") + ")"
}

// update renders a Set as registry.Write.Apply defines it: Attrs, then Add, then
// Remove. DynamoDB refuses two actions on one attribute, so they are merged here.
func (e *expression) update(w registry.Write) string {
	var set, add, remove []string
	for _, name := range slices.Sorted(maps.Keys(w.Attrs)) {
		if slices.Contains(w.Remove, name) {
			continue
		}
		value := w.Attrs[name]
		if n, both := w.Add[name]; both {
			base, _ := value.(int64)
			value = base + n
		}
		set = append(set, e.attr(name)+" = "+e.value(value))
	}
	for _, name := range slices.Sorted(maps.Keys(w.Add)) {
		if _, both := w.Attrs[name]; both || slices.Contains(w.Remove, name) {
			continue
		}
		add = append(add, e.attr(name)+" "+e.value(w.Add[name]))
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(w.Remove))) {
		remove = append(remove, e.attr(name))
	}
	if len(set) == 0 && len(add) == 0 {
		set = []string{e.name(attrTouch) + " = " + e.value(int64(0))}
	}
	var clauses []string
	for _, clause := range []struct {
		verb    string
		actions []string
	}{{"SET ", set}, {"ADD ", add}, {"REMOVE ", remove}} {
		if len(clause.actions) > 0 {
			clauses = append(clauses, clause.verb+strings.Join(clause.actions, ", "))
		}
	}
	return strings.Join(clauses, " ")
}

// rendered is a write in DynamoDB's terms: an item for Put, a key for the others.
type rendered struct {
	key, item map[string]types.AttributeValue
	condition *string
	update    *string
	names     map[string]string
	values    map[string]types.AttributeValue
}

func render(w registry.Write) (rendered, error) {
	var (
		r   rendered
		e   expression
		err error
	)
	condition := e.condition(w.If)
	switch w.Op {
	case registry.Put:
		r.item, err = encodeRow(w.Key, w.Apply(nil))
	case registry.Set:
		r.update = aws.String(e.update(w))
		r.key, err = encodeKey(w.Key)
	case registry.Check:
		if condition == "" { // a check needs a condition
			condition = "attribute_exists(pk) OR attribute_not_exists(pk)"
		}
		r.key, err = encodeKey(w.Key)
	case registry.Delete:
		r.key, err = encodeKey(w.Key)
	default:
		err = fmt.Errorf("ddbmeta: unknown write %d", w.Op)
	}
	if condition != "" {
		r.condition = aws.String(condition)
	}
	r.names, r.values = e.names, e.values
	if err == nil {
		err = e.err
	}
	return r, err
}
