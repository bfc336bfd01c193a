package route

import (
	"fmt"
	"strings"
)

// MaxComponents is the number of components of a repository name up to which API Gateway
// sends a path to the function of its family. The base function answers deeper paths.
const MaxComponents = 16

// GatewayRoute is a route of the API Gateway HTTP API in front of the functions.
type GatewayRoute struct {
	Key    string // route key: method and path with variables, or $default
	Family Family // whose function answers
}

// GatewayRoutes lists the routes: a name has any number of components, but a variable of
// API Gateway stands for one component, or for the rest of the path at its end. So there
// is a set of routes for each number of components, and every other path goes to
// $default. API Gateway takes 300 routes per API.
//
// Each route takes any method: the function, not the gateway, says which are allowed. If
// two routes match, the gateway prefers fixed text to a variable, and both to the rest of
// the path; so a name may end in "/blobs/uploads".
func GatewayRoutes() []GatewayRoute { return api.GatewayRoutes() }

// GatewayRoutes is the function GatewayRoutes for the endpoints of the table.
func (t *Table) GatewayRoutes() []GatewayRoute {
	routes := []GatewayRoute{{Key: "$default", Family: FamilyBase}}
	for i := range t.rows {
		if r := &t.rows[i]; !r.named && r.Family != FamilyBase {
			routes = append(routes, GatewayRoute{Key: "ANY /v2" + t.gatewayPath(r), Family: r.Family})
		}
	}
	var name strings.Builder
	for depth := 1; depth <= MaxComponents; depth++ {
		fmt.Fprintf(&name, "/{n%d}", depth)
		for i := range t.rows {
			if r := &t.rows[i]; r.named {
				routes = append(routes, GatewayRoute{Key: "ANY /v2" + name.String() + t.gatewayPath(r), Family: r.Family})
			}
		}
	}
	return routes
}

// gatewayPath is the template behind the name. A route cannot end in a slash, and the
// gateway may cut it off. So the route of an endpoint that ends in one goes without, and
// the one with a variable in its place takes the rest of the path, which may be empty.
func (t *Table) gatewayPath(r *row) string {
	variable := r.variable
	for _, other := range t.rows {
		if variable != "" && other.variable == "" && other.fixed == r.fixed {
			variable = "proxy+"
		}
	}
	if variable == "" {
		return strings.TrimSuffix(r.fixed, "/")
	}
	return r.fixed + "{" + variable + "}"
}
