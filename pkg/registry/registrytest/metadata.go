package registrytest

import (
	"crypto/rand"
	"math"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

// Metadata runs the contract of registry.Metadata as subtests in parallel. open returns
// the port over one store; it is called once per subtest.
func Metadata(t *testing.T, open func(t *testing.T) registry.Metadata) {
	t.Helper()
	tests := []struct {
		name string
		run  func(table)
	}{
		{"Conditions", testConditions},
		{"Set", testSet},
		{"Put", testPut},
		{"Delete", testDelete},
		{"Values", testValues},
		{"Conflict", testConflict},
		{"Transact", testTransact},
		{"TransactAll", testTransactAll},
		{"Token", testToken},
		{"TokenOfFailure", testTokenOfFailure},
		{"KeyLimits", testKeyLimits},
		{"RowLimit", testRowLimit},
		{"Get", testGet},
		{"GetBig", testGetBig},
		{"Order", testOrder},
		{"Prefix", testPrefix},
		{"After", testAfter},
		{"Pages", testPages},
		{"PageOfMaximum", testPageOfMaximum},
		{"BigRows", testBigRows},
		{"ListBesideWrites", testListBesideWrites},
		{"CompareAndSwap", testCompareAndSwap},
		{"Add", testAdd},
		{"CreateRace", testCreateRace},
		{"Transfer", testTransfer},
		{"ReadAfterWrite", testReadAfterWrite},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(table{open(t), t})
		})
	}
}

// testConditions evaluates each condition in the store, alone and as part of a
// transaction, and compares with Cond.Holds.
func testConditions(tb table) {
	row := registry.Attrs{"n": int64(5), "s": "x", "b": []byte{0, 1}, "e": "", "neg": int64(-7)}
	for _, c := range conditions(row) {
		tb.t.Run(c.name, func(t *testing.T) {
			tb := table{tb.Metadata, t}
			if c.cond.Holds(c.row) != c.holds {
				t.Fatal("Cond.Holds disagrees with this table")
			}
			key := randomRow()
			if c.row != nil {
				tb.put(key, c.row)
			}
			other := registry.Key{PK: key.PK, SK: "other"}
			checked := tb.transact("",
				registry.Write{Key: other, Attrs: registry.Attrs{"seen": int64(1)}},
				registry.Write{Key: key, Op: registry.Check, If: c.cond})
			written, err := tb.update(registry.Write{Key: key, If: c.cond, Attrs: registry.Attrs{"mark": "m"}})
			if !c.holds {
				if old := tb.conflict(checked); len(old) != 2 || old[0] != nil || old[1] == nil || !same(old[1].Attrs, c.row) {
					t.Errorf("the transaction met %v", old)
				}
				if old := tb.conflict(err); len(old) != 1 || old[0] == nil || !same(old[0].Attrs, c.row) {
					t.Errorf("the update met %v", old)
				}
				tb.wants(key, c.row)
				tb.wants(other, nil)
				return
			}
			if checked != nil || err != nil {
				t.Fatalf("the condition should hold: %v, %v", checked, err)
			}
			want := registry.Write{Attrs: registry.Attrs{"mark": "m"}}.Apply(c.row)
			if !same(written.Attrs, want) {
				t.Errorf("the update returned %s, want %s", show(written.Attrs), show(want))
			}
			tb.wants(key, want)
			tb.wants(other, registry.Attrs{"seen": int64(1)})
		})
	}
}

type conditionCase struct {
	name  string
	row   registry.Attrs
	cond  registry.Cond
	holds bool
}

