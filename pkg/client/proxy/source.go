package proxy

import (
	"errors"
	"io"
	"sync"
)

// replayable is how much of the beginning of a body is kept, in bytes: a transfer to the
// store that fails before more than that was read can begin again.
const replayable = 1 << 20

var errStopped = errors.New("this reader was replaced")

// source is a body that comes once, hashed while it is read. It is handed out as
// readers, one after the other: what HTTP's transport still reads for a request that
// has failed does not get lost.
type source struct {
	closing closing

	mu     sync.Mutex
	body   io.Reader
	hashes hashes
	head   []byte // the beginning, while all of it is here
	n      int64  // bytes read from body
	err    error  // why reading ended, io.EOF included
	reader *sourceReader
}

func newSource(body io.Reader, c closing) *source {
	return &source{body: body, closing: c, hashes: newHashes(c.digest.Algorithm())}
}

// fromStart returns a reader of the whole body, unless too much of it has been read.
// Earlier readers return an error from now on.
func (s *source) fromStart() (r io.Reader, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n > replayable {
		return nil, false
	}
	s.reader = &sourceReader{s: s}
	return s.reader, true
}

// ended reports whether all of the body was read.
func (s *source) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n == s.closing.last.length
}

// fault reads the body to its end and says what is wrong with it: BLOB_UPLOAD_INVALID if
// it broke off, SIZE_INVALID, DIGEST_INVALID, or nothing.
func (s *source) fault() error {
	s.mu.Lock()
	rest := &sourceReader{s: s, at: s.n}
	s.reader = rest
	s.mu.Unlock()
	drain(rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err == nil:
		return nil // longer than anybody waits for
	case !errors.Is(s.err, io.EOF):
		return errBroken(s.n, s.err)
	case s.n != s.closing.last.length:
		return errLength(s.n, s.closing.last.length)
	}
	return s.closing.check(s.hashes, s.n)
}

type sourceReader struct {
	s  *source
	at int64
}

// Read implements io.Reader.
func (r *sourceReader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != r {
		return 0, errStopped
	}
	if r.at < s.n {
		n := copy(p, s.head[r.at:])
		r.at += int64(n)
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.body.Read(p)
	s.hashes.add(p[:n])
	s.n += int64(n)
	r.at = s.n
	s.err = err
	if s.n <= replayable {
		s.head = append(s.head, p[:n]...)
	} else {
		s.head = nil
	}
	return n, err
}
