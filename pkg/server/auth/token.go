package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

const tokenBytes = 32

// NewToken returns a token of 256 random bits in base64url, and its SHA-256 as
// Options takes it. With so many bits one round of a fast hash cannot be reversed.
func NewToken() (token, sum string) {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // documented never to fail
	token = base64.RawURLEncoding.EncodeToString(b)
	h := sha256.Sum256([]byte(token))
	return token, hex.EncodeToString(h[:])
}
