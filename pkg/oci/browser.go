package oci

import "net/http"

// SetSecurityHeaders keeps browsers from guessing types and from running scripts in an answer. A registry serves bytes
// that others pushed, on the origin that a browser may have the user's password for.
func SetSecurityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}
