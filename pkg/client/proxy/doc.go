// Package proxy is a local registry for clients that send a whole layer in one request. It
// stands in front of a registry that limits the size of requests. Uploads are taken apart:
// their bytes go straight to the registry's store as direct uploads, or to the registry in
// small chunks if it offers none. Every other request is forwarded. docs/proxy.md lists
// which request takes which path.
//
// It must not know credentials beyond those of the client's request, which it sends along
// with the requests that this one causes. It must not know images on this machine, flags or
// terminals. It caches no answer of the registry: each client gets the answer for its own
// credentials.
package proxy
