package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// closing is how a client closes an upload.
type closing struct {
	digest oci.Digest
	size   int64 // of the blob, in bytes; below 0 the client does not say
	last   chunk
}

// check compares the content with what the client says. Errors: SIZE_INVALID,
// DIGEST_INVALID.
func (c closing) check(hs hashes, size int64) error {
	if c.size >= 0 && c.size != size {
		return oci.NewError(oci.SizeInvalid, "the blob has %d bytes, %d were announced", size, c.size)
	}
	if got := c.digest.Algorithm().Digest(hs[c.digest.Algorithm()]); got != c.digest {
		return oci.NewError(oci.DigestInvalid, "the content has the digest %s, not %s", got, c.digest)
	}
	return nil
}

// content returns what was spooled, until release is called, if it is what the client
// says. Errors: those of check.
func (t *turn) content(c closing) (content *io.SectionReader, release func(), err error) {
	content, release = io.NewSectionReader(nothing{}, 0, 0), func() {}
	if file := t.spooled(); file != nil {
		content, release = file.use(t.size), file.release
	}
	if a := c.digest.Algorithm(); t.hashes[a] == nil { // it comes as a surprise
		t.hashes[a] = a.New()
		if _, err := io.Copy(t.hashes[a], io.NewSectionReader(content, 0, t.size)); err != nil {
			release()
			return nil, nil, fmt.Errorf("read the spool: %w", err)
		}
	}
	if err := c.check(t.hashes, t.size); err != nil {
		release()
		return nil, nil, err
	}
	return content, release, nil
}

// nothing is the content of an upload to which no byte came.
type nothing struct{}

// ReadAt implements io.ReaderAt.
func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// sendSpooled makes what was spooled a blob of the registry: straight to its store, whole
// or in parts, or in chunks.
func (p *Proxy) sendSpooled(t *turn, repo *client.Repository, c closing, content io.ReaderAt) error {
	size := t.size
	_, err := repo.PushBlob(t.ctx, client.Blob{Digest: c.digest, Size: size, Open: func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(content, offset, size-offset)), nil
	}})
	return err
}

// stream sends the body of a request to the store while it comes. The error is
// client.ErrNotOffered where the registry sends nobody there, or wants parts.
func (p *Proxy) stream(t *turn, r *http.Request, repo *client.Repository, src *source) error {
	err := p.streamDirect(t.ctx, r, repo, src)
	if err == nil || errors.Is(err, client.ErrNotOffered) {
		return err
	}
	if fault := src.fault(); fault != nil {
		return fmt.Errorf("%w (cause: %w)", fault, err)
	}
	return err
}

// streamTries is how often a transfer to the store is begun, if it fails before more of
// the body was read than can be read again.
const streamTries = 4

// firstWait is how long to wait before the second try; then twice as long each time.
const firstWait = 500 * time.Millisecond

// streamDirect makes the body the content of a direct upload.
func (p *Proxy) streamDirect(ctx context.Context, r *http.Request, repo *client.Repository, src *source) error {
	var failed error
	for try := range streamTries {
		if try > 0 {
			if err := p.sleep(ctx, firstWait<<(try-1)); err != nil {
				return errors.Join(err, failed)
			}
		}
		u, exists, err := repo.StartDirect(ctx, direct.Offer{Digest: src.closing.digest, Size: src.closing.last.length})
		if err != nil {
			return err
		}
		if exists {
			return src.fault()
		}
		if u.Put == nil {
			p.cancelDirect(r, repo, u.ID)
			return fmt.Errorf("%w in one piece", client.ErrNotOffered)
		}
		body, ok := src.fromStart()
		if !ok {
			p.cancelDirect(r, repo, u.ID)
			return errors.Join(failed, errNotTwice)
		}
		if failed = repo.SendDirect(ctx, *u.Put, body); failed == nil {
			return p.complete(ctx, r, repo, src, u.ID)
		}
		if mayBeThere(failed, src) {
			if err := p.complete(ctx, r, repo, src, u.ID); err != nil {
				return fmt.Errorf("%w; and then: %s", failed, err.Error()) // which may be tried again
			}
			return nil
		}
		p.cancelDirect(r, repo, u.ID)
		var refused *client.TargetError
		final := errors.Is(failed, client.ErrContent) || errors.Is(failed, client.ErrSource) || errors.As(failed, &refused)
		if ctx.Err() != nil || final {
			return failed
		}
	}
	return failed
}

var errNotTwice = errors.New("the body cannot be read a second time")

// mayBeThere reports whether the store may have the content although it did not say so: it
// has it already, or took all of it and the answer was lost. The completion knows.
func mayBeThere(err error, src *source) bool {
	var answer *client.StoreError
	if errors.As(err, &answer) {
		return answer.Status == http.StatusPreconditionFailed
	}
	return src.ended()
}

// complete closes a direct upload whose bytes are all in the store.
func (p *Proxy) complete(ctx context.Context, r *http.Request, repo *client.Repository, src *source, id string) error {
	err := src.fault()
	if err == nil {
		err = repo.FinishDirect(ctx, id)
	}
	if err != nil {
		p.cancelDirect(r, repo, id)
	}
	return err
}

func (p *Proxy) cancelDirect(r *http.Request, repo *client.Repository, id string) {
	p.later(r, repo.Name(), func(ctx context.Context) error { return repo.CancelDirect(ctx, id) })
}

// laterTimeout is how long the registry has to end an upload that was not needed. Close
// waits for that.
const laterTimeout = 10 * time.Second

// later does what the client need not wait for, and what may fail: the registry ends
// uploads that nobody goes on with by itself.
func (p *Proxy) later(r *http.Request, name string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), laterTimeout)
	p.behind.Go(func() {
		defer cancel()
		if err := do(ctx); err != nil {
			p.log.LogAttrs(ctx, slog.LevelDebug, "an upload that was not needed stays open", slog.String("name", name), slog.String("error", err.Error()))
		}
	})
}
