// Package gendoc compares documents that are made from code with what is in docs/.
// It is for tests alone, and must not know what a document is about.
package gendoc

import (
	"bytes"
	"os"
	"testing"
)

// Check fails the test unless the file holds want; with update it writes it first.
// remedy says how to make it current.
func Check(t *testing.T, path string, want []byte, update bool, remedy string) {
	t.Helper()
	if update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says: %s", path, remedy)
	}
}
