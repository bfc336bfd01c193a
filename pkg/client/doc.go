// Package client is a client of the OCI distribution API: of Pierless, whose direct
// uploads it uses, and of every other registry.
//
// It must not know about images on this machine, flags or terminals, nor where
// credentials are kept.
package client
