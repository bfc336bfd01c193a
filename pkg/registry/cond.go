package registry

import "bytes"

// Cond is a condition on one row. The zero Cond always holds.
type Cond struct {
	Op    CondOp
	Attr  string
	Value any // string, int64 or []byte for Equal; int64 for Less and Greater
	Of    []Cond
}

// CondOp is the operator of a Cond.
type CondOp int

// The operators of conditions.
const (
	Always CondOp = iota
	RowAbsent
	RowExists
	AttrEqual
	AttrLess
	AttrGreater
	AllOf
)

// Absent holds if the row does not exist.
func Absent() Cond { return Cond{Op: RowAbsent} }

// Exists holds if the row exists.
func Exists() Cond { return Cond{Op: RowExists} }

// Equal holds if the row has the attribute with this value.
func Equal(attr string, value any) Cond { return Cond{Op: AttrEqual, Attr: attr, Value: value} }

// Less holds if the row has the attribute, with a value below n.
func Less(attr string, n int64) Cond { return Cond{Op: AttrLess, Attr: attr, Value: n} }

// Greater holds if the row has the attribute, with a value above n.
func Greater(attr string, n int64) Cond { return Cond{Op: AttrGreater, Attr: attr, Value: n} }

// All holds if every one of the conditions holds.
func All(of ...Cond) Cond { return Cond{Op: AllOf, Of: of} }

// Holds evaluates the condition on a row's attributes; nil means that the row does not exist.
// Adapters for databases without conditional writes use it.
func (c Cond) Holds(row Attrs) bool {
	switch c.Op {
	case Always:
		return true
	case RowAbsent:
		return row == nil
	case RowExists:
		return row != nil
	case AttrEqual:
		have, found := row[c.Attr]
		if b, ok := have.([]byte); ok {
			want, ok := c.Value.([]byte)
			return ok && bytes.Equal(b, want)
		}
		return found && have == c.Value
	case AttrLess, AttrGreater:
		have, ok := row[c.Attr].(int64)
		limit, _ := c.Value.(int64)
		return ok && (c.Op == AttrLess && have < limit || c.Op == AttrGreater && have > limit)
	case AllOf:
		for _, of := range c.Of {
			if !of.Holds(row) {
				return false
			}
		}
		return true
	}
	return false
}

// Apply returns the attributes of the row after the write, given those before it; nil means
// that the row does not exist. It ignores the condition and does not change old.
func (w Write) Apply(old Attrs) Attrs {
	switch w.Op {
	case Delete:
		return nil
	case Check:
		return old
	case Set, Put:
	}
	attrs := make(Attrs, len(old)+len(w.Attrs))
	if w.Op == Set {
		for name, value := range old {
			attrs[name] = value
		}
	}
	for name, value := range w.Attrs {
		attrs[name] = value
	}
	for name, n := range w.Add {
		have, _ := attrs[name].(int64)
		attrs[name] = have + n
	}
	return attrs
}
