package images

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// keptFor is how long the state of an unfinished upload is kept: registries expire idle uploads
// after a day.
const keptFor = 24 * time.Hour

// Uploads keeps the state of unfinished uploads between processes: a client.Resume. Each upload
// has its own small file, so that processes do not conflict. Only the owner can read the files:
// the state grants write access.
type Uploads struct{ dir string }

// OpenUploads keeps uploads in dir. It creates dir if necessary, and deletes old files.
func OpenUploads(dir string) (*Uploads, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// An existing directory may have other permissions.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		// Another process may delete the same file.
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keptFor {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return &Uploads{dir}, nil
}

// path returns the file of an upload. Its name does not reveal registry or repository.
func (u *Uploads) path(registry, repository string, d oci.Digest) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{registry, repository, string(d)}, "\n")))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:]))
}

// Load returns the state of the upload of a blob, if there is one.
func (u *Uploads) Load(registry, repository string, d oci.Digest) (id string, ok bool) {
	path := u.path(registry, repository, d)
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > keptFor {
		return "", false
	}
	const longest = 16 << 10
	content, err := readSmall(path, longest)
	return string(content), err == nil && len(content) > 0
}

// Save replaces the state of the upload of a blob.
func (u *Uploads) Save(registry, repository string, d oci.Digest, id string) error {
	f, err := os.CreateTemp(u.dir, "new-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(id)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), u.path(registry, repository, d))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Drop deletes the state of the upload of a blob.
func (u *Uploads) Drop(registry, repository string, d oci.Digest) error {
	err := os.Remove(u.path(registry, repository, d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
