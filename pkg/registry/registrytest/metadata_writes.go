package registrytest

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/pierless/pierless/pkg/registry"
)

func testSet(tb table) {
	key := randomRow()
	steps := []struct {
		write registry.Write
		want  registry.Attrs
	}{
		{registry.Write{Attrs: registry.Attrs{"a": "1", "b": "2"}}, registry.Attrs{"a": "1", "b": "2"}},
		{registry.Write{Attrs: registry.Attrs{"b": "3", "c": int64(4)}}, registry.Attrs{"a": "1", "b": "3", "c": int64(4)}},
		{
			registry.Write{Add: map[string]int64{"c": 6, "n": -2}},
			registry.Attrs{"a": "1", "b": "3", "c": int64(10), "n": int64(-2)},
		},
		{
			registry.Write{Attrs: registry.Attrs{"b": []byte("x")}, Add: map[string]int64{"c": -10}},
			registry.Attrs{"a": "1", "b": []byte("x"), "c": int64(0), "n": int64(-2)},
		},
	}
	for i, step := range steps {
		step.write.Key = key
		row, err := tb.update(step.write)
		if err != nil {
			tb.t.Fatalf("step %d: %v", i, err)
		}
		if row.Key != key || !same(row.Attrs, step.want) {
			tb.t.Errorf("step %d returned %q %s, want %s", i, row.Key, show(row.Attrs), show(step.want))
		}
		tb.wants(key, step.want)
	}
	created := randomRow()
	row, err := tb.update(registry.Write{Key: created, Add: map[string]int64{"n": 3}})
	if err != nil || !same(row.Attrs, registry.Attrs{"n": int64(3)}) {
		tb.t.Errorf("adding to no row returned %s, %v", show(row.Attrs), err)
	}
	tb.wants(created, registry.Attrs{"n": int64(3)})
}

func testPut(tb table) {
	key := randomRow()
	for _, attrs := range []registry.Attrs{{"a": "1", "b": "2"}, {"b": "3"}, {}, {"c": []byte{1}}} {
		row, err := tb.update(registry.Write{Key: key, Op: registry.Put, Attrs: attrs})
		if err != nil || row.Key != key || !same(row.Attrs, attrs) {
			tb.t.Errorf("put returned %q %s, %v", row.Key, show(row.Attrs), err)
		}
		tb.wants(key, attrs)
	}
}

func testDelete(tb table) {
	key := randomRow()
	tb.put(key, registry.Attrs{"a": "1"})
	for _, what := range []string{"a row", "no row"} {
		row, err := tb.update(registry.Write{Key: key, Op: registry.Delete})
		if err != nil || row.Key != key || row.Attrs != nil {
			tb.t.Errorf("delete of %s returned %q %s, %v", what, row.Key, show(row.Attrs), err)
		}
		tb.wants(key, nil)
	}
	if err := tb.transact("", registry.Write{Key: key, Op: registry.Delete}); err != nil {
		tb.t.Errorf("delete of no row in a transaction: %v", err)
	}
	_, err := tb.update(registry.Write{Key: key, Op: registry.Delete, If: registry.Exists()})
	tb.conflict(err)
}

