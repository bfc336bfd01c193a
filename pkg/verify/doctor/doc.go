// Package doctor examines a deployed registry from the outside: API Gateway, the
// functions behind it, and the store that pulls are redirected to. It checks settings
// that differ between deployments and that clients depend on, and reports what it
// observed, who is affected, and which setting to change.
//
// Package verify tests whether a registry meets the spec; doctor explains why a
// deployment does not, in terms of its template. It talks HTTP only, and must not know
// about this registry's server, rules or stores.
package doctor
