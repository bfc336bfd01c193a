package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// pieceSize is how much of a body is read at once, in bytes.
const pieceSize = 256 << 10

// session is an upload that a client has opened in the registry, and whose bytes wait
// here. Whoever knows its repository and id may use it, as in the registry.
type session struct {
	name, id string
	uuid     string   // what the registry calls it besides; may be empty
	location string   // at which clients go on: the registry's own, without its host
	at       *url.URL // the same
	spool    *spool

	mu     sync.Mutex
	size   int64 // bytes that count
	hashes hashes
	file   *spoolFile // nil until a byte comes
	turn   *turn      // the request that may change the session; nil if there is none
	digest oci.Digest // set once the blob is in the registry
	gone   bool
	used   time.Time
}

// hashes is the running content hash of a session. sha256 always runs; sha512 only when
// it was announced, for it doubles the work.
type hashes map[oci.Algorithm]hash.Hash

func newHashes(announced oci.Algorithm) hashes {
	hs := hashes{oci.SHA256: oci.SHA256.New()}
	if announced == oci.SHA512 {
		hs[oci.SHA512] = oci.SHA512.New()
	}
	return hs
}

func (hs hashes) add(p []byte) {
	for _, h := range hs {
		h.Write(p)
	}
}

// clone returns hashes that go on from the same state.
func (hs hashes) clone() (hashes, error) {
	copied := hashes{}
	for a, h := range hs {
		c, ok := h.(hash.Cloner)
		if !ok {
			return nil, fmt.Errorf("the state of %s cannot be copied", a)
		}
		same, err := c.Clone()
		if err != nil {
			return nil, fmt.Errorf("copy the state of %s: %w", a, err)
		}
		copied[a] = same
	}
	return copied, nil
}

// rangeError says that a chunk does not begin where the session stands.
type rangeError struct{ size int64 }

// Error names the offset.
func (e *rangeError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the *oci.Error for the client.
func (e *rangeError) Unwrap() error {
	return oci.NewError(oci.RangeInvalid, "the next chunk must begin at byte %d", e.size)
}

func errUnknown() error {
	return oci.NewError(oci.BlobUploadUnknown, "this upload has ended or was cancelled: start a new one")
}

func errTakenOver() *oci.Error {
	return oci.NewError(oci.BlobUploadInvalid, "another request on this upload came later and took it over: ask for its status")
}

// errBroken is a body that ended with an error after n bytes; the cause is for the log,
// unless it is a client that stands still.
func errBroken(n int64, cause error) error {
	var known *oci.Error
	if errors.As(cause, &known) {
		return cause
	}
	return fmt.Errorf("%w (cause: %w)",
		oci.NewError(oci.BlobUploadInvalid, "the body broke off after %d bytes; none of them counts", n), cause)
}

func errLength(got, want int64) error {
	return oci.NewError(oci.SizeInvalid, "the body has %d bytes, %d were announced", got, want)
}

// turn is the right of one request to change a session. The next request that comes
// takes it: one that hangs blocks nobody.
type turn struct {
	s       *session
	ctx     context.Context // ends when the turn is taken
	cancel  context.CancelFunc
	closes  oci.Digest    // the digest with which the request closes the upload, or empty
	ended   chan struct{} // closed at the end of the request
	size    int64         // bytes, with those of this request
	hashes  hashes
	changed bool
}

// take gives the turn to a request whose body begins at an offset; below 0 it does not
// say. The error is BLOB_UPLOAD_UNKNOWN or a *rangeError. The turn must be ended.
func (s *session) take(ctx context.Context, offset int64, closes oci.Digest) (*turn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.digest != "" {
		return nil, errUnknown()
	}
	if offset >= 0 && offset != s.size {
		return nil, &rangeError{s.size}
	}
	hs, err := s.hashes.clone()
	if err != nil {
		return nil, err
	}
	if s.turn != nil {
		s.turn.cancel()
	}
	t := &turn{s: s, closes: closes, ended: make(chan struct{}), size: s.size, hashes: hs}
	t.ctx, t.cancel = context.WithCancel(ctx)
	s.turn, s.used = t, time.Now()
	return t, nil
}

// closing returns the end of a request that is closing the session with this digest, or
// nil: the same request need not do it twice.
func (s *session) closing(d oci.Digest) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil && s.turn.closes == d && s.turn.ctx.Err() == nil {
		return s.turn.ended
	}
	return nil
}

