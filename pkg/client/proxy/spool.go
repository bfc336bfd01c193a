package proxy

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// The spool leaves free space on its disk for others: leaveFree bytes, or the disk's size
// divided by leavePart, whichever is smaller.
const (
	leaveFree = 1 << 30
	leavePart = 20
)

// errSpoolFull is returned if the spool accepts no more bytes.
var errSpoolFull = errors.New("the spool is full")

// spool keeps bytes in files without a name until their digest is known. The system deletes
// such files when their process ends, however it ends.
type spool struct {
	dir   string
	limit int64 // bytes

	mu   sync.Mutex
	used int64 // bytes
}

// openSpool checks that files can be created in dir, which it creates if necessary.
func openSpool(dir string, limit int64) (*spool, error) {
	s := &spool{dir: dir, limit: limit}
	f, err := s.create()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, f.remove()
}

// create returns an empty file. It creates the directory too: cleaners of the system's
// temporary directory remove directories that were not used for some days.
func (s *spool) create() (*spoolFile, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.dir, "pierless-proxy-") // 0600
	if err != nil {
		return nil, err
	}
	named := os.Remove(f.Name()) != nil // Windows cannot remove the name of an open file
	return &spoolFile{spool: s, file: f, named: named}, nil
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
	named    bool
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
	err := f.file.Close()
	if f.named {
		err = errors.Join(err, os.Remove(f.file.Name()))
	}
	_ = f.spool.reserve(-f.reserved) // giving back cannot fail
	f.reserved = 0
	return err
}
