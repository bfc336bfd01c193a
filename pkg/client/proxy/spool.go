package proxy

import (
	"errors"
	"fmt"
	"io"
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
	// leaveFree and leavePart are what the spool leaves of its disk to others: the
	// smaller of a number of bytes and the disk's size divided by leavePart.
	leaveFree = 1 << 30
	leavePart = 20
)

// errSpoolFull is a spool that takes no more bytes.
var errSpoolFull = errors.New("the spool is full")

// spool is a folder of this process, in which bytes wait until their digest is known.
// Other processes have theirs beside it; what a process has left that was killed, the
// next one to start removes.
type spool struct {
	dir  string
	lock *flock.Flock
	max  int64 // bytes

	mu     sync.Mutex
	used   int64 // bytes
	closed bool
}

// openSpool makes the folder in base.
func openSpool(base string, limit int64) (*spool, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := cleanSpools(base); err != nil {
		return nil, fmt.Errorf("clean the spool: %w", err)
	}
	for range 10 { // another process that starts may take the new folder for an abandoned one
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
			return &spool{dir: dir, lock: lock, max: limit}, nil
		}
		_ = lock.Close() // whoever has the folder removes it
	}
	return nil, errors.New("spool: other processes remove each new folder")
}

func stillThere(lock *flock.Flock) bool {
	byName, err := os.Stat(lock.Path())
	if err != nil {
		return false
	}
	held, err := lock.Stat()
	return err == nil && os.SameFile(byName, held)
}

// cleanSpools removes the folders whose process has ended.
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
			return err // what is another user's is theirs
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
		return nil // not of our making
	}
	lock := flock.New(filepath.Join(dir, lockName), flock.SetFlag(os.O_RDWR))
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return err
	}
	return errors.Join(os.RemoveAll(dir), lock.Close())
}

// cleanUnlocked removes a folder without a lock, unless its process may be about to
// make it.
func cleanUnlocked(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || time.Since(info.ModTime()) < time.Minute {
		return err
	}
	return os.RemoveAll(dir)
}

// close removes the folder. Files that are still open are readable until closed.
func (s *spool) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

// create makes an empty file.
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
	return &spoolFile{spool: s, file: f, users: 1}, nil
}

// remake makes the folder again: what cleans the system's folder for temporary files
// takes those that were not used for some days.
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

// reserve takes n bytes of the limit, or gives them back if n is negative. The error is
// errSpoolFull.
func (s *spool) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.max {
		return fmt.Errorf("%w: %d of %d bytes are in use", errSpoolFull, s.used, s.max)
	}
	if n > 0 {
		if free, size, known := diskSpace(s.dir); known && !leavesRoom(free-n, size) {
			return fmt.Errorf("%w: %d bytes of its disk are free", errSpoolFull, free)
		}
	}
	s.used += n
	return nil
}

// leavesRoom reports whether others still have room on a disk of this size, in bytes.
func leavesRoom(free, size int64) bool { return free >= min(leaveFree, size/leavePart) }

// fits reports why n more bytes have no place. The error is errSpoolFull.
func (s *spool) fits(n int64) error {
	if err := s.reserve(n); err != nil {
		return err
	}
	return s.reserve(-n)
}

// spoolFile holds the bytes of one upload. Its users are the upload and whoever reads.
type spoolFile struct {
	spool *spool
	file  *os.File

	mu       sync.Mutex
	reserved int64 // bytes
	users    int
}

// WriteAt implements io.WriterAt. The error is errSpoolFull, also where the disk says so.
func (f *spoolFile) WriteAt(p []byte, offset int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
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

// truncate drops what is behind the first size bytes.
func (f *spoolFile) truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.file.Truncate(size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	err := f.spool.reserve(size - f.reserved)
	f.reserved = size
	return err
}

// use returns the first size bytes for reading. They stay readable until release.
func (f *spoolFile) use(size int64) *io.SectionReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
	return io.NewSectionReader(f.file, 0, size)
}

// release ends a use; the last one frees the space.
func (f *spoolFile) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	_ = f.file.Close()               // nobody wants the bytes any more
	_ = f.spool.reserve(-f.reserved) // giving back cannot fail
	f.reserved = 0
}

// remove unlinks the file, and ends the upload's use of it.
func (f *spoolFile) remove() error {
	err := os.Remove(f.file.Name())
	f.release()
	if errors.Is(err, fs.ErrNotExist) { // the spool was closed
		return nil
	}
	return err
}
