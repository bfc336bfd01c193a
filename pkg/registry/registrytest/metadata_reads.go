package registrytest

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/registry"
)

// list reads all pages of a query and checks each of them.
func (tb table) list(q registry.Query) (rows []registry.Row) {
	tb.t.Helper()
	for {
		page, err := tb.Query(tb.t.Context(), q)
		if err != nil {
			tb.t.Fatalf("query %q %q after %q: %v", q.PK, q.Prefix, q.After, err)
		}
		if len(page.Rows) > q.Limit || page.More && len(page.Rows) == 0 {
			tb.t.Fatalf("a page of %d rows, limit %d, more: %t", len(page.Rows), q.Limit, page.More)
		}
		for _, row := range page.Rows {
			if row.Key.PK != q.PK || !strings.HasPrefix(row.Key.SK, q.Prefix) || row.Key.SK <= q.After || row.Attrs == nil {
				tb.t.Fatalf("row %q does not belong to prefix %q after %q", row.Key, q.Prefix, q.After)
			}
			q.After = row.Key.SK
		}
		rows = append(rows, page.Rows...)
		if !page.More {
			return rows
		}
	}
}

// lists fails unless a query has exactly these sort keys as its answer.
func (tb table) lists(q registry.Query, want []string) {
	tb.t.Helper()
	have := []string{}
	for _, row := range tb.list(q) {
		have = append(have, row.Key.SK)
		if row.Attrs["name"] != row.Key.SK {
			tb.t.Errorf("row %q has the attributes of another: %s", row.Key, show(row.Attrs))
		}
	}
	if !slices.Equal(have, want) {
		tb.t.Errorf("prefix %q after %q, limit %d: %q, want %q", q.Prefix, q.After, q.Limit, have, want)
	}
}

