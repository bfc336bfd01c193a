// Package atomicfile replaces files that several processes read and write, and that hold secrets.
//
// It must not know their content.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file, or creates it, with mode 0600. Readers see the old content or the new one.
// The directory must exist.
func Write(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// PrivateDir creates a directory that only its owner can read, or makes an existing one so.
func PrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
