// Package gendoc compares documents that are made from code with what is in docs/.
// It is for tests alone, and must not know what a document is about.
package gendoc

import (
	"bytes"
	"os"
	"testing"
)

// Check fails the test unless the file holds want; with update it first writes a file that
// does not. A file that is current keeps its time, and cached results of tests stay valid.
// remedy says how to make it current.
func Check(t *testing.T, path string, want []byte, update bool, remedy string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if update && !bytes.Equal(got, want) {
		got, err = want, os.WriteFile(path, want, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says: %s", path, remedy)
	}
}
