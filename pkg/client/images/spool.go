package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
)

// DefaultSpool is the usual limit of a Spool, in bytes: 4 GiB.
const DefaultSpool = 4 << 30

// Spool keeps layers on disk until they are sent: in unnamed files if the system supports that,
// so that not even a killed process leaves them. It is limited; a layer larger than the limit
// is accepted when it is alone.
type Spool struct {
	dir string
	max int64

	mu    sync.Mutex
	used  int64
	freed chan struct{} // closed when space was freed
	files map[*file]struct{}
}

// NewSpool returns a spool of about limit bytes in dir. Only the owner can read its files.
func NewSpool(dir string, limit int64) *Spool {
	return &Spool{dir: dir, max: limit, freed: make(chan struct{}), files: map[*file]struct{}{}}
}

// Close deletes all files.
func (s *Spool) Close() error {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.files))
	s.mu.Unlock()
	var errs []error
	for _, f := range left {
		errs = append(errs, f.remove())
	}
	return errors.Join(errs...)
}

// file is a file in the spool. One goroutine writes it; then it is read.
type file struct {
	f       *os.File
	path    string // to open it again
	unnamed bool   // the system deletes it when it is closed
	spool   *Spool
	grows   bool            // Write reserves space; else it was reserved before
	ctx     context.Context // of the writing
	size    int64           // of the reserved space
	gone    sync.Once
}

func (s *Spool) create(ctx context.Context) (*file, error) {
	opened, err := os.CreateTemp(s.dir, "pierless-layer-")
	if err != nil {
		return nil, fmt.Errorf("create a file for a layer: %w", err)
	}
	f := &file{f: opened, path: opened.Name(), spool: s, ctx: ctx, grows: true}
	// Linux can open a deleted file through the descriptor of an open one.
	if again := fmt.Sprintf("/proc/self/fd/%d", opened.Fd()); exists(again) {
		if err := os.Remove(f.path); err != nil {
			return nil, errors.Join(err, opened.Close())
		}
		f.path, f.unnamed = again, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f] = struct{}{}
	return f, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fetch copies a blob of known size into the spool. It reserves space for all of it first:
// several growing files could wait for each other.
func (s *Spool) fetch(ctx context.Context, b Blob, progress func(delta int64)) (Blob, error) {
	if err := s.grow(ctx, 0, b.Size); err != nil {
		return Blob{}, err
	}
	f, err := s.create(ctx)
	if err != nil {
		s.free(b.Size)
		return Blob{}, err
	}
	f.grows, f.size = false, b.Size
	if err := checked(ctx, f, b, progress); err != nil {
		return Blob{}, errors.Join(err, f.remove())
	}
	return f.blob(b.Descriptor), nil
}

// Write waits for space, which is freed when other layers are sent.
func (f *file) Write(p []byte) (int, error) {
	if f.grows {
		if err := f.spool.grow(f.ctx, f.size, int64(len(p))); err != nil {
			return 0, err
		}
		f.size += int64(len(p))
	}
	n, err := f.f.Write(p)
	if err != nil {
		return n, fmt.Errorf("the layer does not fit into %s, set TMPDIR to use another directory: %w", f.spool.dir, err)
	}
	return n, nil
}

// grow reserves n more bytes for a file that has reserved own bytes.
func (s *Spool) grow(ctx context.Context, own, n int64) error {
	for {
		s.mu.Lock()
		// The only file must not wait for itself.
		if s.used == own || s.used+n <= s.max {
			s.used += n
			s.mu.Unlock()
			return nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-freed:
		}
	}
}

func (s *Spool) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	close(s.freed)
	s.freed = make(chan struct{})
}

// remove deletes the file.
func (f *file) remove() (err error) {
	f.gone.Do(func() {
		err = f.f.Close()
		if !f.unnamed {
			err = errors.Join(err, os.Remove(f.path))
		}
		f.spool.mu.Lock()
		delete(f.spool.files, f)
		f.spool.mu.Unlock()
		f.spool.free(f.size)
	})
	return err
}
