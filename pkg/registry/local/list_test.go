package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/registrytest"
)

func TestLists(t *testing.T) {
	t.Parallel()
	store := openStore(t, t.TempDir())
	registrytest.Lists(t, store.Metadata(), store.Blobs(), store.Objects(), store.Rows())
}

// TestListSkipsOtherFiles: files that are no content, or in a wrong directory, are not in the list.
func TestListSkipsOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := openStore(t, dir)
	for _, name := range []string{"00/readme", "00/" + strings.Repeat("1", 64), "00/" + strings.Repeat("0", 63) + "G"} {
		if err := os.WriteFile(filepath.Join(dir, "blobs", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	page, err := store.Objects().ListObjects(t.Context(), "", registry.MaxPage)
	if err != nil || len(page.Objects) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}
