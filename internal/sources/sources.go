// Package sources makes the cached result of a test depend on the source files of the
// module. It is for tests that run the go command, git or make on them: "go test" caches
// by the files that the test's own process opens, and by no others.
// It must not know what those tests look at.
package sources

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Track lists every folder with Go packages of the module at root, which is enough for
// "go test": it compares name, size and time of all files in them.
func Track(t *testing.T, root string) {
	t.Helper()
	for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"cmd", "functions", "internal", "localstack", "pkg"} {
		// WalkDir opens each folder to read it.
		err := filepath.WalkDir(filepath.Join(root, folder), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
	}
}
