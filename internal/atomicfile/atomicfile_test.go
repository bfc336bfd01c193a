package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pierless/pierless/internal/atomicfile"
)

// TestWrite: a write that fails leaves the old content, and no other file.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as it may be
		t.Fatal(err)
	}
	if err := atomicfile.PrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil { //nolint:gosec // as it may be
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if content, readErr := os.ReadFile(path); err != nil || readErr != nil || string(content) != "new" || info.Mode() != 0o600 {
		t.Errorf("%q with %v, %v", content, info.Mode(), err)
	}
	taken := filepath.Join(dir, "directory")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(taken, []byte("new")); err == nil {
		t.Error("a directory was replaced")
	}
	if err := atomicfile.Write(filepath.Join(dir, "missing", "file"), nil); err == nil {
		t.Error("a file was written into a missing directory")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}