// testConflict checks the rows in a *Conflict.
func testConflict(tb table) {
	pk := randomPK()
	key := func(name string) registry.Key { return registry.Key{PK: pk, SK: name} }
	tb.put(key("held"), registry.Attrs{"n": int64(1)})
	tb.put(key("failed"), registry.Attrs{"n": int64(2), "b": []byte{9}})
	tb.put(key("empty"), registry.Attrs{})
	err := tb.transact(rand.Text(),
		registry.Write{Key: key("held"), If: registry.Equal("n", int64(1)), Attrs: registry.Attrs{"n": int64(5)}},
		registry.Write{Key: key("failed"), Op: registry.Put, If: registry.Equal("n", int64(1)), Attrs: registry.Attrs{}},
		registry.Write{Key: key("absent"), Op: registry.Delete, If: registry.Exists()},
		registry.Write{Key: key("created"), Op: registry.Put, If: registry.Absent(), Attrs: registry.Attrs{"x": "y"}},
		registry.Write{Key: key("empty"), Op: registry.Check, If: registry.Absent()})
	old := tb.conflict(err)
	want := []*registry.Row{
		nil,
		{Key: key("failed"), Attrs: registry.Attrs{"n": int64(2), "b": []byte{9}}},
		{Key: key("absent")},
		nil,
		{Key: key("empty"), Attrs: registry.Attrs{}},
	}
	if len(old) != len(want) {
		tb.t.Fatalf("%d old rows, want %d", len(old), len(want))
	}
	for i := range want {
		if (old[i] == nil) != (want[i] == nil) ||
			want[i] != nil && (old[i].Key != want[i].Key || !same(old[i].Attrs, want[i].Attrs)) {
			tb.t.Errorf("old row %d is %v, want %v", i, old[i], want[i])
		}
	}
	tb.wants(key("held"), registry.Attrs{"n": int64(1)})
	tb.wants(key("failed"), registry.Attrs{"n": int64(2), "b": []byte{9}})
	tb.wants(key("absent"), nil)
	tb.wants(key("created"), nil)
	tb.wants(key("empty"), registry.Attrs{})
}

// testTransact does every operation at once, also without a token.
func testTransact(tb table) {
	for _, token := range []string{"", rand.Text()} {
		pk := randomPK()
		key := func(name string) registry.Key { return registry.Key{PK: pk, SK: name} }
		for _, name := range []string{"set", "put", "delete", "check"} {
			tb.put(key(name), registry.Attrs{"n": int64(1), "s": "old"})
		}
		was := registry.Equal("n", int64(1))
		err := tb.transact(token,
			registry.Write{Key: key("set"), If: was, Attrs: registry.Attrs{"a": "b"}, Add: map[string]int64{"n": 4}},
			registry.Write{Key: key("put"), Op: registry.Put, If: was, Attrs: registry.Attrs{"p": []byte{}}},
			registry.Write{Key: key("delete"), Op: registry.Delete, If: was},
			registry.Write{Key: key("check"), Op: registry.Check, If: was},
			registry.Write{Key: key("created"), If: registry.Absent(), Attrs: registry.Attrs{"c": ""}},
			registry.Write{Key: registry.Key{PK: pk + "/other", SK: "set"}, Attrs: registry.Attrs{"o": "o"}})
		if err != nil {
			tb.t.Fatal(err)
		}
		tb.wants(key("set"), registry.Attrs{"n": int64(5), "s": "old", "a": "b"})
		tb.wants(key("put"), registry.Attrs{"p": []byte{}})
		tb.wants(key("delete"), nil)
		tb.wants(key("check"), registry.Attrs{"n": int64(1), "s": "old"})
		tb.wants(key("created"), registry.Attrs{"c": ""})
		tb.wants(registry.Key{PK: pk + "/other", SK: "set"}, registry.Attrs{"o": "o"})
	}
}

// testTransactAll goes to the limit of writes, beyond it, and fails in the last.
func testTransactAll(tb table) {
	pk := randomPK()
	writes := make([]registry.Write, registry.MaxTransact+1)
	for i := range writes {
		writes[i] = registry.Write{
			Key:   registry.Key{PK: pk, SK: fmt.Sprintf("%03d", i)},
			If:    registry.Absent(),
			Attrs: registry.Attrs{"i": int64(i)},
		}
	}
	nothing := func(when string) {
		if rows := tb.list(registry.Query{PK: pk, Limit: 1000}); len(rows) != 0 {
			tb.t.Errorf("%s: %d rows were written", when, len(rows))
		}
	}
	tb.refused(tb.transact(rand.Text(), writes...))
	nothing("too many writes")
	tb.refused(tb.transact(rand.Text(), writes[0], writes[1], writes[0]))
	nothing("a row twice")
	last := &writes[registry.MaxTransact-1]
	last.If = registry.Exists()
	tb.conflict(tb.transact(rand.Text(), writes[:registry.MaxTransact]...))
	nothing("the last condition fails")
	last.If = registry.Absent()
	if err := tb.transact(rand.Text(), writes[:registry.MaxTransact]...); err != nil {
		tb.t.Fatalf("%d writes: %v", registry.MaxTransact, err)
	}
	if rows := tb.list(registry.Query{PK: pk, Limit: 1000}); len(rows) != registry.MaxTransact {
		tb.t.Errorf("%d rows were written, want %d", len(rows), registry.MaxTransact)
	}
}

