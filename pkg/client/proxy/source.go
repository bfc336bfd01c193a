package proxy

import (
	"errors"
	"io"
	"sync"

	"github.com/pierless/pierless/pkg/oci/upload"
)

// replayable is how much of the beginning of a body is kept in memory, in bytes. A transfer
// to the store that fails before more was read can start again.
const replayable = 1 << 20

var errReplaced = errors.New("this reader was replaced")

// source is a request body that can be read only once, hashed on the way. It is handed out
// as readers, one after the other: bytes that HTTP's transport still reads for a failed
// request are not lost.
type source struct {
	finish upload.Finish

	mu     sync.Mutex
	hashes upload.Hashes
	body   *upload.Body
	head   []byte // the beginning, as long as it is complete
	reader *sourceReader
}

func newSource(f upload.Finish) *source {
	hashes := upload.NewHashes(f.Digest.Algorithm())
	return &source{finish: f, hashes: hashes, body: upload.NewBody(f.Chunk.Body, hashes)}
}

// fromStart returns a reader of the whole body, unless too much of it has been read.
// Earlier readers return an error from now on.
func (s *source) fromStart() (r io.Reader, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body.Len() > replayable {
		return nil, false
	}
	s.reader = &sourceReader{s: s}
	return s.reader, true
}

// complete reports whether the announced length was read.
func (s *source) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body.Len() == s.finish.Chunk.Length
}

// check reads the rest of the body and returns the error that the client made:
// BLOB_UPLOAD_INVALID if the body broke off, SIZE_INVALID, DIGEST_INVALID, or nil.
func (s *source) check() error {
	s.mu.Lock()
	rest := &sourceReader{s: s, at: s.body.Len()}
	s.reader = rest
	s.mu.Unlock()
	drain(rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.body.Ended() {
		return nil // longer than drain reads
	}
	if err := s.body.Check(s.finish.Chunk.Length); err != nil {
		return err
	}
	_, err := s.finish.Check(s.hashes, s.body.Len())
	return err
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
		return 0, errReplaced
	}
	if r.at < s.body.Len() {
		n := copy(p, s.head[r.at:])
		r.at += int64(n)
		return n, nil
	}
	n, err := s.body.Read(p)
	r.at = s.body.Len()
	if r.at <= replayable {
		s.head = append(s.head, p[:n]...)
	} else {
		s.head = nil
	}
	return n, err
}
