package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server/auth"
)

type blobs struct {
	reg  *registry.Registry
	opts Options
}

// Blobs serves blobs.
func Blobs(reg *registry.Registry, opts Options) *Server {
	s := blobs{reg, opts}
	return newServer(opts, handlers{
		route.Blob: {http.MethodGet: s.get, http.MethodHead: s.head, http.MethodDelete: s.delete},
	})
}

// head answers without a redirect unless RedirectHead is set: clients that then skip an
// upload read the size from the answer. It renews the lease of the blob for callers that
// may push, so that the blob stays until they push the manifest.
func (s blobs) head(w http.ResponseWriter, r *http.Request, req route.Request) error {
	b, err := s.reg.FindBlob(r.Context(), req.Name, req.Digest, auth.May(r.Context(), req.Name, route.Push))
	if err != nil {
		return err
	}
	if s.opts.RedirectHead {
		if url, err := s.location(r, b); err != nil || url != "" {
			return redirect(w, b, url, err)
		}
	}
	setBlob(w, b)
	w.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// redirect sends the client to a URL of the blob, unless err is set.
func redirect(w http.ResponseWriter, b registry.Blob, url string, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", string(b.Digest))
	w.Header().Set("Location", url)
	w.Header().Set("Cache-Control", "no-store") // the URL expires
	return writeEmpty(w, http.StatusTemporaryRedirect)
}

func setBlob(w http.ResponseWriter, b registry.Blob) {
	setDigest(w, b.Digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Accept-Ranges", "bytes")
}

// get redirects the client to the store, or sends the bytes if the store has no URLs (spec,
// "Pulling blobs"). It refuses an unsatisfiable range in both cases, because stores differ
// in their answers to it.
func (s blobs) get(w http.ResponseWriter, r *http.Request, req route.Request) error {
	b, err := s.reg.FindBlob(r.Context(), req.Name, req.Digest, false)
	if err != nil {
		return err
	}
	part, err := parseRange(r.Header.Get("Range"), b.Size)
	if err != nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", b.Size))
		return err
	}
	if url, err := s.location(r, b); err != nil || url != "" {
		return redirect(w, b, url, err)
	}
	setBlob(w, b)
	if notModified(w, r, b.Digest) {
		return nil
	}
	return s.send(w, r, b, part)
}

// location returns the URL that serves the request, and "" if this process does.
func (s blobs) location(r *http.Request, b registry.Blob) (string, error) {
	if s.opts.ServeBlobs {
		return "", nil
	}
	return s.reg.BlobURL(r.Context(), r.Method, b)
}

// send streams a blob or one range of it.
func (s blobs) send(w http.ResponseWriter, r *http.Request, b registry.Blob, part byteRange) error {
	content, err := s.reg.OpenBlob(r.Context(), b, part.start, part.length)
	if err != nil {
		return err
	}
	defer content.Close()
	status := http.StatusOK
	if part.partial {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.start, part.start+part.length-1, b.Size))
	}
	w.Header().Set("Content-Length", strconv.FormatInt(part.length, 10))
	w.WriteHeader(status)
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("send blob: %w", err)
	}
	return nil
}

// byteRange is the requested part of a blob, which is all of it unless partial is set.
type byteRange struct {
	start, length int64
	partial       bool
}

// parseRange parses a Range header with one range. It ignores several ranges and other
// units, as RFC 9110 (section 14.2) allows. The error is RANGE_INVALID if the range begins
// after the end of the blob or after its own end.
func parseRange(header string, size int64) (byteRange, error) {
	whole := byteRange{length: size}
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found || strings.Contains(spec, ",") {
		return whole, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	a, errA := strconv.ParseUint(first, 10, 63)
	b, errB := strconv.ParseUint(last, 10, 63)
	var start, length int64
	switch {
	case !found, first == "" && errB != nil, first != "" && errA != nil, last != "" && errB != nil:
		return whole, nil // malformed: ignored
	case first == "":
		length = min(int64(b), size)
		start = size - length
	case last == "":
		start, length = int64(a), size-int64(a)
	default:
		start, length = int64(a), min(int64(b), size-1)-int64(a)+1
	}
	if length <= 0 {
		return whole, oci.NewError(oci.RangeInvalid, "the range is not within the blob, which has %d bytes", size)
	}
	return byteRange{start, length, true}, nil
}

// delete removes the blob from this repository (spec, "Deleting Blobs").
func (s blobs) delete(w http.ResponseWriter, r *http.Request, req route.Request) error {
	if err := s.reg.DeleteBlob(r.Context(), req.Name, req.Digest); err != nil {
		return err
	}
	return writeEmpty(w, http.StatusAccepted)
}
