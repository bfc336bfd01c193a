package server

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// All serves every family in one process. No function refers to it.
func All(reg *registry.Registry, opts Options) http.Handler {
	return Compose(map[route.Family]http.Handler{
		route.FamilyBase:      Base(reg, opts),
		route.FamilyBlobs:     Blobs(reg, opts),
		route.FamilyUploads:   Uploads(reg, opts),
		route.FamilyManifests: Manifests(reg, opts),
		route.FamilyTags:      Tags(reg, opts),
		route.FamilyReferrers: Referrers(reg, opts),

		route.FamilyDirect:        Direct(reg, opts),
		route.FamilyVerifications: Verifications(reg, opts),
	})
}

// Compose sends each request to its family, as the front door does for functions.
// Paths that are no route go to the base family, which says so.
func Compose(families map[route.Family]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := route.ParseEscaped(r.URL.EscapedPath())
		if err != nil {
			req.Kind = route.Base
		}
		families[req.Kind.Family()].ServeHTTP(w, r)
	})
}
