package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

type manifests struct{ reg *registry.Registry }

// Manifests serves manifests by tag and digest, and deletes repositories.
func Manifests(reg *registry.Registry, opts Options) *Server {
	s := manifests{reg}
	return newServer(opts, handlers{
		route.Manifest: {
			http.MethodGet: s.get, http.MethodHead: s.get, http.MethodPut: s.put, http.MethodDelete: s.delete,
		},
		route.Repository: {http.MethodDelete: s.deleteRepository},
	})
}

// get answers GET and HEAD (spec, "Pulling manifests"). HEAD has the body too: a gateway
// that computes Content-Length from the body then finds the correct length.
func (s manifests) get(w http.ResponseWriter, r *http.Request, req route.Request) error {
	m, err := s.reg.FindManifest(r.Context(), req.Name, req.Reference)
	if err != nil {
		return err
	}
	setDigest(w, m.Digest)
	w.Header().Set("Content-Type", m.MediaType)
	if !oci.IsManifestType(m.MediaType) { // stored by an earlier version
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	if notModified(w, r, m.Digest) {
		return nil
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(m.Content)))
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(m.Content)
	return err
}

// setDigest sets the headers with the digest of the content.
func setDigest(w http.ResponseWriter, d oci.Digest) {
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("ETag", `"`+string(d)+`"`)
}

// notModified answers 304 to a client that already has the content (RFC 9110, 13.1.2).
func notModified(w http.ResponseWriter, r *http.Request, d oci.Digest) bool {
	for tag := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == `"`+string(d)+`"` {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// put stores a manifest (spec, "Pushing Manifests").
func (s manifests) put(w http.ResponseWriter, r *http.Request, req route.Request) error {
	tags, err := pushTags(r, req.Reference)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(r.Body, registry.MaxManifest+1))
	if err != nil {
		return fmt.Errorf("%w (cause: %w)", oci.NewError(oci.ManifestInvalid, "the request body ended early"), err)
	}
	pushed, err := s.reg.PushManifest(r.Context(), req.Name, registry.ManifestPush{
		Digest: req.Reference.Digest, Tags: tags, ContentType: r.Header.Get("Content-Type"), Content: content,
	})
	if err != nil {
		return err
	}
	if pushed.Subject != "" {
		w.Header().Set("OCI-Subject", string(pushed.Subject))
	}
	if req.Reference.Tag == "" && len(tags) > 0 {
		w.Header().Set("OCI-Tag", strings.Join(tags, ", "))
	}
	setDigest(w, pushed.Digest)
	location := route.Request{Kind: route.Manifest, Name: req.Name, Reference: oci.Reference{Digest: pushed.Digest}}
	w.Header().Set("Location", location.Path())
	return writeEmpty(w, http.StatusCreated)
}

// pushTags returns the tags of a push: the tag in the path, or those in the query of a push
// by digest (spec, end-7b).
func pushTags(r *http.Request, ref oci.Reference) ([]string, error) {
	if ref.Tag != "" {
		return []string{ref.Tag}, nil
	}
	var tags []string
	for _, tag := range r.URL.Query()["tag"] {
		if err := oci.CheckTag(tag); err != nil {
			return nil, err
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) > registry.MaxTagsPerPush {
		return nil, oci.NewError(oci.TagInvalid, "one push can set up to %d tags: push again with the others", registry.MaxTagsPerPush).
			WithStatus(http.StatusRequestURITooLong)
	}
	return tags, nil
}

// delete removes a tag or a manifest (spec, "Content Management").
func (s manifests) delete(w http.ResponseWriter, r *http.Request, req route.Request) error {
	var err error
	if req.Reference.Tag != "" {
		err = s.reg.DeleteTag(r.Context(), req.Name, req.Reference.Tag)
	} else {
		err = s.reg.DeleteManifest(r.Context(), req.Name, req.Reference.Digest)
	}
	if err != nil {
		return err
	}
	return writeEmpty(w, http.StatusAccepted)
}

// deleteRepository removes all manifests and tags of a repository, or as many as it can in its
// time: the client repeats the request while the answer has more.
func (s manifests) deleteRepository(w http.ResponseWriter, r *http.Request, req route.Request) error {
	did, err := s.reg.DeleteRepository(r.Context(), req.Name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusAccepted, did)
	return nil
}
