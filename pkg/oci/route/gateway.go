package route

import (
	"fmt"
	"strings"
)

// MaxComponents is the number of components of a repository's name up to which the
// front door sends a path to the function of its family. The base function answers
// what is deeper.
const MaxComponents = 16

// GatewayRoute is a route of API Gateway in front of the functions.
type GatewayRoute struct {
	ID     string // logical id of the resource in the template
	Key    string // the gateway's "route key": method and path with variables, or $default
	Family Family // whose function answers
}

// GatewayRoutes lists the routes: a name has any number of components, but a
// variable of the gateway stands for one, or at the end of a path for the rest. So
// there is a set of routes for each number of components, and $default, to which
// everything else falls. 300 routes are the gateway's limit.
//
// Each takes any method: the function, not the gateway, says which are allowed. Where
// two routes match, the gateway prefers fixed text to a variable, and both to the rest
// of the path: so a name may end in "/blobs/uploads". "blobs/uploads" without the slash
// has a route, because a route cannot end in one and the gateway may cut it off.
func GatewayRoutes() []GatewayRoute {
	routes := []GatewayRoute{{ID: "DefaultRoute", Key: "$default", Family: FamilyBase}}
	var name strings.Builder
	for depth := 1; depth <= MaxComponents; depth++ {
		fmt.Fprintf(&name, "/{n%d}", depth)
		for _, r := range []struct {
			id, rest string
			kind     Kind
		}{
			{"Manifest", "/manifests/{reference}", Manifest},
			{"Blob", "/blobs/{digest}", Blob},
			{"UploadStart", "/blobs/uploads", UploadStart},
			{"Upload", "/blobs/uploads/{proxy+}", Upload},
			{"TagList", "/tags/list", TagList},
			{"Referrers", "/referrers/{digest}", Referrers},
			{"DirectStart", "/" + extension + "/uploads", DirectStart},
			{"Direct", "/" + extension + "/uploads/{id}", Direct},
			{"DirectParts", "/" + extension + "/parts/{id}", DirectParts},
			{"Verification", "/" + extension + "/verifications/{id}", Verification},
		} {
			routes = append(routes, GatewayRoute{
				ID: fmt.Sprintf("%sRoute%02d", r.id, depth), Key: "ANY /v2" + name.String() + r.rest, Family: r.kind.Family(),
			})
		}
	}
	return routes
}