// testToken repeats transactions, as after a lost answer.
func testToken(tb table) {
	counter, created := randomRow(), randomRow()
	writes := []registry.Write{
		{Key: counter, Add: map[string]int64{"n": 1}},
		{Key: created, Op: registry.Put, If: registry.Absent(), Attrs: registry.Attrs{"a": "b"}},
	}
	token := strings.Repeat("t", 36-26) + rand.Text() // the longest there is
	for range 3 {
		if err := tb.transact(token, writes...); err != nil {
			tb.t.Fatal(err)
		}
	}
	tb.wants(counter, registry.Attrs{"n": int64(1)})
	tb.conflict(tb.transact(rand.Text(), writes...))
	for range 2 {
		if err := tb.transact("", writes[0]); err != nil {
			tb.t.Fatal(err)
		}
	}
	tb.wants(counter, registry.Attrs{"n": int64(3)})
}

// testTokenOfFailure uses a token again that changed nothing.
func testTokenOfFailure(tb table) {
	key, token := randomRow(), rand.Text()
	write := registry.Write{Key: key, If: registry.Equal("n", int64(1)), Attrs: registry.Attrs{"done": "yes"}}
	tb.conflict(tb.transact(token, write))
	tb.put(key, registry.Attrs{"n": int64(1)})
	if err := tb.transact(token, write); err != nil {
		tb.t.Fatal(err)
	}
	tb.wants(key, registry.Attrs{"n": int64(1), "done": "yes"})
}

func testKeyLimits(tb table) {
	pk := randomPK()
	longPK := pk + strings.Repeat("p", 2048-len(pk))
	for _, test := range []struct {
		name string
		key  registry.Key
		ok   bool
	}{
		{"longest", registry.Key{PK: longPK, SK: strings.Repeat("s", 1024)}, true},
		{"longest of multi-byte runes", registry.Key{PK: longPK, SK: strings.Repeat("é", 512)}, true},
		{"partition too long", registry.Key{PK: longPK + "p", SK: "s"}, false},
		{"sort key too long", registry.Key{PK: pk, SK: strings.Repeat("s", 1025)}, false},
		{"no partition", registry.Key{SK: pk}, false},
		{"no sort key", registry.Key{PK: pk}, false},
	} {
		_, err := tb.update(registry.Write{Key: test.key, Attrs: registry.Attrs{"a": test.name}})
		if !test.ok {
			tb.refused(err)
			tb.refused(tb.transact(rand.Text(), registry.Write{Key: test.key, Attrs: registry.Attrs{"a": test.name}}))
			continue
		}
		if err != nil {
			tb.t.Errorf("%s: %v", test.name, err)
			continue
		}
		tb.wants(test.key, registry.Attrs{"a": test.name})
	}
}

// testRowLimit grows rows to 400 KB and beyond.
func testRowLimit(tb table) {
	key, other := randomRow(), randomRow()
	fill := func(size int) []byte { return make([]byte, size) }
	tb.put(key, registry.Attrs{"a": fill(390_000)})
	_, err := tb.update(registry.Write{Key: key, Op: registry.Put, Attrs: registry.Attrs{"a": fill(420_000)}})
	tb.refused(err)
	_, err = tb.update(registry.Write{Key: key, Attrs: registry.Attrs{"b": fill(30_000)}})
	tb.refused(err)
	tb.refused(tb.transact(rand.Text(),
		registry.Write{Key: other, Attrs: registry.Attrs{"x": "y"}},
		registry.Write{Key: key, Attrs: registry.Attrs{"b": fill(30_000)}}))
	tb.wants(other, nil)
	if len(tb.get(key)) != 1 {
		tb.t.Error("a refused write changed the row")
	}
}
