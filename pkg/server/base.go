package server

import (
	"net/http"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server/auth"
)

type base struct{ reg *registry.Registry }

// Base serves /v2/, the catalog and the token endpoint.
func Base(reg *registry.Registry, opts Options) *Server {
	s := base{reg}
	return newServer(opts, handlers{
		route.Base:    {http.MethodGet: s.ping, http.MethodHead: s.ping},
		route.Catalog: {http.MethodGet: s.catalog, http.MethodHead: s.catalog},
		route.Token:   {http.MethodGet: s.token, http.MethodPost: s.token},
	})
}

// ping confirms that this is a registry (spec, "Determining Support").
func (base) ping(w http.ResponseWriter, _ *http.Request, _ route.Request) error {
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// tokenLife is how long clients cache a token, in seconds. The token itself does not
// expire: after a 401 they ask again.
const tokenLife = 3600

// tokenAnswer has the fields of distribution's token specification and those of OAuth 2,
// which calls the token access_token.
type tokenAnswer struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	IssuedAt    string `json:"issued_at"`
}

// token returns the caller's password as its token, so that the registry has nothing to
// issue and nothing to store. It ignores scopes: permissions belong to the caller.
func (base) token(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	token := auth.Token(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, tokenAnswer{token, token, tokenLife, time.Now().UTC().Format(time.RFC3339)})
	return nil
}

type catalogAnswer struct {
	Repositories []string `json:"repositories"`
}

// catalog lists the repositories that the caller may pull.
func (s base) catalog(w http.ResponseWriter, r *http.Request, req route.Request) error {
	page, err := parsePage(r, oci.CheckName)
	if err != nil {
		return err
	}
	readable := mayPull(r)
	if auth.May(r.Context(), "", route.Pull) {
		readable = nil // all of them
	}
	list, err := s.reg.Repositories(r.Context(), page.last, page.n, readable)
	if err != nil {
		return err
	}
	linkNext(w, req, page, list)
	writeJSON(w, http.StatusOK, catalogAnswer{list.Names})
	return nil
}
