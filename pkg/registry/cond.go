package registry

import "bytes"

// Cond is a condition on one row. The zero Cond always holds.
type Cond struct {
	Op    CondOp
	Attr  string
	Value any // string, int64 or []byte for Equal; int64 for Less and Greater
	Of    []Cond
}

// CondOp is the sort of a Cond.
type CondOp int

// The sorts of conditions.
const (
	Always CondOp = iota
	RowAbsent
	RowExists
	AttrEqual
	AttrLess
	AttrGreater
	AllOf
)

// Absent holds where there is no row.
func Absent() Cond { return Cond{Op: RowAbsent} }

// Exists holds where there is a row.
func Exists() Cond { return Cond{Op: RowExists} }

// Equal holds where the attribute is there and has this value.
func Equal(attr string, value any) Cond { return Cond{Op: AttrEqual, Attr: attr, Value: value} }

// Less holds where the attribute is there and below n.
func Less(attr string, n int64) Cond { return Cond{Op: AttrLess, Attr: attr, Value: n} }

// Greater holds where the attribute is there and above n.
func Greater(attr string, n int64) Cond { return Cond{Op: AttrGreater, Attr: attr, Value: n} }

// All holds where each of the conditions does.
func All(of ...Cond) Cond { return Cond{Op: AllOf, Of: of} }

// Holds evaluates the condition on a row's attributes; nil means no row. Adapters
// that cannot hand conditions to a database use it.
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

// Apply returns the attributes that the write leaves, given those it found: nil
// where it leaves no row. The condition is not looked at, old is not changed.
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
