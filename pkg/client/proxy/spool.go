package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const (
	spoolPrefix = "pierless-proxy-"
	lockName    = "lock"
	// The spool leaves free space on its disk for others: leaveFree bytes, or the disk's
	// size divided by leavePart, whichever is smaller.
	leaveFree = 1 << 30
	leavePart = 20
)

// errSpoolFull is returned if the spool accepts no more bytes.
var errSpoolFull = errors.New("the spool is full")

// spool is a directory of this process that keeps bytes until their digest is known. Other
// processes have their own beside it. A process that starts removes the directories of
// killed ones.
type spool struct {
	dir   string
	lock  *flock.Flock
	limit int64 // bytes

	mu     sync.Mutex
	used   int64 // bytes
	closed bool
}

// openSpool creates the directory in base.
func openSpool(base string, limit int64) (*spool, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := cleanSpools(base); err != nil {
		return nil, fmt.Errorf("clean the spool: %w", err)
	}
	for range 10 { // another process that starts may take the new directory for an abandoned one
		dir, err := os.MkdirTemp(base, spoolPrefix) // 0700
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
		locked, err := lock.TryLock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("lock the spool: %w", err), os.RemoveAll(dir))
		}
		if locked && stillThere(lock) {
			return &spool{dir: dir, lock: lock, limit: limit}, nil
		}
		_ = lock.Close() // the other process removes the directory
	}
	return nil, errors.New("spool: other processes remove each new directory")
}

func stillThere(lock *flock.Flock) bool {
	byName, err := os.Stat(lock.Path())
	if err != nil {
		return false
	}
	held, err := lock.Stat()
	return err == nil && os.SameFile(byName, held)
}

// cleanSpools removes the directories of processes that have ended.
func cleanSpools(base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), spoolPrefix) {
			continue
		}
		if err := cleanSpool(filepath.Join(base, e.Name())); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
			return err // a directory of another user stays
		}
	}
	return nil
}

func cleanSpool(dir string) error {
	info, err := os.Lstat(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return cleanUnlocked(dir)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // the proxy has not made it
	}
	lock := flock.New(filepath.Join(dir, lockName), flock.SetFlag(os.O_RDWR))
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return err
	}
	return errors.Join(os.RemoveAll(dir), lock.Close())
}

// cleanUnlocked removes a directory without a lock, unless its process may be about to
// create the lock.
func cleanUnlocked(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || time.Since(info.ModTime()) < time.Minute {
		return err
	}
	return os.RemoveAll(dir)
}

// close removes the directory.
func (s *spool) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

// create returns an empty file.
func (s *spool) create() (*spoolFile, error) {
	f, err := os.CreateTemp(s.dir, "") // 0600
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.remake(); err != nil {
			return nil, err
		}
		f, err = os.CreateTemp(s.dir, "")
	}
	if err != nil {
		return nil, err
	}
	return &spoolFile{spool: s, file: f}, nil
}

// remake creates the directory again: cleaners of the system's temporary directory remove
// directories that were not used for some days.
func (s *spool) remake() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	err := os.Mkdir(s.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// reserve takes n bytes of the limit, or returns them if n is negative. The error is
// errSpoolFull.
func (s *spool) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.limit {
		return fmt.Errorf("%w: %d of %d bytes are in use", errSpoolFull, s.used, s.limit)
	}
	if n > 0 {
		if free, size, known := diskSpace(s.dir); known && !leavesRoom(free-n, size) {
			return fmt.Errorf("%w: %d bytes of its disk are free", errSpoolFull, free)
		}
	}
	s.used += n
	return nil
}

// leavesRoom reports whether free bytes of a disk with size bytes are enough for others.
func leavesRoom(free, size int64) bool { return free >= min(leaveFree, size/leavePart) }

// fits returns errSpoolFull if n more bytes have no room.
func (s *spool) fits(n int64) error {
	if err := s.reserve(n); err != nil {
		return err
	}
	return s.reserve(-n)
}

// spoolFile holds the bytes of one upload. Its session's lock guards it, except for reads.
type spoolFile struct {
	spool    *spool
	file     *os.File
	reserved int64 // bytes
}

// WriteAt implements io.WriterAt. A failing disk counts as full: errSpoolFull.
func (f *spoolFile) WriteAt(p []byte, offset int64) (int, error) {
	more := max(offset+int64(len(p))-f.reserved, 0)
	if err := f.spool.reserve(more); err != nil {
		return 0, err
	}
	f.reserved += more
	n, err := f.file.WriteAt(p, offset)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errSpoolFull, err)
	}
	return n, nil
}

// truncate keeps the first size bytes.
func (f *spoolFile) truncate(size int64) error {
	if err := f.file.Truncate(size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	err := f.spool.reserve(size - f.reserved)
	f.reserved = size
	return err
}

// remove deletes the file and frees its space. Reads that are in progress fail.
func (f *spoolFile) remove() error {
	err := errors.Join(f.file.Close(), os.Remove(f.file.Name()))
	_ = f.spool.reserve(-f.reserved) // giving back cannot fail
	f.reserved = 0
	if errors.Is(err, fs.ErrNotExist) { // the spool was closed
		return nil
	}
	return err
}
