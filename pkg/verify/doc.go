// Package verify tests registries: each case is one requirement of the OCI
// distribution spec, or of a real client, and fails with the HTTP exchange that shows
// the fault. Subpackage doctor checks deployments with the same client, runner and report.
//
// A case talks to the registry over HTTP only, in its own repositories. The package must
// not know about this registry's server, rules or stores: the expected behaviour is from
// the spec, or was observed with a client.
package verify
