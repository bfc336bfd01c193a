package server

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

type verifications struct{ reg *registry.Registry }

// Verifications verifies direct uploads in parts. It is a separate family because it needs
// a CPU, and permission to read the bytes, which Direct does not.
func Verifications(reg *registry.Registry, opts Options) *Server {
	s := verifications{reg}
	return newServer(opts, handlers{route.Verification: {http.MethodPost: s.verify}}.require(!opts.ServeBlobs, registry.ErrNoDirect))
}

// verify works for a limited time. The client repeats the request until it gets 201.
func (s verifications) verify(w http.ResponseWriter, r *http.Request, req route.Request) error {
	u, done, err := s.reg.VerifyDirect(r.Context(), req.Name, req.Upload)
	return writeCompleted(w, req.Name, u, done, err)
}
