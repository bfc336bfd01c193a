// Package verify is a verification suite for registry providers: cases that tell
// whether a registry, this one or any other, keeps the OCI distribution spec and
// the promises that real clients rely on.
//
// A case talks to the registry over HTTP alone, in repositories of its own, and
// fails with the exchange that shows the fault. It must not know about this
// registry's server, rules or stores: what it expects is in the spec, or was seen
// with a client.
package verify
