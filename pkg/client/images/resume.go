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

// keptFor is how long an unfinished upload is remembered: registries end one that
// nothing happens to after a day.
const keptFor = 24 * time.Hour

// Uploads remembers unfinished uploads between processes: a client.Resume. Each has a
// small file of its own, so that processes do not meet in one. An id is the right to
// write: the files are for their owner alone.
type Uploads struct{ dir string }

// OpenUploads keeps uploads in dir, which is made if it is not there, and forgets those
// that are too old.
func OpenUploads(dir string) (*Uploads, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// A folder that was there may be open to others.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		// Another process may be forgetting the same one.
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keptFor {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return &Uploads{dir}, nil
}

// path is where an upload is kept: what it is of does not show.
func (u *Uploads) path(registry, repository string, d oci.Digest) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{registry, repository, string(d)}, "\n")))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:]))
}

// Load returns the id of the upload of a blob, if there is one.
func (u *Uploads) Load(registry, repository string, d oci.Digest) (id string, ok bool) {
	path := u.path(registry, repository, d)
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > keptFor {
		return "", false
	}
	const longest = 16 << 10 // more is none of ours
	content, err := readSmall(path, longest)
	return string(content), err == nil && len(content) > 0
}

// Save remembers the id of the upload of a blob, in place of an earlier one.
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

// Drop forgets the upload of a blob.
func (u *Uploads) Drop(registry, repository string, d oci.Digest) error {
	err := os.Remove(u.path(registry, repository, d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
