package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// start lets the registry open an upload: it decides who may push, and answers mounts. A
// whole blob that is too large for one request is treated like the last request of an
// upload (spec, "Single POST").
func (p *Proxy) start(w http.ResponseWriter, r *http.Request, req route.Request) error {
	q := r.URL.Query()
	if !q.Has("mount") && q.Has("digest") && !isSmall(r.ContentLength) {
		return p.whole(w, r, req)
	}
	announced := oci.Algorithm(q.Get("digest-algorithm"))
	p.forward(w, r, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusAccepted {
			p.opened(req.Name, resp, announced)
		}
		return noRedirect(resp)
	})
	return nil
}

// isSmall reports whether the registry accepts a body of this length in bytes; a negative
// one is unknown.
func isSmall(length int64) bool { return length >= 0 && length <= small }

// noRedirect rejects redirects of uploads: docker and podman take them for success, and
// lose the body.
func noRedirect(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return oci.NewError(oci.Unavailable, "the registry redirects uploads, which pierless proxy does not follow")
	}
	return nil
}

// opened adds the upload that the registry has opened. It returns nil if the location has an
// unknown form or is on another host: then the client continues there without the proxy.
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
	if announced != oci.SHA512 {
		announced = oci.SHA256 // the registry has checked the parameter
	}
	s := &session{
		name: name, id: req.Upload, uuid: resp.Header.Get("Docker-Upload-Uuid"), location: location, at: u,
		spool: p.spool, hashes: upload.NewHashes(announced), used: time.Now(),
	}
	if replaced := p.sessions.add(s); replaced != nil {
		replaced.discard() // no request finds it any more
	}
	return s
}

// whole handles a blob that comes in the request that opens its upload.
func (p *Proxy) whole(w http.ResponseWriter, r *http.Request, req route.Request) error {
	f, err := upload.ParseFinish(r)
	if err != nil {
		return err
	}
	s := p.open(w, r, req, f.Digest.Algorithm())
	if s == nil {
		return nil // the registry has answered
	}
	defer func() {
		p.sessions.remove(s) // the client does not know it
		if s.discard() {
			p.cancelUpload(r, s)
		}
	}()
	return p.complete(w, r, s, f)
}

// errAnswered drops the answer of the registry: the proxy writes its own.
var errAnswered = errors.New("the proxy answers itself")

// open opens an upload in the registry with the headers of a request, but without its body.
// It returns nil if the registry refused: then the client has its answer.
func (p *Proxy) open(w http.ResponseWriter, r *http.Request, req route.Request, announced oci.Algorithm) (s *session) {
	bare := r.Clone(r.Context()) // with a length of 0 the body stays here; a refusal reads it to its end
	bare.ContentLength, bare.TransferEncoding = 0, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Range", "Expect"} {
		bare.Header.Del(name)
	}
	q := bare.URL.Query()
	q.Del("digest")
	bare.URL.RawQuery = q.Encode()
	p.forward(w, bare, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusAccepted {
			return noRedirect(resp)
		}
		if s = p.opened(req.Name, resp, announced); s == nil {
			return oci.NewError(oci.Unavailable, "the registry opens uploads at an address that pierless proxy cannot use")
		}
		return errAnswered
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
		if s.blob() != "" {
			return upload.ErrUnknown()
		}
		p.sessions.remove(s)
		s.discard()
	}
	p.forward(w, r, noRedirect)
	return nil
}

// setProgress sets the headers from which a client continues an upload of size bytes.
func (s *session) setProgress(w http.ResponseWriter, size int64) {
	w.Header().Set("Location", s.location)
	w.Header().Set("Range", upload.Range(size))
	if s.uuid != "" {
		w.Header().Set("Docker-Upload-Uuid", s.uuid)
	}
}

// resumable adds the headers from which a client resumes to a refusal for a wrong offset.
func (s *session) resumable(w http.ResponseWriter, err error) error {
	var offset *upload.OffsetError
	if errors.As(err, &offset) {
		s.setProgress(w, offset.Offset)
	}
	return err
}

