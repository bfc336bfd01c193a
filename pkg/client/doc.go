// Package client implements the client side of the OCI distribution API, for Pierless with
// its direct uploads and for every other registry. docs/client.md describes its retries and
// the differences between registries.
//
// It must not know about images on this machine, flags or terminals, nor about the files
// that keep credentials.
package client
