// Package images copies images between registries, OCI layouts, archives, the Docker daemon,
// and the running binary. Content is copied unchanged, so digests stay; only layers that the
// source holds uncompressed are compressed on the way.
//
// It must not know about flags or terminals, nor how to reach a daemon: a command passes a
// Daemon. pkg/client makes all HTTP requests.
package images
