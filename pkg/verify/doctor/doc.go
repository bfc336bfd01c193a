// Package doctor examines a deployed registry from outside: the front door, the
// functions behind it and the store that pulls are redirected to. For each thing
// that differs between deployments and that clients depend on, it tells what it
// saw, who breaks, and what to set.
//
// Package verify tells whether a registry keeps the spec; doctor tells why a
// deployment does not, in words of its template. It talks HTTP alone, and must not
// know about this registry's server, rules or stores.
package doctor
