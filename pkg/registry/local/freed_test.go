package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry/registrytest"
)

func TestFreed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := openStore(t, dir)
	registrytest.Freed(t, store.Metadata(), store.Blobs(), func(t *testing.T) (all []string) {
		t.Helper()
		err := store.meta.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(rowsBucket)).ForEach(func(key, data []byte) error {
				attrs, err := decodeRow(data)
				if attrs[attrTTL] == nil {
					all = append(all, strings.ReplaceAll(string(key), separator, " "))
				}
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range []string{"blobs/*/*", "uploads/*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if _, err := os.Stat(file); err != nil {
					t.Fatal(err)
				}
				all = append(all, file)
			}
		}
		return all
	})
}
