package registrytest

import (
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// Lists runs the contract of registry.ObjectLister and registry.RowScanner. The store must not have
// an object or a row yet: each list must be complete.
func Lists(t *testing.T, meta registry.Metadata, blobs registry.Blobs, objects registry.ObjectLister, rows registry.RowScanner) {
	t.Helper()
	t.Run("Objects", func(t *testing.T) { testListObjects(t, blobs, objects) })
	t.Run("Rows", func(t *testing.T) { testScanRows(table{meta, t}, rows) })
	t.Run("RowsBesideWrites", func(t *testing.T) { testScanBesideWrites(table{meta, t}, rows) })
	t.Run("BigRows", func(t *testing.T) { testScanBigRows(table{meta, t}, rows) })
}

// listAll reads all pages from after and checks each of them.
func listAll(t *testing.T, lister registry.ObjectLister, after string, limit int) (all []registry.Object) {
	t.Helper()
	for page := (registry.ObjectPage{More: true}); page.More; {
		var err error
		if page, err = lister.ListObjects(t.Context(), after, limit); err != nil {
			t.Fatalf("list after %q: %v", after, err)
		}
		if len(page.Objects) > limit || page.More && len(page.Objects) == 0 {
			t.Fatalf("a page of %d objects, limit %d, more: %t", len(page.Objects), limit, page.More)
		}
		for _, o := range page.Objects {
			if o.Key <= after {
				t.Fatalf("key %s after %s", o.Key, after)
			}
			after = o.Key
		}
		all = append(all, page.Objects...)
	}
	return all
}

func testListObjects(t *testing.T, blobs registry.Blobs, lister registry.ObjectLister) {
	began := time.Now()
	if all := listAll(t, lister, "", 10); len(all) != 0 {
		t.Fatalf("%d objects in a new store", len(all))
	}
	var keys []string
	for i := range 23 {
		key := randomKey()
		if i < 3 { // in one directory of the embedded store
			key = "ab" + key[2:]
		}
		keys = append(keys, key)
		if err := blobs.Put(t.Context(), key, make([]byte, 100+int(key[0]))); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(keys)
	for _, limit := range []int{1, 2, 22, 23, 24, registry.MaxPage} {
		all := listAll(t, lister, "", limit)
		if len(all) != len(keys) {
			t.Fatalf("%d objects of %d, limit %d", len(all), len(keys), limit)
		}
		for i, o := range all {
			if o.Key != keys[i] || o.Size != 100+int64(o.Key[0]) {
				t.Errorf("object %d is %+v, want key %s", i, o, keys[i])
			}
			if age := o.Modified.Sub(began); age < -time.Minute || age > 10*time.Minute {
				t.Errorf("stored at %v, but the test began at %v", o.Modified, began)
			}
		}
	}
	for _, after := range []string{keys[0], keys[11], keys[22], keys[5][:10], strings.Repeat("f", 64)} {
		want := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key <= after })
		if all := listAll(t, lister, after, 4); len(all) != len(want) || len(want) > 0 && all[0].Key != want[0] {
			t.Errorf("after %s: %d objects, want %d", after, len(all), len(want))
		}
	}
	for _, key := range keys[:22] {
		if err := blobs.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if all := listAll(t, lister, "", 3); len(all) != 1 || all[0].Key != keys[22] {
		t.Errorf("after deletes: %+v", all)
	}
	for _, limit := range []int{0, registry.MaxPage + 1} {
		if _, err := lister.ListObjects(t.Context(), "", limit); err == nil {
			t.Errorf("limit %d was accepted", limit)
		}
	}
}

// scanAll reads all pages and demands that no row comes twice.
func scanAll(t *testing.T, scanner registry.RowScanner, limit int, between func()) map[registry.Key]registry.Attrs {
	t.Helper()
	all := map[registry.Key]registry.Attrs{}
	after := registry.Key{}
	for page := (registry.Page{More: true}); page.More; {
		var err error
		if page, err = scanner.ScanRows(t.Context(), after, limit); err != nil {
			t.Fatalf("scan after %q: %v", after, err)
		}
		if len(page.Rows) > limit || page.More && len(page.Rows) == 0 {
			t.Fatalf("a page of %d rows, limit %d, more: %t", len(page.Rows), limit, page.More)
		}
		for _, row := range page.Rows {
			if all[row.Key] != nil {
				t.Fatalf("row %q comes twice", row.Key)
			}
			all[row.Key], after = row.Attrs, row.Key
		}
		between()
	}
	return all
}

func testScanRows(tb table, scanner registry.RowScanner) {
	if all := scanAll(tb.t, scanner, 10, func() {}); len(all) != 0 {
		tb.t.Fatalf("%d rows in a new store", len(all))
	}
	want := map[registry.Key]registry.Attrs{}
	for i := range 57 {
		key := registry.Key{PK: fmt.Sprint("scan#", i%9), SK: fmt.Sprint("sk", i)}
		want[key] = registry.Attrs{"i": int64(i), "s": key.SK, "b": []byte{byte(i)}}
		tb.put(key, want[key])
	}
	for _, limit := range []int{1, 7, 56, 57, 58, registry.MaxPage} {
		all := scanAll(tb.t, scanner, limit, func() {})
		for key, attrs := range want {
			if !same(all[key], attrs) {
				tb.t.Errorf("limit %d: row %q is %s, want %s", limit, key, show(all[key]), show(attrs))
			}
		}
		if len(all) != len(want) {
			tb.t.Errorf("limit %d: %d rows, want %d", limit, len(all), len(want))
		}
	}
	for _, limit := range []int{0, registry.MaxPage + 1} {
		if _, err := scanner.ScanRows(tb.t.Context(), registry.Key{}, limit); err == nil {
			tb.t.Errorf("limit %d was accepted", limit)
		}
	}
}

// testScanBesideWrites: rows that stay are in the scan, although the row at which a page ended is
// deleted before the next page.
func testScanBesideWrites(tb table, scanner registry.RowScanner) {
	stays := map[registry.Key]bool{}
	var goes []registry.Key
	for i := range 60 {
		key := registry.Key{PK: fmt.Sprint("beside#", i%13), SK: fmt.Sprint("sk", i)}
		tb.put(key, registry.Attrs{"i": int64(i)})
		if i%2 == 0 {
			stays[key] = true
		} else {
			goes = append(goes, key)
		}
	}
	all := scanAll(tb.t, scanner, 3, func() {
		for range 3 {
			if len(goes) == 0 {
				return
			}
			i := mathrand.IntN(len(goes))
			if _, err := tb.update(registry.Write{Key: goes[i], Op: registry.Delete}); err != nil {
				tb.t.Fatal(err)
			}
			goes = slices.Delete(goes, i, i+1)
		}
	})
	for key := range stays {
		if all[key] == nil {
			tb.t.Errorf("row %q is not in the scan", key)
		}
	}
}

// testScanBigRows: a page of the store ends before the limit.
func testScanBigRows(tb table, scanner registry.RowScanner) {
	want := map[registry.Key]bool{}
	for i := range 8 {
		key := registry.Key{PK: fmt.Sprint("big#", i%2), SK: fmt.Sprint("sk", i)}
		want[key] = true
		tb.put(key, registry.Attrs{"b": make([]byte, 300<<10)})
	}
	all := scanAll(tb.t, scanner, registry.MaxPage, func() {})
	for key := range want {
		if len(all[key]) != 1 {
			tb.t.Errorf("row %q is not in the scan", key)
		}
	}
}