func conditions(row registry.Attrs) []conditionCase {
	absent, exists, equal := registry.Absent, registry.Exists, registry.Equal
	less, greater, all := registry.Less, registry.Greater, registry.All
	return []conditionCase{
		{"always, no row", nil, registry.Cond{}, true},
		{"always, row", row, registry.Cond{}, true},
		{"absent, no row", nil, absent(), true},
		{"absent, row", row, absent(), false},
		{"absent, empty row", registry.Attrs{}, absent(), false},
		{"exists, no row", nil, exists(), false},
		{"exists, row", row, exists(), true},
		{"exists, empty row", registry.Attrs{}, exists(), true},
		{"equal string", row, equal("s", "x"), true},
		{"equal string, other", row, equal("s", "X"), false},
		{"equal string, empty", row, equal("e", ""), true},
		{"equal string, longer", row, equal("s", "xx"), false},
		{"equal int", row, equal("n", int64(5)), true},
		{"equal int, other", row, equal("n", int64(6)), false},
		{"equal int, negative", row, equal("neg", int64(-7)), true},
		{"equal bytes", row, equal("b", []byte{0, 1}), true},
		{"equal bytes, other", row, equal("b", []byte{0, 2}), false},
		{"equal, other type", row, equal("n", "5"), false},
		{"equal, string for bytes", row, equal("b", "\x00\x01"), false},
		{"equal, no attribute", row, equal("none", "x"), false},
		{"equal, no row", nil, equal("s", "x"), false},
		{"equal zero, no attribute", row, equal("none", int64(0)), false},
		{"less", row, less("n", 6), true},
		{"less, equal", row, less("n", 5), false},
		{"less, more", row, less("n", 4), false},
		{"less, negative", row, less("neg", -6), true},
		{"less, no attribute", row, less("none", 1), false},
		{"less, string", row, less("s", math.MaxInt64), false},
		{"less, no row", nil, less("n", 6), false},
		{"greater", row, greater("n", 4), true},
		{"greater, equal", row, greater("n", 5), false},
		{"greater, less", row, greater("n", 6), false},
		{"greater than the smallest", row, greater("neg", math.MinInt64), true},
		{"greater, no attribute", row, greater("none", -1), false},
		{"greater, string", row, greater("s", math.MinInt64), false},
		{"greater, no row", nil, greater("n", 0), false},
		{"all of none", row, all(), true},
		{"all", row, all(exists(), equal("s", "x"), less("n", 9)), true},
		{"all, one fails", row, all(exists(), equal("s", "x"), less("n", 5)), false},
		{"all with always", row, all(registry.Cond{}, equal("s", "x")), true},
		{"all, no row", nil, all(absent(), registry.Cond{}), true},
		{"same attribute twice", row, all(greater("n", 4), less("n", 6)), true},
	}
}

// testValues reads back the extreme values of each type.
func testValues(tb table) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	big := make([]byte, 64<<10)
	rand.Read(big)
	for name, value := range map[string]any{
		"empty string": "", "text": "né 漢字 \U0001F600 \x00 \t\n", "long text": strings.Repeat("ä", 10_000),
		"zero": int64(0), "minus one": int64(-1), "largest": int64(math.MaxInt64), "smallest": int64(math.MinInt64),
		"beyond a float": int64(1<<53 + 1), "no bytes": []byte{}, "every byte": every, "many bytes": big,
	} {
		tb.t.Run(name, func(t *testing.T) {
			tb := table{tb.Metadata, t}
			key, want := randomRow(), registry.Attrs{"value": value}
			row, err := tb.update(registry.Write{Key: key, Attrs: want})
			if err != nil || !same(row.Attrs, want) {
				t.Errorf("update returned %s, %v", show(row.Attrs), err)
			}
			tb.wants(key, want)
			again := registry.Key{PK: key.PK, SK: "again"}
			if err := tb.transact("", registry.Write{Key: again, Op: registry.Put, Attrs: want}); err != nil {
				t.Fatal(err)
			}
			tb.wants(again, want)
			if _, err := tb.update(registry.Write{
				Key: key, Op: registry.Delete, If: registry.Equal("value", value),
			}); err != nil {
				t.Errorf("a condition on the value: %v", err)
			}
		})
	}
}
