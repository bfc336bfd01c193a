package server

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/route"
)

type base struct{ reg *registry.Registry }

// Base serves /v2/ and the catalog.
func Base(reg *registry.Registry, opts Options) http.Handler {
	s := base{reg}
	return newFamily(opts, map[route.Kind]handler{route.Base: s.ping, route.Catalog: s.catalog})
}

// ping says that this is a registry (spec, "Determining Support").
func (base) ping(w http.ResponseWriter, _ *http.Request, _ route.Request) error {
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

type catalogAnswer struct {
	Repositories []string `json:"repositories"`
}

func (s base) catalog(w http.ResponseWriter, r *http.Request, req route.Request) error {
	page, err := parsePage(r, oci.CheckName)
	if err != nil {
		return err
	}
	list, err := s.reg.Repositories(r.Context(), page.last, page.n)
	if err != nil {
		return err
	}
	linkNext(w, req, page, list)
	writeJSON(w, http.StatusOK, catalogAnswer{list.Names})
	return nil
}
