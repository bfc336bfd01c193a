// Package local keeps a registry in a folder of this machine: the rows of
// registry.Metadata in one bbolt file, the content of registry.Blobs in files. It is
// the default of "pierless serve": no account, no configuration, durable.
//
//	names.db               every row
//	blobs/<k0k1>/<key>     content, never changed once it is there
//	uploads/<key>.<id>     segments of uploads and files that are being written
//
// One process at a time owns the folder. What was written has reached the disk
// when it is answered.
//
// It must not know about HTTP, AWS or the rules: only the two ports.
package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/pierless/pierless/pkg/registry"
)

// ErrInUse is returned by Open where another process has the folder.
var ErrInUse = errors.New("the folder is in use by another process")

const (
	// lockWait is how long Open waits for another process to leave.
	lockWait = time.Second
	// uploadAge is when a file in uploads/ can belong to no session any more: a
	// session ends a day after its last segment, a week leaves room for slow ones.
	uploadAge = 7 * 24 * time.Hour
)

// Store is an open folder. All its methods are safe for concurrent use.
type Store struct {
	meta  *metadata
	blobs *blobs
}

// Open opens the store in a folder and makes the folder where there is none. The
// error is ErrInUse, with the folder's name, where another process has it open.
func Open(dir string) (*Store, error) {
	blobs := newBlobs(filepath.Join(dir, "blobs"), filepath.Join(dir, "uploads"))
	for _, d := range []string{dir, blobs.uploads} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the store's folder: %w", err)
		}
	}
	db, err := openDB(filepath.Join(dir, "names.db"))
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	store := &Store{meta: newMetadata(db), blobs: blobs}
	if err := store.prepare(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the store in %s: %w", dir, err), db.Close())
	}
	return store, nil
}

// Metadata returns the mutable half of the store.
func (s *Store) Metadata() registry.Metadata { return s.meta }

// Blobs returns the immutable half of the store.
func (s *Store) Blobs() registry.Blobs { return s.blobs }

// Close waits for the commit that is under way and gives the folder free. Calls
// of Names that come later fail.
func (s *Store) Close() error { return s.meta.db.Close() }

func openDB(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		// The list of free pages is found again at Open; writing it would make
		// each commit the longer, the more has been deleted.
		NoFreelistSync: true,
	})
}

// prepare runs once the lock is held, so that nobody else is in the folder.
func (s *Store) prepare(dir string) error {
	if err := s.meta.createBucket(); err != nil {
		return err
	}
	if err := s.blobs.createFolders(); err != nil {
		return err
	}
	if err := removeOlder(s.blobs.uploads, time.Now().Add(-uploadAge)); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeOlder drops the files of a folder that were last written before a time.
func removeOlder(dir string, limit time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(limit) {
			continue
		}
		if err := removeFile(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes a file that may be gone already.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in a folder durable, as fsync of a file does not.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
