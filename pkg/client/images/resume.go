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

	"github.com/pierless/pierless/internal/atomicfile"
	"github.com/pierless/pierless/pkg/oci"
)

// Uploads keeps the state of unfinished uploads between processes: a client.Resume. Each upload
// has its own small file, so that processes do not conflict. Only the owner can read the files:
// the state grants write access.
type Uploads struct{ dir string }

// OpenUploads keeps uploads in dir. It creates dir if necessary, and deletes old files.
func OpenUploads(dir string) (*Uploads, error) {
	if err := atomicfile.PrivateDir(dir); err != nil {
		return nil, err
	}
	if err := dropAbandoned(dir, ""); err != nil {
		return nil, err
	}
	return &Uploads{dir}, nil
}

// path returns the file of an upload. Its name does not reveal registry or repository.
func (u *Uploads) path(registry, repository string, d oci.Digest) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{registry, repository, string(d)}, "\n")))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:]))
}

// Load returns the state of the upload of a blob, or "" if there is none.
func (u *Uploads) Load(registry, repository string, d oci.Digest) (state string) {
	path := u.path(registry, repository, d)
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > abandonedIn {
		return ""
	}
	const longest = 16 << 10
	content, _ := readSmall(path, longest) // an unreadable state is none
	return string(content)
}

// Save replaces the state of the upload of a blob; "" deletes it.
func (u *Uploads) Save(registry, repository string, d oci.Digest, state string) error {
	path := u.path(registry, repository, d)
	if state == "" {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return atomicfile.Write(path, []byte(state))
}
