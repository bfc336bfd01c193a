//go:build !localstack

package storetest

import (
	"testing"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
)

// Embedded says which store Open opens.
const Embedded = true

// Open returns the embedded store.
func Open(t *testing.T) (registry.Metadata, registry.Blobs) {
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
	return store.Metadata(), store.Blobs()
}
