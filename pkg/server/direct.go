package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server/auth"
)

type directUploads struct{ reg *registry.Registry }

// Direct serves direct uploads except their verification (docs/direct-uploads.md). With
// Options.ServeBlobs it refuses them, because clients cannot reach the store.
func Direct(reg *registry.Registry, opts Options) *Server {
	s := directUploads{reg}
	return newServer(opts, handlers{
		route.DirectStart: {http.MethodPost: s.start},
		route.Direct:      {http.MethodGet: s.status, http.MethodPut: s.complete, http.MethodDelete: s.cancel},
		route.DirectParts: {http.MethodPost: s.sign},
	}.require(!opts.ServeBlobs, registry.ErrNoDirect))
}

// errNoDirect is ErrNoDirect for clients, which then upload by the spec.
func errNoDirect() *oci.Error {
	return oci.NewError(oci.Unsupported, "this registry takes no direct uploads: upload as usual, with POST /v2/<name>/blobs/uploads/").
		WithStatus(http.StatusNotFound)
}

// start opens an upload, or links the blob if the registry has it.
func (s directUploads) start(w http.ResponseWriter, r *http.Request, req route.Request) error {
	offer, err := readOffer(r)
	if err != nil {
		return err
	}
	u, exists, err := s.reg.StartDirect(r.Context(), req.Name, offer, mayPull(r))
	if err != nil {
		return err
	}
	if exists {
		return writeCreated(w, req.Name, offer.Digest)
	}
	return writeUpload(w, http.StatusAccepted, req.Name, u)
}

// mayPull returns the test for repositories that a blob may be linked from.
func mayPull(r *http.Request) func(repository string) bool {
	return func(repository string) bool { return auth.May(r.Context(), repository, route.Pull) }
}

// status describes an upload, with newly presigned requests.
func (s directUploads) status(w http.ResponseWriter, r *http.Request, req route.Request) error {
	u, err := s.reg.DirectStatus(r.Context(), req.Name, req.Upload)
	if err != nil {
		return err
	}
	return writeUpload(w, http.StatusOK, req.Name, u)
}

// sign returns a presigned request for each part.
func (s directUploads) sign(w http.ResponseWriter, r *http.Request, req route.Request) error {
	parts, err := readParts(r)
	if err != nil {
		return err
	}
	signed, err := s.reg.SignParts(r.Context(), req.Name, req.Upload, parts)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // the URLs are permissions, and expire
	writeJSON(w, http.StatusOK, direct.SignedParts{Parts: signed})
	return nil
}

// complete makes the uploaded bytes a blob, or starts their verification.
func (s directUploads) complete(w http.ResponseWriter, r *http.Request, req route.Request) error {
	u, done, err := s.reg.CompleteDirect(r.Context(), req.Name, req.Upload)
	return writeCompleted(w, req.Name, u, done, err)
}

func (s directUploads) cancel(w http.ResponseWriter, r *http.Request, req route.Request) error {
	if err := s.reg.CancelDirect(r.Context(), req.Name, req.Upload); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeCompleted answers with the blob, or with the upload if it is not done.
func writeCompleted(w http.ResponseWriter, name string, u direct.Upload, done bool, err error) error {
	switch {
	case err != nil:
		return err
	case done:
		return writeCreated(w, name, u.Digest)
	}
	return writeUpload(w, http.StatusAccepted, name, u)
}

// writeUpload answers with an upload. Its Location is relative, as that of every upload.
func writeUpload(w http.ResponseWriter, status int, name string, u direct.Upload) error {
	next := route.Request{Kind: route.Direct, Name: name, Upload: u.ID}
	if u.State == direct.Verifying {
		next.Kind = route.Verification
	}
	w.Header().Set("Location", next.Path())
	w.Header().Set("Cache-Control", "no-store") // the URLs are permissions, and expire
	writeJSON(w, status, u)
	return nil
}

// readOffer reads the body of an offer. The registry checks its size.
func readOffer(r *http.Request) (direct.Offer, error) {
	offer := direct.Offer{Size: -1} // if the body has no size
	if err := readJSON(r, &offer); err != nil {
		return offer, err
	}
	_, err := oci.ParseDigest(string(offer.Digest))
	return offer, err
}

// readParts reads the list of parts to be signed. The registry compares them with the upload.
func readParts(r *http.Request) ([]direct.Part, error) {
	var body direct.Parts
	if err := readJSON(r, &body); err != nil {
		return nil, err
	}
	if n := len(body.Parts); n == 0 || n > direct.MaxSigned {
		return nil, oci.NewError(oci.BlobUploadInvalid, "the request has %d parts: from 1 to %d can be signed at once", n, direct.MaxSigned)
	}
	for _, p := range body.Parts {
		if _, err := oci.ParseDigest(string(p.Digest)); err != nil {
			return nil, err
		}
		if p.Size <= 0 {
			return nil, oci.NewError(oci.SizeInvalid, "part %d needs its size in bytes", p.Number)
		}
	}
	return body.Parts, nil
}

// readJSON decodes a body of at most direct.MaxBody bytes. It ignores unknown fields. The
// error has the code of the field with the wrong type.
func readJSON(r *http.Request, into any) error {
	content, err := io.ReadAll(io.LimitReader(r.Body, direct.MaxBody+1))
	if err != nil {
		return fmt.Errorf("%w (cause: %w)", oci.NewError(oci.BlobUploadInvalid, "the request body ended early"), err)
	}
	if len(content) > direct.MaxBody {
		return oci.NewError(oci.SizeInvalid, "the body may have at most %d bytes: send fewer parts", direct.MaxBody).
			WithStatus(http.StatusRequestEntityTooLarge)
	}
	err = json.Unmarshal(content, into)
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &mistyped):
		return oci.NewError(oci.BlobUploadInvalid, "the body must be one JSON object: see docs/direct-uploads.md")
	case strings.HasSuffix(mistyped.Field, "digest"):
		return oci.NewError(oci.DigestInvalid, "%s must be a string", mistyped.Field)
	case strings.HasSuffix(mistyped.Field, "size"):
		return oci.NewError(oci.SizeInvalid, "%s must be a whole number of bytes", mistyped.Field)
	}
	return oci.NewError(oci.BlobUploadInvalid, "%q must not be a JSON %s", mistyped.Field, mistyped.Value)
}
