package server

import (
	"maps"

	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// Families returns the constructor of each family. Functions do not call it, so that they
// link one family only.
func Families() map[route.Family]func(*registry.Registry, Options) *Server {
	return map[route.Family]func(*registry.Registry, Options) *Server{
		route.FamilyBase:          Base,
		route.FamilyBlobs:         Blobs,
		route.FamilyUploads:       Uploads,
		route.FamilyManifests:     Manifests,
		route.FamilyTags:          Tags,
		route.FamilyReferrers:     Referrers,
		route.FamilyDirect:        Direct,
		route.FamilyVerifications: Verifications,
		route.FamilyAccess:        Access,
	}
}

// All serves every family.
func All(reg *registry.Registry, opts Options) *Server {
	all := newServer(opts, handlers{})
	for _, family := range Families() {
		maps.Copy(all.handlers, family(reg, opts).handlers)
	}
	return all
}
