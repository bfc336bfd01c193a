package proxy

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// pieceSize is the size of the buffer for a request body, in bytes.
const pieceSize = 256 << 10

// session is an upload that a client has opened in the registry through the proxy. Its bytes
// stay in the spool until the client completes it. As in the registry, the repository and
// the id together are the permission to use it.
type session struct {
	name, id string
	uuid     string   // the registry's Docker-Upload-Uuid, may be empty
	location string   // the registry's Location, without its host
	at       *url.URL // location, parsed
	spool    *spool

	mu        sync.Mutex
	size      int64 // bytes of finished requests
	hashes    upload.Hashes
	file      *spoolFile // nil until the first byte
	claim     *claim     // of the request that may change the session; nil if there is none
	completed oci.Digest // of the blob, once the registry has it
	cancelled bool
	used      time.Time
}

// claim is the exclusive permission of one request to change a session. A later request
// takes it over, so that a hanging one does not block the upload.
type claim struct {
	s         *session
	cancel    context.CancelFunc
	completes oci.Digest    // the digest with which the request completes the upload, or empty
	ended     chan struct{} // closed at the end of the request
	size      int64         // bytes, those of this request included
	hashes    upload.Hashes
}

// newClaim gives the session to a request whose body begins at an offset; a negative one is
// not compared. The context ends when a later request takes the session over. Errors:
// BLOB_UPLOAD_UNKNOWN, *upload.OffsetError. The caller must end the claim.
func (s *session) newClaim(ctx context.Context, offset int64, completes oci.Digest) (*claim, context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open() {
		return nil, nil, upload.ErrUnknown()
	}
	if offset >= 0 && offset != s.size {
		return nil, nil, &upload.OffsetError{Offset: s.size}
	}
	hashes, err := s.hashes.Clone()
	if err != nil {
		return nil, nil, err
	}
	if s.claim != nil {
		s.claim.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	s.claim = &claim{s: s, cancel: cancel, completes: completes, ended: make(chan struct{}), size: s.size, hashes: hashes}
	s.used = time.Now()
	return s.claim, ctx, nil
}

// open reports whether the session can be used. The caller holds the lock.
func (s *session) open() bool { return !s.cancelled && s.completed == "" }

// waitForTwin waits for the end of a request that is completing the session with the same
// digest, so that a client's second try does not send the blob again.
func (s *session) waitForTwin(ctx context.Context, d oci.Digest) error {
	s.mu.Lock()
	twin := s.claim
	s.mu.Unlock()
	if twin == nil || twin.completes != d {
		return nil
	}
	select {
	case <-twin.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// status returns the number of bytes of finished requests. The error is BLOB_UPLOAD_UNKNOWN.
func (s *session) status() (size int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open() {
		return 0, upload.ErrUnknown()
	}
	s.used = time.Now()
	return s.size, nil
}

// blob returns the digest of the blob that the session has become; empty if it has not.
func (s *session) blob() oci.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.completed
}

// untouched reports whether the session is open and the proxy has nothing of it: then the
// registry can serve it alone.
func (s *session) untouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size == 0 && s.open() && s.claim == nil
}

// read spools the body of a request behind the bytes of the session. Errors:
// BLOB_UPLOAD_INVALID, BLOB_UPLOAD_UNKNOWN, SIZE_INVALID, errSpoolFull.
func (c *claim) read(chunk upload.Chunk) error {
	if err := c.s.spool.fits(max(chunk.Length, 0)); err != nil {
		return err
	}
	body := upload.NewBody(chunk.Body, c.hashes)
	if _, err := io.CopyBuffer(c, body, make([]byte, pieceSize)); err != nil && body.Broken() == nil {
		return err
	}
	return body.Check(chunk.Length)
}

// Write implements io.Writer: it spools p, unless the claim is lost.
func (c *claim) Write(p []byte) (int, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := c.lost(); err != nil {
		return 0, err
	}
	if c.s.file == nil {
		file, err := c.s.spool.create()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errSpoolFull, err)
		}
		c.s.file = file
	}
	n, err := c.s.file.WriteAt(p, c.size)
	c.size += int64(n)
	c.s.used = time.Now()
	return n, err
}

