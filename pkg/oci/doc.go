// Package oci holds the types of the OCI distribution spec: repository names, tags,
// digests, references, descriptors, manifests, and error codes with their statuses. Server
// and client share them, so that both accept the same values.
//
// It must not know about HTTP routing, storage or configuration, and imports
// only the standard library.
package oci