func shuffled(keys []string) []string {
	keys = slices.Clone(keys)
	mathrand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// testGet reads more rows than a store may take in one request, some absent.
func testGet(tb table) {
	if rows, err := tb.Get(tb.t.Context()); err != nil || len(rows) != 0 {
		tb.t.Errorf("get of nothing: %v, %v", rows, err)
	}
	pk := randomPK()
	var keys []registry.Key
	var there []string
	for i := range 250 {
		sk := fmt.Sprintf("%03d", i)
		keys = append(keys, registry.Key{PK: pk, SK: sk})
		if i%3 != 0 {
			there = append(there, sk)
		}
	}
	tb.putAll(pk, there)
	mathrand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	rows, err := tb.Get(tb.t.Context(), keys...)
	if err != nil || len(rows) != len(keys) {
		tb.t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows {
		want := registry.Attrs{"name": keys[i].SK}
		if !slices.Contains(there, keys[i].SK) {
			want = nil
		}
		if row.Key != keys[i] || !same(row.Attrs, want) {
			tb.t.Errorf("row %d is %q %s, want %q %s", i, row.Key, show(row.Attrs), keys[i], show(want))
		}
	}
}

// testGetBig reads 17 MB at once, more than DynamoDB returns in one answer.
func testGetBig(tb table) {
	pk := randomPK()
	var keys []registry.Key
	for i := range 50 {
		key := registry.Key{PK: pk, SK: fmt.Sprintf("%02d", i)}
		tb.put(key, registry.Attrs{"i": int64(i), "fill": make([]byte, 350_000)})
		keys = append(keys, key)
	}
	rows, err := tb.Get(tb.t.Context(), keys...)
	if err != nil || len(rows) != len(keys) {
		tb.t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows {
		if row.Key != keys[i] || row.Attrs["i"] != int64(i) {
			tb.t.Errorf("row %d is %q %v", i, row.Key, row.Attrs["i"])
		}
	}
}

// odd are sort keys whose byte order is that of no locale, in order.
func odd() []string {
	keys := []string{
		"\x00", "\x00\x00", "\x01", " ", "!", "-", "--", ".", "..", "0", "00", "10", "2", "9", "A", "A.b", "AB", "Z",
		"_", "__", "a", "a\x00", "a\x00b", "a\x01", "a-b", "a.b", "a0", "aB", "a_b", "aa", "ab", "b", "z", "~", "\x7f",
		"\u0080", "é", "ß", "\u07ff", "\u0800", "漢", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0001F600", "\U0010FFFF",
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func testOrder(tb table) {
	pk := randomPK()
	tb.lists(registry.Query{PK: pk, Limit: 10}, []string{})
	tb.putAll(pk, shuffled(odd()))
	// Neighbours of the partition in any order must not show up in it.
	for _, neighbour := range []string{pk + "\x01", pk + "a", pk[:len(pk)-1]} {
		tb.putAll(neighbour, []string{"a", "\x00"})
	}
	for _, limit := range []int{1, 2, 7, len(odd()) - 1, len(odd()), len(odd()) + 1, registry.MaxPage} {
		tb.lists(registry.Query{PK: pk, Limit: limit}, odd())
	}
	page, err := tb.Query(tb.t.Context(), registry.Query{PK: pk, Limit: len(odd()) + 1})
	if err != nil || page.More {
		tb.t.Errorf("more rows than there are: %t, %v", page.More, err)
	}
}

func testPrefix(tb table) {
	pk := randomPK()
	tb.putAll(pk, shuffled(odd()))
	prefixes := append(odd(), "", "none", "A.bc", "\U0010FFFF\U0010FFFF", "a\x00\x00")
	for _, prefix := range prefixes {
		want := []string{}
		for _, key := range odd() {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		for _, limit := range []int{1, 3, 1000} {
			tb.lists(registry.Query{PK: pk, Prefix: prefix, Limit: limit}, want)
		}
	}
}

// testAfter starts behind rows that are there, that are not, and that lie outside
// of the prefix.
func testAfter(tb table) {
	pk := randomPK()
	tb.putAll(pk, shuffled(odd()))
	afters := append(odd(), "", "\x00a", "A!", "a\x00\x00", "a\x00a", "a\x00bc", "c", "none", "zz", "\U0010FFFF\U0010FFFF")
	for _, prefix := range []string{"", "a", "a\x00", "A", "none", "\x00", "\U0010FFFF"} {
		for _, after := range afters {
			want := []string{}
			for _, key := range odd() {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			tb.lists(registry.Query{PK: pk, Prefix: prefix, After: after, Limit: 1000}, want)
		}
	}
}

func testPages(tb table) {
	pk := randomPK()
	var keys []string
	for i := range 45 {
		keys = append(keys, fmt.Sprintf("v%d.%s", i, strings.ToLower(rand.Text())))
	}
	slices.Sort(keys)
	tb.putAll(pk, shuffled(keys))
	for _, limit := range []int{1, 2, 3, 5, 9, 15, 44, 45, 46, 100, 1000} {
		tb.lists(registry.Query{PK: pk, Limit: limit}, keys)
		tb.lists(registry.Query{PK: pk, Prefix: "v1", After: "v1", Limit: limit}, slices.DeleteFunc(
			slices.Clone(keys), func(key string) bool { return !strings.HasPrefix(key, "v1") }))
	}
}

// testPageOfMaximum lists the largest page that a client can request: 1,000 tags of 128
// bytes.
func testPageOfMaximum(tb table) {
	pk := randomPK()
	var keys []string
	for i := range registry.MaxPage + 1 {
		keys = append(keys, fmt.Sprintf("%04d", i)+strings.Repeat("x", 124))
	}
	tb.putAll(pk, keys)
	page, err := tb.Query(tb.t.Context(), registry.Query{PK: pk, Limit: registry.MaxPage})
	if err != nil || len(page.Rows) != registry.MaxPage || !page.More {
		tb.t.Fatalf("%d small rows, more: %t, %v", len(page.Rows), page.More, err)
	}
	tb.lists(registry.Query{PK: pk, Limit: registry.MaxPage}, keys)
	tb.lists(registry.Query{PK: pk, Limit: registry.MaxPage, After: keys[0]}, keys[1:])
}

// testBigRows lists more than the 1 MB that DynamoDB returns in one answer.
func testBigRows(tb table) {
	pk := randomPK()
	var keys []string
	for i := range 25 {
		sk := fmt.Sprintf("%02d", i)
		tb.put(registry.Key{PK: pk, SK: sk}, registry.Attrs{"name": sk, "fill": make([]byte, 40_000+i*10_000)})
		keys = append(keys, sk)
	}
	for _, limit := range []int{1, 7, 1000} {
		tb.lists(registry.Query{PK: pk, Limit: limit}, keys)
	}
	tb.lists(registry.Query{PK: pk, Prefix: "1", Limit: 1000}, keys[10:20])
}

// testListBesideWrites lists page by page while other rows come and go: those
// that stay are seen exactly once.
func testListBesideWrites(tb table) {
	pk := randomPK()
	var stay []string
	for i := range 100 {
		stay = append(stay, fmt.Sprintf("%03d", i))
	}
	tb.putAll(pk, stay)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(stop)
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := registry.Key{PK: pk, SK: fmt.Sprintf("%03d+", i*37%100)}
			op := []registry.Op{registry.Put, registry.Delete}[i%2]
			if _, err := tb.update(registry.Write{Key: key, Op: op}); err != nil {
				tb.t.Errorf("write beside: %v", err)
				return
			}
		}
	})
	for range 3 {
		var have []string
		for _, row := range tb.list(registry.Query{PK: pk, Limit: 7}) {
			if !strings.HasSuffix(row.Key.SK, "+") {
				have = append(have, row.Key.SK)
			}
		}
		if !slices.Equal(have, stay) {
			tb.t.Errorf("listed %q", have)
		}
	}
}
