package storetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
)

// Clock is a clock that tests set forward. The zero value is the time of the machine.
type Clock struct{ ahead atomic.Int64 }

// Now returns the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Sweep collects the garbage of the registry, whose clock it sets forward by some days.
func Sweep(t *testing.T, reg *registry.Registry, clock *Clock) {
	t.Helper()
	for range 5 {
		clock.ahead.Add(int64(25 * time.Hour))
		for range 3 { // the delete of a link queues its blob
			_, err := reg.Collect(t.Context(), registry.MaxPage)
			_, expireErr := reg.ExpireUploads(t.Context(), registry.MaxPage)
			if err := errors.Join(err, expireErr); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Contents returns the names of all objects, and the keys of all rows without an expiry, of the
// embedded stores that the test has opened.
func Contents(t *testing.T) (all []string) {
	t.Helper()
	stores := filepath.Join(filepath.Dir(t.TempDir()), "*")
	for _, pattern := range []string{"blobs/*/*", "uploads/*"} {
		files, err := filepath.Glob(filepath.Join(stores, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	tables, err := filepath.Glob(filepath.Join(stores, "names.db"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no embedded store: %v", err)
	}
	for _, table := range tables {
		all = append(all, rows(t, table)...)
	}
	return all
}

// rows reads a copy of a table, because the store has locked the file.
func rows(t *testing.T, table string) (keys []string) {
	t.Helper()
	content, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("rows")).ForEach(func(key, data []byte) error {
			if !bytes.Contains(data, []byte("ttl")) {
				keys = append(keys, strings.ToValidUTF8(strings.ReplaceAll(string(key), "\x00", " "), "?"))
			}
			return nil
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return keys
}
