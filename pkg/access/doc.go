// Package access decides who may do what. A credential is an opaque token; a row under the
// SHA-256 of the token has its grants, so every comparison of a secret is a lookup by hash.
// Administrators create tokens, and Login issues short-lived ones for a proven identity.
// Directory answers requests from a cache; Admin changes tokens and settings, and writes a
// log entry in the same transaction as the change.
//
// It must not know HTTP, the endpoints, or how a proof of an identity is verified.
package access
