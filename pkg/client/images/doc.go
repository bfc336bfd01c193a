// Package images copies images between the places that hold them: registries, OCI
// layouts, archives, the Docker daemon, and this very binary. Content moves as it is,
// so that digests stay; only layers that a place holds uncompressed are compressed,
// once, on their way.
//
// It must not know about flags or terminals, nor how to reach a daemon: a command
// hands it a Daemon. What HTTP is needed, pkg/client speaks.
package images
