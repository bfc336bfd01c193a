//go:build !localstack

package server_test

import (
	"testing"

	"github.com/pierless/pierless/pkg/local"
	"github.com/pierless/pierless/pkg/registry"
)

// openStore returns the embedded store.
func openStore(t *testing.T) (registry.Names, registry.Blobs) {
	t.Helper()
	store, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store.Names(), store.Blobs()
}
