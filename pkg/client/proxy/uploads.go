package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// start asks the registry to open an upload, which is where it says who may push, and
// where mounts are answered. A whole blob that is too large for one request is taken as
// if it had come to the upload (spec, "Single POST").
func (p *Proxy) start(w http.ResponseWriter, r *http.Request, req route.Request) error {
	q := r.URL.Query()
	announced := oci.Algorithm(q.Get("digest-algorithm"))
	if !q.Has("mount") && q.Has("digest") && !isSmall(r.ContentLength) {
		return p.whole(w, r, req)
	}
	p.pass(w, r, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusAccepted {
			p.opened(req.Name, resp, announced)
		}
		return noRedirect(resp)
	})
	return nil
}

// isSmall reports whether the registry takes a body of this length; below 0 it is not
// known.
func isSmall(length int64) bool { return length >= 0 && length <= small }

// noRedirect refuses what docker and podman take for success, and lose the body.
func noRedirect(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return oci.NewError(oci.Unavailable, "the registry sends uploads elsewhere, where pierless proxy does not follow")
	}
	return nil
}

// opened takes up the upload that the registry has opened. Where its location is of
// another form, or on another host, the client goes on without us.
func (p *Proxy) opened(name string, resp *http.Response, announced oci.Algorithm) *session {
	location := resp.Header.Get("Location")
	u, err := url.Parse(location)
	if err != nil || u.Host != "" {
		return nil
	}
	req, err := route.ParseEscaped(u.EscapedPath())
	if err != nil || req.Kind != route.Upload || req.Name != name {
		return nil
	}
	s := &session{
		name: name, id: req.Upload, uuid: resp.Header.Get("Docker-Upload-Uuid"), location: location, at: u,
		spool: p.spool, hashes: newHashes(announced), used: time.Now(),
	}
	if replaced := p.sessions.add(s); replaced != nil {
		replaced.discard() // nobody else would ever find it
	}
	return s
}

// whole takes a blob that comes with the request that opens its upload.
func (p *Proxy) whole(w http.ResponseWriter, r *http.Request, req route.Request) error {
	c, err := parseClosing(r)
	if err != nil {
		return err
	}
	s := p.open(w, r, req, c.digest.Algorithm())
	if s == nil {
		return nil // the registry has answered
	}
	defer func() {
		p.sessions.remove(s) // nobody was told of it
		if s.discard() {
			p.cancelUpload(r, s)
		}
	}()
	return p.close(w, r, s, c)
}

// errAnswered drops the answer of the registry: the client gets another one.
var errAnswered = errors.New("answered in another way")

// open opens an upload in the registry with the credentials of a request, but without
// its body. It returns nil where the registry refused: then the client has its answer.
func (p *Proxy) open(w http.ResponseWriter, r *http.Request, req route.Request, announced oci.Algorithm) (s *session) {
	bare := r.Clone(r.Context()) // a length of 0 keeps the body here, where a refusal reads it to its end
	bare.ContentLength, bare.TransferEncoding = 0, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Range", "Expect"} {
		bare.Header.Del(name)
	}
	q := bare.URL.Query()
	q.Del("digest")
	bare.URL.RawQuery = q.Encode()
	p.pass(w, bare, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusAccepted {
			if s = p.opened(req.Name, resp, announced); s != nil {
				return errAnswered
			}
			return oci.NewError(oci.Unavailable, "the registry opens uploads at an address that pierless proxy cannot use")
		}
		return noRedirect(resp)
	})
	return s
}

// upload serves a session.
func (p *Proxy) upload(w http.ResponseWriter, r *http.Request, s *session) error {
	switch r.Method {
	case http.MethodGet:
		return p.status(w, s)
	case http.MethodPatch:
		return p.patch(w, r, s)
	case http.MethodPut:
		return p.put(w, r, s)
	case http.MethodDelete:
		if s.closed() != "" {
			return errUnknown()
		}
		p.sessions.remove(s)
		s.discard()
	}
	p.pass(w, r, noRedirect)
	return nil
}

// setProgress says where clients go on, and from which byte. The range is 0-0 for an
// empty upload as well: without it some clients stop.
func setProgress(w http.ResponseWriter, s *session, size int64) {
	w.Header().Set("Location", s.location)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	if s.uuid != "" {
		w.Header().Set("Docker-Upload-Uuid", s.uuid)
	}
}