// status returns the number of bytes that count. The error is BLOB_UPLOAD_UNKNOWN.
func (s *session) status() (size int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.digest != "" {
		return 0, errUnknown()
	}
	s.used = time.Now()
	return s.size, nil
}

// closed returns the digest of the blob that the session has become, or nothing.
func (s *session) closed() oci.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.digest
}

// untouched reports whether the session is open and nothing of it is here: then it is
// the registry's alone.
func (s *session) untouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size == 0 && s.digest == "" && !s.gone && s.turn == nil
}

// read takes a body to its end, behind the bytes that the session has. Errors: those of
// errBroken, errLength, errTakenOver, and errSpoolFull.
func (t *turn) read(body io.Reader, length int64) error {
	before, buf := t.size, make([]byte, pieceSize)
	for {
		n, err := body.Read(buf)
		if werr := t.write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errBroken(t.size-before, err)
		}
	}
	if got := t.size - before; length >= 0 && got != length {
		return errLength(got, length)
	}
	return nil
}

func (t *turn) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.lost(); err != nil {
		return err
	}
	if t.s.file == nil {
		file, err := t.s.spool.create()
		if err != nil {
			return fmt.Errorf("%w: %w", errSpoolFull, err)
		}
		t.s.file = file
	}
	t.changed = true
	if _, err := t.s.file.WriteAt(p, t.size); err != nil {
		return err
	}
	t.hashes.add(p)
	t.size += int64(len(p))
	t.s.used = time.Now()
	return nil
}

// lost says why the turn is over. The caller holds the session's lock.
func (t *turn) lost() error {
	switch {
	case t.s.gone, t.s.digest != "": // the turn before may have come to its end yet
		return errUnknown()
	case t.s.turn != t:
		return errTakenOver()
	}
	return nil
}

// keep makes the bytes of this turn count.
func (t *turn) keep() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.lost(); err != nil {
		return err
	}
	t.s.size, t.s.hashes = t.size, t.hashes
	if t.s.file == nil {
		return nil
	}
	return t.s.file.truncate(t.size) // a turn that was taken over may have written more
}

// close ends the session, whose blob is in the registry now.
func (t *turn) close(d oci.Digest) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.digest = d
	t.s.drop()
}

// spooled returns the file, nil if no byte came.
func (t *turn) spooled() *spoolFile {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.s.file
}

// end gives the turn back. What was read and not kept is dropped.
func (t *turn) end() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	defer close(t.ended)
	t.cancel()
	t.s.used = time.Now()
	if t.s.turn != t {
		return
	}
	t.s.turn = nil
	switch {
	case t.s.file == nil || !t.changed:
	case t.s.size == 0:
		t.s.drop()
	default:
		_ = t.s.file.truncate(t.s.size) // what stays behind is overwritten
	}
}

// drop removes the file. The caller holds the lock.
func (s *session) drop() {
	if s.file != nil {
		_ = s.file.remove() // at the latest with the spool
		s.file = nil
	}
}

// discard ends the session: nothing of it is left. It reports whether there was
// something to end.
func (s *session) discard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	s.gone = true
	if s.turn != nil {
		s.turn.cancel()
		s.turn = nil
	}
	s.drop()
	return s.digest == ""
}

// idle reports whether nobody has used the session since a moment.
func (s *session) idle(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	working := s.turn != nil && s.turn.closes != "" // in the registry, which takes its time
	return !working && s.used.Before(since)
}
