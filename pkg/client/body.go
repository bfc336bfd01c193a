package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// source is the body of a request, which may be opened several times: after a challenge,
// a redirect, or on a connection that turns out to be dead. It knows how much of the last
// one was sent, and tells a source that fails from a connection that does.
type source struct {
	progress func(delta int64)

	mu   sync.Mutex
	body *body
	sent int64
	err  error
}

// open returns size bytes of what open opens, or all where size is negative.
func (s *source) open(open func() (io.ReadCloser, error), size int64) (io.ReadCloser, error) {
	_ = s.discard() // of an earlier try; its error is met again
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	b := &body{source: s, reader: r, size: size, done: make(chan struct{})}
	if err := b.findFile(); err != nil {
		r.Close()
		return nil, err
	}
	s.mu.Lock()
	s.body, s.sent, s.err = b, 0, nil
	s.mu.Unlock()
	if b.file != nil && s.progress != nil {
		go b.watch()
	}
	return b, nil
}

// close ends a body whose request was answered with success: all of it counts.
func (s *source) close() {
	if b := s.current(); b != nil {
		b.settle(b.position())
		b.close()
	}
}

// discard ends a body whose request failed: nothing of it counts. The error is that of
// the source, if it is the one to blame.
func (s *source) discard() error {
	b := s.current()
	if b == nil {
		return nil
	}
	b.settle(0)
	b.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// taken is how much of the body was on its way so far.
func (s *source) taken() int64 {
	if b := s.current(); b != nil {
		return b.position()
	}
	return 0
}

func (s *source) current() *body {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

// body is one reading of a source. Over a file it has SyscallConn, so that the kernel
// copies the file to the socket (net.TCPConn.ReadFrom); then nobody calls Read, and the
// file's own position says how far it is.
type body struct {
	*source
	reader io.ReadCloser
	size   int64 // negative: to the end
	read   int64

	file  *os.File
	start int64 // where in the file the body begins

	// Guarded by the source's mutex. closed: what Read says now is not the source's fault;
	// ended: nothing counts any more.
	closed, ended bool
	waiting       bool // for the reader
	done          chan struct{}
	once          sync.Once
}

// findFile looks whether the reader is a file, and long enough. Other systems than Linux
// move a file's position only once all of it was sent: nobody would see it getting on.
func (b *body) findFile() error {
	file, ok := b.reader.(*os.File)
	if !ok || b.size < 0 || runtime.GOOS != "linux" {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil || !info.Mode().IsRegular() {
		return nil // a pipe, for example: read as any other source
	}
	if info.Size()-start < b.size {
		return fmt.Errorf("%w: %s has %d bytes, %d are missing", ErrSource, file.Name(), info.Size(), b.size-(info.Size()-start))
	}
	b.file, b.start = file, start
	return nil
}

// SyscallConn gives net access to the file. Over anything else it fails, and Read is used.
func (b *body) SyscallConn() (syscall.RawConn, error) {
	if b.file == nil {
		return nil, errors.ErrUnsupported
	}
	return b.file.SyscallConn()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if left := b.size - b.position(); b.size >= 0 && int64(len(p)) > left {
		p = p[:max(left, 0)]
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	b.mu.Lock()
	b.waiting = true
	b.mu.Unlock()
	n, err := b.reader.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = false
	b.read += int64(n)
	if b.closed || b.ended {
		return n, err
	}
	if b.file == nil {
		b.count(b.read)
	}
	switch {
	case errors.Is(err, io.EOF) && b.size >= 0 && b.file == nil && b.read < b.size:
		err = fmt.Errorf("%w: it ends after %d of %d bytes", ErrSource, b.read, b.size)
		b.err = err
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %w", ErrSource, err)
		b.err = err
	}
	return n, err
}

// state implements transfer.
func (b *body) state() (taken int64, waiting, all bool) {
	taken = b.position()
	b.mu.Lock()
	defer b.mu.Unlock()
	return taken, b.waiting, b.closed || b.size >= 0 && taken >= b.size
}

// Close implements io.Closer. The transport may call it while it still reads, and before
// anybody knows how the request ended.
func (b *body) Close() error {
	at := b.position()
	b.mu.Lock()
	if !b.ended {
		b.count(at)
	}
	b.closed = true
	b.mu.Unlock()
	b.close()
	return nil
}

// position is how many bytes were taken.
func (b *body) position() int64 {
	if b.file != nil {
		if at, err := b.file.Seek(0, io.SeekCurrent); err == nil {
			return at - b.start
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.sent // the file is closed: what was counted then
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// settle says how much of the reading counts in the end.
func (b *body) settle(position int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.count(position)
	}
	b.ended = true
}

func (b *body) close() {
	b.once.Do(func() {
		close(b.done)
		b.reader.Close()
	})
}

// count tells the progress. The mutex is held.
func (b *body) count(position int64) {
	delta := position - b.sent
	b.sent = position
	if delta != 0 && b.progress != nil {
		b.progress(delta)
	}
}

// watch tells the progress of a file that nobody reads.
func (b *body) watch() {
	const often = 200 * time.Millisecond
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-ticker.C:
			at := b.position()
			b.mu.Lock()
			if !b.closed && !b.ended {
				b.count(at)
			}
			b.mu.Unlock()
		}
	}
}

// bytesBody is the body of a request that is in memory.
func bytesBody(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return &memoryBody{content: content}, nil }
}

// memoryBody reads bytes that belong to the caller again once it is closed: the transport
// may still be reading when an answer comes early, and the next chunk goes into the same
// buffer.
type memoryBody struct {
	mu      sync.Mutex
	content []byte
	closed  bool
}

// Read implements io.Reader.
func (m *memoryBody) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return 0, os.ErrClosed
	case len(m.content) == 0:
		return 0, io.EOF
	}
	n := copy(p, m.content)
	m.content = m.content[n:]
	return n, nil
}

// Close implements io.Closer. No Read is under way when it returns.
func (m *memoryBody) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