// status answers with the progress of an upload (spec, end-13).
func (p *Proxy) status(w http.ResponseWriter, s *session) error {
	size, err := s.status()
	if err != nil {
		return err
	}
	s.setProgress(w, size)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patch spools a chunk, or a stream of any length (spec, end-5).
func (p *Proxy) patch(w http.ResponseWriter, r *http.Request, s *session) error {
	chunk, err := upload.ParseChunk(r)
	if err != nil {
		return err
	}
	c, _, err := s.newClaim(r.Context(), chunk.Offset, "")
	if err != nil {
		return s.resumable(w, err)
	}
	defer c.end()
	if err := c.read(chunk); err != nil {
		return err
	}
	if err := c.keep(); err != nil {
		return err
	}
	s.setProgress(w, c.size)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// put completes an upload, with its last chunk, the whole blob or no body (spec, end-6).
func (p *Proxy) put(w http.ResponseWriter, r *http.Request, s *session) error {
	f, err := upload.ParseFinish(r)
	if err != nil {
		return err
	}
	if s.untouched() && f.Chunk.Offset <= 0 && isSmall(f.Chunk.Length) {
		p.forward(w, r, func(resp *http.Response) error {
			if resp.StatusCode == http.StatusCreated {
				p.sessions.remove(s) // the registry answers a repetition
				s.discard()
			}
			return noRedirect(resp)
		})
		return nil
	}
	return s.resumable(w, p.complete(w, r, s, f))
}

// complete makes the bytes of a session, and those of its last request, a blob of the
// registry. The upload that the registry has opened for it is not needed.
func (p *Proxy) complete(w http.ResponseWriter, r *http.Request, s *session, f upload.Finish) error {
	if f.Chunk.Length == 0 {
		if err := s.waitForTwin(r.Context(), f.Digest); err != nil {
			return err
		}
	}
	repo, err := p.repository(r, s.name)
	if err != nil {
		return err
	}
	if s.blob() == f.Digest { // a repetition is answered for as long as the registry has the blob
		drain(r.Body)
		if _, err := repo.BlobSize(r.Context(), f.Digest); err != nil {
			return fmt.Errorf("%w (cause: %w)", upload.ErrUnknown(), err)
		}
		created(w, s.name, f.Digest)
		return nil
	}
	c, ctx, err := s.newClaim(r.Context(), f.Chunk.Offset, f.Digest)
	if err != nil {
		return err
	}
	defer c.end()
	if err := (completion{proxy: p, r: r, repo: repo, claim: c, finish: f}).send(ctx); err != nil {
		return err
	}
	c.complete()
	p.cancelUpload(r, s)
	created(w, s.name, f.Digest)
	return nil
}

// cancelUpload ends the registry's side of a session.
func (p *Proxy) cancelUpload(r *http.Request, s *session) {
	p.later(r, s.name, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, p.upstream.ResolveReference(s.at).String(), nil)
		if err != nil {
			return errors.New("the upload's location is malformed") // it is a secret
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

// laterTimeout limits requests that end an unneeded upload. Close waits for them.
const laterTimeout = 10 * time.Second

// later runs do behind the answer to the client. It may fail: the registry expires unused
// uploads.
func (p *Proxy) later(r *http.Request, name string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), laterTimeout)
	p.behind.Go(func() {
		defer cancel()
		if err := do(ctx); err != nil {
			p.log.LogAttrs(ctx, slog.LevelDebug, "an unneeded upload stays open until it expires",
				slog.String("name", name), slog.String("error", err.Error()))
		}
	})
}

// created answers that the blob is in the repository: with exactly 201, which some clients
// insist on.
func created(w http.ResponseWriter, name string, d oci.Digest) {
	w.Header().Set("Location", route.Request{Kind: route.Blob, Name: name, Digest: d}.Path())
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}
