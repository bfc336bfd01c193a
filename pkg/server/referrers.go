package server

import (
	"net/http"
	"net/url"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

type referrers struct{ reg *registry.Registry }

// Referrers serves the referrers API.
func Referrers(reg *registry.Registry, opts Options) *Server {
	s := referrers{reg}
	return newServer(opts, handlers{route.Referrers: {http.MethodGet: s.list, http.MethodHead: s.list}})
}

// list answers 200 for every subject, even an unknown one (spec, "Listing Referrers").
func (s referrers) list(w http.ResponseWriter, r *http.Request, req route.Request) error {
	q := r.URL.Query()
	artifactType := q.Get("artifactType")
	found, err := s.reg.Referrers(r.Context(), req.Name, req.Digest, artifactType, q.Get("last"))
	if err != nil {
		return err
	}
	next := url.Values{"last": {found.Next}}
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		next.Set("artifactType", artifactType)
	}
	if found.Next != "" {
		setLink(w, req, next)
	}
	w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
	writeJSON(w, http.StatusOK, found.Index)
	return nil
}