// lost returns the reason why the claim is over, or nil. The caller holds the lock.
func (c *claim) lost() error {
	switch {
	case !c.s.open(): // a request that was taken over may still have completed the upload
		return upload.ErrUnknown()
	case c.s.claim != c:
		return upload.ErrTakenOver()
	}
	return nil
}

// keep adds the bytes of this request to the session.
func (c *claim) keep() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := c.lost(); err != nil {
		return err
	}
	c.s.size, c.s.hashes = c.size, c.hashes
	if c.s.file == nil {
		return nil
	}
	return c.s.file.truncate(c.size) // a request that was taken over may have written more
}

// content returns the spooled bytes if they have the announced size and digest. They are
// readable until the session ends. Errors: SIZE_INVALID, DIGEST_INVALID.
func (c *claim) content(f upload.Finish) (client.Blob, error) {
	var file io.ReaderAt = strings.NewReader("")
	c.s.mu.Lock()
	if c.s.file != nil {
		file = c.s.file.file
	}
	c.s.mu.Unlock()
	from := func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, offset, c.size-offset)), nil
	}
	if computed, err := f.Check(c.hashes, c.size); err != nil || computed {
		return client.Blob{Digest: f.Digest, Size: c.size, Open: from}, err
	}
	// The client did not announce the algorithm of its digest.
	hashes := upload.NewHashes(f.Digest.Algorithm())
	all, _ := from(0)
	if _, err := io.Copy(io.Discard, upload.NewBody(all, hashes)); err != nil {
		return client.Blob{}, fmt.Errorf("read the spool: %w", err)
	}
	_, err := f.Check(hashes, c.size)
	return client.Blob{Digest: f.Digest, Size: c.size, Open: from}, err
}

// complete ends the session: the registry has its blob now.
func (c *claim) complete() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.completed = c.completes
	c.s.drop()
}

// end gives the session back, and drops the bytes of a request that failed.
func (c *claim) end() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	defer close(c.ended)
	c.cancel()
	c.s.used = time.Now()
	if c.s.claim != c {
		return
	}
	c.s.claim = nil
	switch {
	case c.s.size == 0:
		c.s.drop()
	case c.s.file != nil:
		_ = c.s.file.truncate(c.s.size) // bytes that stay are overwritten by the next request
	}
}

// drop removes the file. The caller holds the lock.
func (s *session) drop() {
	if s.file != nil {
		_ = s.file.remove() // at the latest, the end of the process removes it
		s.file = nil
	}
}

// discard ends the session and removes its bytes. It reports whether the registry still has
// the upload open.
func (s *session) discard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled {
		return false
	}
	s.cancelled = true
	if s.claim != nil {
		s.claim.cancel()
		s.claim = nil
	}
	s.drop()
	return s.completed == ""
}

// idle reports whether no request has used the session since a moment. One that completes
// it may take longer.
func (s *session) idle(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	completing := s.claim != nil && s.claim.completes != ""
	return !completing && s.used.Before(since)
}

// sessions are the uploads of this process.
type sessions struct{ byKey sync.Map } // sessionKey to *session

type sessionKey struct{ name, id string }

// add returns the session that the new one replaces, or nil. The registry gives an id out
// again only if it has forgotten the first upload.
func (ss *sessions) add(s *session) (replaced *session) {
	old, _ := ss.byKey.Swap(sessionKey{s.name, s.id}, s)
	replaced, _ = old.(*session)
	return replaced
}

// find returns nil for an upload that was not opened through this process.
func (ss *sessions) find(name, id string) *session {
	found, _ := ss.byKey.Load(sessionKey{name, id})
	s, _ := found.(*session)
	return s
}

func (ss *sessions) remove(s *session) { ss.byKey.CompareAndDelete(sessionKey{s.name, s.id}, s) }

// expire discards the sessions that were not used since a moment; the zero time means all.
// The registry ends its own uploads itself: the proxy has no credentials to ask for it.
func (ss *sessions) expire(since time.Time) {
	ss.byKey.Range(func(_, value any) bool {
		if s, _ := value.(*session); since.IsZero() || s.idle(since) {
			ss.remove(s)
			s.discard()
		}
		return true
	})
}
