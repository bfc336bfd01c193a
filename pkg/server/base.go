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
func Base(reg *registry.Registry, opts Options) http.Handler {
	s := base{reg}
	return newFamily(opts, map[route.Kind]handler{route.Base: s.ping, route.Catalog: s.catalog, route.Token: s.token})
}

// ping says that this is a registry (spec, "Determining Support").
func (base) ping(w http.ResponseWriter, _ *http.Request, _ route.Request) error {
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// tokenLife is how long clients keep a token, in seconds. The token itself is good for
// longer: after a 401 they ask again.
const tokenLife = 3600

// tokenAnswer is in the form of distribution's token specification, and in that of
// OAuth 2, whose name for the token is another.
type tokenAnswer struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	IssuedAt    string `json:"issued_at"`
}

// token returns the password that the caller sent, as its token: nothing is issued, and
// nothing has to be kept. Scopes are not looked at: the rights are the caller's.
func (base) token(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	token := auth.Token(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, tokenAnswer{token, token, tokenLife, time.Now().UTC().Format(time.RFC3339)})
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
