package oci

import "net/http"

// SetSecurityHeaders stops browsers from sniffing types and from running scripts in an answer: a registry serves
// untrusted bytes, and a logged-in browser sends its credentials with every request to that origin.
func SetSecurityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}
