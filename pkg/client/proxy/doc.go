// Package proxy is a registry on this machine, for clients that send a whole layer in
// one request, in front of a registry that does not take so much. What is no upload
// passes through; the bytes of an upload go straight to the store by direct uploads, or
// where the registry offers none, to it in small chunks. docs/proxy.md says which
// request goes which way.
//
// It must not know about credentials, which are the client's and are passed on with
// what the client's request causes, about images on this machine, flags or terminals.
// It remembers no answer of the registry: each client gets what the registry gives it.
package proxy
