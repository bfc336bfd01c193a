// Package local keeps a registry in a directory of this machine: the rows of
// registry.Metadata in one bbolt file, the content of registry.Blobs in files. It is
// the default of "pierless serve": durable, without an account or configuration.
//
//	names.db               every row
//	blobs/<k0k1>/<key>     content, immutable
//	uploads/<key>.<id>     segments of uploads and files that are being written
//
// One process at a time owns the directory. Writes have reached the disk when they are
// answered.
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

// ErrInUse is returned by Open if another process has the directory.
var ErrInUse = errors.New("the directory is in use by another process")

const (
	// lockWait is how long Open waits for another process to close the store.
	lockWait = time.Second
	// uploadAge is the age from which on a file in uploads/ belongs to no session: a session
	// ends a day after its last segment, a week leaves room for slow ones.
	uploadAge = 7 * 24 * time.Hour
)

// Store is an open directory. All its methods are safe for concurrent use.
type Store struct {
	meta  *metadata
	blobs *blobs
}

// Open opens the store in a directory, which it creates if it does not exist. The error is
// ErrInUse, with the directory's name, if another process has it open.
func Open(dir string) (*Store, error) {
	blobs := newBlobs(filepath.Join(dir, "blobs"), filepath.Join(dir, "uploads"))
	for _, d := range []string{dir, blobs.uploads} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("create the store's directory: %w", err)
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

// Close waits for the commit that is under way and releases the directory. Later calls of
// Metadata fail.
func (s *Store) Close() error { return s.meta.db.Close() }

func openDB(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		// Open rebuilds the freelist. Persisting it would slow every commit as pages are
		// freed.
		NoFreelistSync: true,
	})
}

// prepare runs once the lock is held, so that no other process uses the directory.
func (s *Store) prepare(dir string) error {
	if err := s.meta.createBuckets(); err != nil {
		return err
	}
	if err := s.blobs.createDirs(); err != nil {
		return err
	}
	if err := removeOlder(s.blobs.uploads, time.Now().Add(-uploadAge)); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeOlder deletes the files of a directory that were last written before a time.
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

// removeFile removes a file if it exists.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in a directory durable, which fsync of a file does not.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which cannot sync directories
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
