package ddbmeta

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/pierless/pierless/pkg/registry"
)

// plain puts names and values back into an expression.
func plain(text string, r rendered) string {
	var pairs []string
	for placeholder, name := range r.names {
		pairs = append(pairs, placeholder, name)
	}
	for placeholder, value := range r.values {
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			pairs = append(pairs, placeholder, "'"+v.Value+"'")
		case *types.AttributeValueMemberN:
			pairs = append(pairs, placeholder, v.Value)
		case *types.AttributeValueMemberB:
			pairs = append(pairs, placeholder, "b'"+string(v.Value)+"'")
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func TestConditions(t *testing.T) {
	equal := registry.Equal("a", "x")
	for _, test := range []struct {
		cond registry.Cond
		want string
	}{
		{registry.Cond{}, ""},
		{registry.Absent(), "attribute_not_exists(pk)"},
		{registry.Exists(), "attribute_exists(pk)"},
		{equal, "a = 'x'"},
		{registry.Equal("a", ""), "a = ''"},
		{registry.Equal("a", []byte("y")), "a = b'y'"},
		{registry.Less("size", 3), "size < 3"},
		{registry.Greater("size", -3), "size > -3"},
		{registry.All(), ""},
		{registry.All(equal), "a = 'x'"},
		{registry.All(registry.Cond{}, equal), "a = 'x'"},
		{registry.All(equal, registry.Exists()), "(a = 'x') AND (attribute_exists(pk))"},
	} {
		r, err := render(registry.Write{Op: registry.Delete, If: test.cond})
		if err != nil {
			t.Fatal(err)
		}
		if (r.condition == nil) != (test.want == "") {
			t.Errorf("%v is rendered as %v", test.cond, r.condition)
		}
		text := aws.ToString(r.condition)
		if got := plain(text, r); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
		for _, placeholders := range []any{r.names, r.values} {
			for _, key := range reflect.ValueOf(placeholders).MapKeys() {
				if !strings.Contains(text, key.String()) {
					t.Errorf("%s is not used in %s", key, text)
				}
			}
		}
	}
}

func TestUpdates(t *testing.T) {
	for _, test := range []struct {
		write registry.Write
		want  string
	}{
		{registry.Write{Attrs: registry.Attrs{"b": "x", "a": int64(-1)}}, "SET a = -1, b = 'x'"},
		{registry.Write{Add: map[string]int64{"n": 2, "m": 1}}, "ADD m 1, n 2"},
	} {
		r, err := render(test.write)
		if err != nil {
			t.Fatal(err)
		}
		if got := plain(*r.update, r); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// A transaction that is sent again must be the same to the byte.
func TestRenderingIsStable(t *testing.T) {
	write := registry.Write{
		If:    registry.Equal("a", "x"),
		Attrs: registry.Attrs{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"},
		Add:   map[string]int64{"f": 1, "g": 2, "h": 3},
	}
	first, err := render(write)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if again, _ := render(write); !reflect.DeepEqual(first, again) {
			t.Fatalf("%v and %v", first, again)
		}
	}
}

func TestRefusedValues(t *testing.T) {
	for _, write := range []registry.Write{
		{Attrs: registry.Attrs{"a": 1}},
		{Attrs: registry.Attrs{"a": nil}},
		{Attrs: registry.Attrs{"a": "\xff"}},
		{Op: registry.Put, Attrs: registry.Attrs{"a": 1.5}},
		{Op: registry.Put, Attrs: registry.Attrs{"pk": "x"}},
		{If: registry.Equal("a", true)},
		{Key: registry.Key{PK: "\xff", SK: "s"}},
		{Op: registry.Op(9)},
		{If: registry.Cond{Op: registry.CondOp(99)}},
	} {
		if _, err := render(write); err == nil {
			t.Errorf("%v is rendered", write)
		}
	}
}

func TestRowsComeBack(t *testing.T) {
	key := registry.Key{PK: "p", SK: "s"}
	attrs := registry.Attrs{
		"s": "", "t": "x", "n": int64(-1 << 63), "b": []byte{}, "c": []byte{0},
	}
	item, err := encodeRow(key, attrs)
	if err != nil {
		t.Fatal(err)
	}
	row, err := decodeRow(item)
	if err != nil || row.Key != key || !reflect.DeepEqual(row.Attrs, attrs) {
		t.Errorf("%v, %v", row, err)
	}
}

// excludes claims that a write does not hold twice: Apply and Holds are the
// judges.
func TestExcludes(t *testing.T) {
	add := map[string]int64{"n": 1}
	for _, test := range []struct {
		write registry.Write
		want  bool
	}{
		{registry.Write{Add: add}, false},
		{registry.Write{Add: add, If: registry.Exists()}, false},
		{registry.Write{Add: add, If: registry.Absent()}, true},
		{registry.Write{Add: add, If: registry.Equal("n", int64(4))}, true},
		{registry.Write{Add: add, If: registry.Equal("m", int64(4))}, false},
		{registry.Write{Add: map[string]int64{"n": 0}, If: registry.Equal("n", int64(4))}, false},
		{registry.Write{Add: add, If: registry.Less("n", 4)}, false},
		{registry.Write{Add: add, If: registry.Equal("rev", "1"), Attrs: registry.Attrs{"rev": "2"}}, true},
		{registry.Write{Add: add, If: registry.Equal("rev", "1"), Attrs: registry.Attrs{"rev": "1"}}, false},
		{registry.Write{Add: add, If: registry.All(registry.Exists(), registry.Absent())}, true},
	} {
		if got := excludes(test.write, test.write.If); got != test.want {
			t.Errorf("%v: %v", test.write, got)
		}
		for _, row := range []registry.Attrs{nil, {}, {"n": int64(4)}, {"m": int64(4)}, {"rev": "1"}} {
			if test.want && test.write.If.Holds(row) && test.write.If.Holds(test.write.Apply(row)) {
				t.Errorf("%v holds twice on %v", test.write, row)
			}
		}
	}
}

func TestStartKeys(t *testing.T) {
	for _, test := range []struct {
		prefix, after, start string
		nothing              bool
	}{
		{"", "", "", false},
		{"", "x", "x", false},
		{"p", "", "", false},
		{"p", "a", "", false},
		{"p", "p", "p", false},
		{"p", "pa", "pa", false},
		{"p", "q", "", true},
	} {
		input, nothing, err := New(dynamodb.New(dynamodb.Options{}), "t").queryInput(registry.Query{PK: "k", Prefix: test.prefix, After: test.after, Limit: 1})
		if err != nil || nothing != test.nothing {
			t.Errorf("%v: nothing %v, %v", test, nothing, err)
		}
		if nothing {
			continue
		}
		start := ""
		if sk, ok := input.ExclusiveStartKey[attrSK].(*types.AttributeValueMemberS); ok {
			start = sk.Value
		}
		if start != test.start || *input.Limit != 2 {
			t.Errorf("%v: starts after %q, limit %d", test, start, *input.Limit)
		}
	}
}
