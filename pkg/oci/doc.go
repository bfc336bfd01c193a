// Package oci holds the words of the OCI distribution spec: repository names,
// tags, digests, references, descriptors, manifests and error codes with their
// statuses. Server and client share it, so that a value checked on one side is
// understood on the other.
//
// It must not know about HTTP routing, storage or configuration, and imports
// only the standard library.
package oci
