// Package client is a client of the OCI distribution API: of Pierless, whose direct
// uploads it uses, and of every other registry. docs/client.md says what it repeats and
// what it does with which registry.
//
// It must not know about images on this machine, flags or terminals, nor where
// credentials are kept.
package client
