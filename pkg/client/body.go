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

// source is the body of a request. It may be opened several times: after a challenge, after a
// redirect, or if the connection turns out to be dead. It knows how much of the last body was
// sent, and distinguishes errors of the reader from those of the connection.
type source struct {
	progress func(delta int64)

	mu   sync.Mutex
	body *body
	sent int64
	err  error
}

// open opens a body of size bytes; a negative size means to the end.
func (s *source) open(open func() (io.ReadCloser, error), size int64) (io.ReadCloser, error) {
	_ = s.discard() // of an earlier attempt; its error occurs again
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

// close ends the body of a successful request: Progress counts all of it.
func (s *source) close() {
	if b := s.current(); b != nil {
		b.settle(b.position())
		b.close()
	}
}

// discard ends the body of a failed request: Progress takes back its bytes. It returns the
// error of the reader, if there was one.
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

// taken returns how many bytes of the body were read.
func (s *source) taken() int64 {
	if b := s.current(); b != nil {
		return b.position()
	}
	return 0
}

func (s *source) current() *body {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

// body is one opened body. Over a file it has SyscallConn, so that the kernel copies the file to
// the socket (net.TCPConn.ReadFrom); then Read is not called, and the position of the file
// shows the progress.
type body struct {
	*source
	reader io.ReadCloser
	size   int64 // negative: to the end
	read   int64

	file  *os.File
	start int64 // where in the file the body begins

	// Guarded by the source's mutex. closed: later errors of Read are not the reader's; ended:
	// Progress counts no more bytes.
	closed, ended bool
	waiting       bool // for the reader
	done          chan struct{}
	once          sync.Once
}

// findFile checks whether the reader is a file with enough bytes. Other systems than Linux move
// the position of a file only after all of it was sent, which would look like a stall.
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
		return nil // a pipe, for example: use Read
	}
	if info.Size()-start < b.size {
		return fmt.Errorf("%w: %s has %d bytes, %d too few", ErrSource, file.Name(), info.Size(), b.size-(info.Size()-start))
	}
	b.file, b.start = file, start
	return nil
}

// SyscallConn gives package net access to the file. Without a file it fails: net uses Read.
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

// Close implements io.Closer. The transport may call it while it still reads, and before the
// result of the request is known.
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

// position returns how many bytes were read.
func (b *body) position() int64 {
	if b.file != nil {
		if at, err := b.file.Seek(0, io.SeekCurrent); err == nil {
			return at - b.start
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.sent // the file is closed: the last count
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// settle fixes how many bytes Progress counts.
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

// count reports progress. The caller holds the mutex.
func (b *body) count(position int64) {
	delta := position - b.sent
	b.sent = position
	if delta != 0 && b.progress != nil {
		b.progress(delta)
	}
}

// watch reports the progress of a file that the kernel sends.
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

// bytesBody returns a body in memory.
func bytesBody(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return &memoryBody{content: content}, nil }
}

// memoryBody reads bytes that the caller may overwrite after Close: the transport may still be
// reading when an answer arrives early, and the next chunk uses the same buffer.
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

// Close implements io.Closer. It waits for a running Read.
func (m *memoryBody) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
