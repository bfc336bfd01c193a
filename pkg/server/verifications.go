package server

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

type verifications struct{ reg *registry.Registry }

// Verifications reads direct uploads in parts back: a family of its own, because it
// needs a CPU where the others wait, and reads what they only name.
func Verifications(reg *registry.Registry, opts Options) *Server {
	s := verifications{reg}
	return newServer(opts, requireDirect(opts, handlers{route.Verification: {http.MethodPost: s.verify}}))
}

// verify goes on for a limited time. The client calls again until it is 201.
func (s verifications) verify(w http.ResponseWriter, r *http.Request, req route.Request) error {
	u, done, err := s.reg.VerifyDirect(r.Context(), req.Name, req.Upload)
	return completed(w, req.Name, u, done, err)
}
