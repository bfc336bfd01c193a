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

// expression assigns placeholders, so that neither a reserved word nor a value is part of
// the text. It keeps the first error. The same write always gets the same placeholders: a
// transaction that is sent again must be identical.
type expression struct {
	names  map[string]string
	values map[string]types.AttributeValue
	err    error
}

// name is the placeholder of an attribute.
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
		return e.name(c.Attr) + " = " + e.value(c.Value)
	case registry.AttrLess:
		return e.name(c.Attr) + " < " + e.value(c.Value)
	case registry.AttrGreater:
		return e.name(c.Attr) + " > " + e.value(c.Value)
	case registry.AllOf:
		return e.all(c.Of)
	}
	if e.err == nil {
		e.err = fmt.Errorf("ddbmeta: unknown condition %d", c.Op)
	}
	return ""
}

func (e *expression) all(of []registry.Cond) string {
	var parts []string
	for _, c := range of {
		if part := e.condition(c); part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return "(" + strings.Join(parts, ") AND (") + ")"
}

// update renders the changes of a Set. DynamoDB refuses an empty update, and two changes
// of one attribute.
func (e *expression) update(w registry.Write) string {
	var set, add []string
	for _, name := range slices.Sorted(maps.Keys(w.Attrs)) {
		set = append(set, e.name(name)+" = "+e.value(w.Attrs[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(w.Add)) {
		add = append(add, e.name(name)+" "+e.value(w.Add[name]))
	}
	var clauses []string
	if len(set) > 0 {
		clauses = append(clauses, "SET "+strings.Join(set, ", "))
	}
	if len(add) > 0 {
		clauses = append(clauses, "ADD "+strings.Join(add, ", "))
	}
	return strings.Join(clauses, " ")
}

// rendered is a write in DynamoDB's terms: an item for Put, a key for the other operations.
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
