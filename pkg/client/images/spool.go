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

// DefaultSpool is how many bytes of layers wait on disk to be sent: 4 GiB.
const DefaultSpool = 4 << 30

// Spool is where layers wait to be sent: files of no name where the system can do that,
// so that not even a killed process leaves them. It is bounded; a layer larger than the
// bound is let in when it is alone.
type Spool struct {
	dir string
	max int64

	mu    sync.Mutex
	used  int64
	freed chan struct{} // closed when something was freed
	files map[*file]struct{}
}

// NewSpool keeps layers in dir, about limit bytes of them; 0: DefaultSpool. Others cannot
// read them.
func NewSpool(dir string, limit int64) *Spool {
	if limit <= 0 {
		limit = DefaultSpool
	}
	return &Spool{dir: dir, max: limit, freed: make(chan struct{}), files: map[*file]struct{}{}}
}

// Close deletes what is left.
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
	path    string // by which it can be opened
	unnamed bool   // whether the system deletes it by itself
	spool   *Spool
	grows   bool            // whether Write asks for room; else it was reserved
	ctx     context.Context // of the writing
	size    int64           // what it takes of the spool
	gone    sync.Once
}

func (s *Spool) create(ctx context.Context) (*file, error) {
	opened, err := os.CreateTemp(s.dir, "pierless-layer-")
	if err != nil {
		return nil, fmt.Errorf("make a file for a layer: %w", err)
	}
	f := &file{f: opened, path: opened.Name(), spool: s, ctx: ctx, grows: true}
	// Linux opens a deleted file again through the one that is open.
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

// fetch copies a blob of known size into the spool. Room for all of it is taken before:
// of several that grew side by side each could wait for the others.
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

// Write waits until there is room: others are being sent meanwhile.
func (f *file) Write(p []byte) (int, error) {
	if f.grows {
		if err := f.spool.grow(f.ctx, f.size, int64(len(p))); err != nil {
			return 0, err
		}
		f.size += int64(len(p))
	}
	n, err := f.f.Write(p)
	if err != nil {
		return n, fmt.Errorf("the layer does not fit on the disk of %s; TMPDIR may name another: %w", f.spool.dir, err)
	}
	return n, nil
}

// grow takes room for n more bytes, for a file that has own bytes already.
func (s *Spool) grow(ctx context.Context, own, n int64) error {
	for {
		s.mu.Lock()
		// Alone, it would wait for itself.
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
