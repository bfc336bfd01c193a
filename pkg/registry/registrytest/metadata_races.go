package registrytest

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/registry"
)

// together runs n goroutines and waits for them. A goroutine reports by Errorf.
func together(n int, run func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { run(i) })
	}
	wg.Wait()
}

// swap replaces a number by its successor, once, if it is still the one read. It
// returns the number that it wrote, and false if another writer was faster.
func (tb table) swap(key registry.Key) (int64, bool) {
	n, _ := tb.get(key)["n"].(int64)
	row, err := tb.update(registry.Write{
		Key: key, If: registry.Equal("n", n), Attrs: registry.Attrs{"n": n + 1},
	})
	var conflict *registry.Conflict
	switch {
	case errors.As(err, &conflict):
		if old, _ := conflict.Old[0].Attrs["n"].(int64); old <= n {
			tb.t.Errorf("lost against %d, expected was %d", old, n)
		}
		return 0, false
	case err != nil:
		tb.t.Errorf("swap: %v", err)
		return 0, true
	case row.Attrs["n"] != n+1:
		tb.t.Errorf("wrote %d, got %v", n+1, row.Attrs["n"])
	}
	return n + 1, true
}

// testCompareAndSwap counts with swaps only: none is lost, none done twice.
func testCompareAndSwap(tb table) {
	const writers, each = 8, 12
	key := randomRow()
	tb.put(key, registry.Attrs{"n": int64(0)})
	var mu sync.Mutex
	wrote := map[int64]int{}
	together(writers, func(int) {
		for done := 0; done < each; {
			if n, ok := tb.swap(key); ok {
				mu.Lock()
				wrote[n]++
				mu.Unlock()
				done++
			}
		}
	})
	tb.wants(key, registry.Attrs{"n": int64(writers * each)})
	for n, times := range wrote {
		if times != 1 {
			tb.t.Errorf("%d writers swapped to %d", times, n)
		}
	}
}

// testAdd counts without conditions, by updates and by transactions.
func testAdd(tb table) {
	const writers, each = 8, 10
	key := randomRow()
	together(writers, func(i int) {
		for range each {
			w := registry.Write{Key: key, Add: map[string]int64{"n": 1}}
			var err error
			if i%2 == 0 {
				_, err = tb.update(w)
			} else {
				err = tb.transact("", w)
			}
			if err != nil {
				tb.t.Errorf("add: %v", err)
			}
		}
	})
	tb.wants(key, registry.Attrs{"n": int64(writers * each)})
}

// testCreateRace has many create one row, by updates and by transactions.
func testCreateRace(tb table) {
	for range 5 {
		key := randomRow()
		var won atomic.Int64
		won.Store(-1)
		lost := make([]error, 16)
		together(len(lost), func(i int) {
			w := registry.Write{
				Key: key, Op: registry.Put, If: registry.Absent(), Attrs: registry.Attrs{"by": int64(i)},
			}
			if i%2 == 0 {
				_, lost[i] = tb.update(w)
			} else {
				lost[i] = tb.transact(fmt.Sprintf("%s%02d", key.PK[len(key.PK)-26:], i), w)
			}
			if lost[i] == nil && !won.CompareAndSwap(-1, int64(i)) {
				tb.t.Error("two have created the row")
			}
		})
		tb.wants(key, registry.Attrs{"by": won.Load()})
		for i, err := range lost {
			if int64(i) == won.Load() {
				continue
			}
			if old := tb.conflict(err)[0]; !same(old.Attrs, registry.Attrs{"by": won.Load()}) {
				tb.t.Errorf("%d lost against %s", i, show(old.Attrs))
			}
		}
	}
}

// testTransfer moves amounts between two rows. A reader that read both rows and had a
// transaction confirm them must have seen the full sum.
func testTransfer(tb table) {
	pk := randomPK()
	accounts := []registry.Key{{PK: pk, SK: "a"}, {PK: pk + "/far", SK: "b"}}
	for _, key := range accounts {
		tb.put(key, registry.Attrs{"n": int64(100)})
	}
	read := func() (n [2]int64, as [2]registry.Cond) {
		rows, err := tb.Get(tb.t.Context(), accounts...)
		if err != nil {
			tb.t.Errorf("get: %v", err)
			return n, as
		}
		for i, row := range rows {
			n[i], _ = row.Attrs["n"].(int64)
			as[i] = registry.Equal("n", n[i])
		}
		return n, as
	}
	together(6, func(i int) {
		for done := 0; done < 8; {
			n, as := read()
			amount := mathrand.Int64N(20) - 10
			writes := []registry.Write{
				{Key: accounts[0], If: as[0], Add: map[string]int64{"n": -amount}},
				{Key: accounts[1], If: as[1], Attrs: registry.Attrs{"n": n[1] + amount}},
			}
			if i == 0 { // a reader
				writes[0] = registry.Write{Key: accounts[0], Op: registry.Check, If: as[0]}
				writes[1] = registry.Write{Key: accounts[1], Op: registry.Check, If: as[1]}
			}
			err := tb.transact("", writes...)
			var conflict *registry.Conflict
			if errors.As(err, &conflict) {
				continue
			}
			if err != nil || n[0]+n[1] != 200 {
				tb.t.Errorf("%d + %d in two accounts, %v", n[0], n[1], err)
			}
			done++
		}
	})
	if n, _ := read(); n[0]+n[1] != 200 {
		tb.t.Errorf("%d + %d at the end", n[0], n[1])
	}
}

// testReadAfterWrite has readers that know the answered writes: each kind of read sees at
// least those, and no reader ever sees an older state.
func testReadAfterWrite(tb table) {
	const last = 60
	key := randomRow()
	tb.put(key, registry.Attrs{"n": int64(0)})
	var answered atomic.Int64
	together(4, func(i int) {
		if i == 0 {
			defer answered.Store(last) // also where a write fails
			for n := int64(1); n <= last; n++ {
				if _, err := tb.update(registry.Write{Key: key, Attrs: registry.Attrs{"n": n}}); err != nil {
					tb.t.Errorf("write %d: %v", n, err)
					return
				}
				answered.Store(n)
			}
			return
		}
		for seen, known := int64(0), int64(0); known < last; {
			known = answered.Load()
			n, err := tb.readNumber(key, i)
			if err != nil || n < known || n < seen {
				tb.t.Errorf("read %d; %d was answered, %d was read before: %v", n, known, seen, err)
				return
			}
			seen = n
		}
	})
}

// readNumber reads a row in one of three ways.
func (tb table) readNumber(key registry.Key, way int) (int64, error) {
	var rows []registry.Row
	var err error
	switch way {
	case 1:
		rows, err = tb.Get(tb.t.Context(), key)
	case 2:
		rows, err = tb.Get(tb.t.Context(), registry.Key{PK: key.PK, SK: "none"}, key)
		rows = rows[min(1, len(rows)):]
	default:
		var page registry.Page
		page, err = tb.Query(tb.t.Context(), registry.Query{PK: key.PK, Limit: 1})
		rows = page.Rows
	}
	if err != nil || len(rows) != 1 {
		return -1, fmt.Errorf("%d rows: %w", len(rows), err)
	}
	n, _ := rows[0].Attrs["n"].(int64)
	return n, nil
}