// status says where an upload stands (spec, end-13).
func (p *Proxy) status(w http.ResponseWriter, s *session) error {
	size, err := s.status()
	if err != nil {
		return err
	}
	setProgress(w, s, size)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patch spools a chunk, or a stream of any length (spec, end-5).
func (p *Proxy) patch(w http.ResponseWriter, r *http.Request, s *session) error {
	c, err := parseChunk(r)
	if err != nil {
		return err
	}
	size, err := p.append(r, s, c)
	if err != nil {
		return p.refused(w, s, err)
	}
	setProgress(w, s, size)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// refused adds to a refusal from where clients resume.
func (p *Proxy) refused(w http.ResponseWriter, s *session, err error) error {
	var behind *rangeError
	if errors.As(err, &behind) {
		setProgress(w, s, behind.size)
	}
	return err
}

func (p *Proxy) append(r *http.Request, s *session, c chunk) (size int64, err error) {
	t, err := s.take(r.Context(), c.offset, "")
	if err != nil {
		return 0, err
	}
	defer t.end()
	if err := t.readChunk(r.Body, c); err != nil {
		return 0, err
	}
	return t.size, t.keep()
}

// readChunk spools the body of a request.
func (t *turn) readChunk(body io.Reader, c chunk) error {
	if err := t.s.spool.fits(max(c.length, 0)); err != nil {
		return err
	}
	return t.read(body, c.length)
}

// put closes an upload, with the last piece of it, all of it, or nothing more (spec,
// end-6).
func (p *Proxy) put(w http.ResponseWriter, r *http.Request, s *session) error {
	c, err := parseClosing(r)
	if err != nil {
		return err
	}
	if s.untouched() && c.last.offset <= 0 && isSmall(c.last.length) {
		p.pass(w, r, func(resp *http.Response) error {
			if resp.StatusCode == http.StatusCreated {
				p.sessions.remove(s) // what may come again is the registry's to answer
				s.discard()
			}
			return noRedirect(resp)
		})
		return nil
	}
	return p.refused(w, s, p.close(w, r, s, c))
}

// close makes the bytes of a session, and those of the request, a blob of the registry.
func (p *Proxy) close(w http.ResponseWriter, r *http.Request, s *session, c closing) error {
	if c.last.length == 0 {
		if err := waitFor(r.Context(), s.closing(c.digest)); err != nil {
			return err
		}
	}
	if s.closed() == c.digest {
		return p.again(w, r, s, c.digest)
	}
	repo, err := p.repository(r, s.name)
	if err != nil {
		return err
	}
	t, err := s.take(r.Context(), c.last.offset, c.digest)
	if err != nil {
		return err
	}
	defer t.end()
	body := io.Reader(r.Body)
	if t.size == 0 && c.last.length > small && c.last.length <= direct.MaxPut && c.digest.Algorithm() == oci.SHA256 {
		src := newSource(r.Body, c)
		err := p.stream(t, r, repo, src)
		if err == nil {
			return p.closed(w, r, t, c)
		}
		again, ok := src.fromStart()
		if !errors.Is(err, client.ErrNotOffered) || !ok {
			return err
		}
		body = again
	}
	if err := t.readChunk(body, c.last); err != nil {
		return err
	}
	content, release, err := t.content(c)
	if err != nil {
		return err
	}
	defer release()
	if err := p.sendSpooled(t, repo, c, content); err != nil {
		return err
	}
	return p.closed(w, r, t, c)
}

// closed answers a session whose blob came to be without the upload that the registry
// has opened for it.
func (p *Proxy) closed(w http.ResponseWriter, r *http.Request, t *turn, c closing) error {
	t.close(c.digest)
	p.cancelUpload(r, t.s)
	created(w, t.s.name, c.digest)
	return nil
}

// cancelUpload ends the registry's side of a session that was not needed.
func (p *Proxy) cancelUpload(r *http.Request, s *session) {
	p.later(r, s.name, func(ctx context.Context) error {
		at := *s.at
		at.Scheme, at.Host = p.upstream.Scheme, p.upstream.Host
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, at.String(), nil)
		if err != nil {
			return errors.New("the upload's location is malformed")
		}
		for _, name := range []string{"Authorization", "User-Agent"} {
			req.Header[name] = r.Header[name]
		}
		resp, err := p.transport.RoundTrip(req)
		if err != nil {
			return err
		}
		drain(resp.Body)
		return resp.Body.Close()
	})
}

// waitFor waits until another request has ended, if there is one.
func waitFor(ctx context.Context, ended <-chan struct{}) error {
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again answers the request that closed a session before, for as long as the registry
// has the blob.
func (p *Proxy) again(w http.ResponseWriter, r *http.Request, s *session, d oci.Digest) error {
	drain(r.Body)
	repo, err := p.repository(r, s.name)
	if err != nil {
		return err
	}
	if _, err := repo.BlobSize(r.Context(), d); err != nil {
		return fmt.Errorf("%w (cause: %w)", errUnknown(), err)
	}
	created(w, s.name, d)
	return nil
}

// created answers a blob that is now in the repository: exactly 201, which some clients
// insist on.
func created(w http.ResponseWriter, name string, d oci.Digest) {
	w.Header().Set("Location", route.Request{Kind: route.Blob, Name: name, Digest: d}.Path())
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// parseClosing reads what a request says of the blob that it ends. Errors:
// DIGEST_INVALID, SIZE_INVALID, BLOB_UPLOAD_INVALID.
func parseClosing(r *http.Request) (closing, error) {
	f, err := upload.ParseFinish(r)
	return closing{digest: f.Digest, size: f.Size, last: chunk{offset: f.Chunk.Offset, length: f.Chunk.Length}}, err
}

// chunk is what a request says of its body.
type chunk struct {
	offset int64 // below 0: it does not say
	length int64 // below 0: not known before it ends
}

// parseChunk reads what the headers of a request say of its body.
func parseChunk(r *http.Request) (chunk, error) {
	c, err := upload.ParseChunk(r)
	return chunk{offset: c.Offset, length: c.Length}, err
}
