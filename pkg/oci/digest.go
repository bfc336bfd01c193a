package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// Algorithm names a digest algorithm that the registry accepts.
type Algorithm string

// The accepted algorithms: those that the OCI image spec registers.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// ParseAlgorithm accepts sha256 and sha512. The error is DIGEST_INVALID.
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case SHA256, SHA512:
		return a, nil
	}
	return "", NewError(DigestInvalid, "digest algorithm %q is not supported: use sha256 or sha512", clip(s))
}

// New returns a new hash. It panics on an algorithm that ParseAlgorithm does not accept.
func (a Algorithm) New() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	}
	panic("oci: unknown algorithm " + string(a))
}

// Digest returns the digest of a finished hash of this algorithm.
func (a Algorithm) Digest(h hash.Hash) Digest {
	return Digest(string(a) + ":" + hex.EncodeToString(h.Sum(nil)))
}

// FromBytes returns the digest of b.
func (a Algorithm) FromBytes(b []byte) Digest {
	h := a.New()
	h.Write(b)
	return a.Digest(h)
}

func (a Algorithm) hexLen() int {
	if a == SHA512 {
		return 2 * sha512.Size
	}
	return 2 * sha256.Size
}

// Digest is a valid content digest, "algorithm:hex" in lower case.
type Digest string

// ParseDigest accepts a sha256 or sha512 digest in lower case hexadecimal
// (image spec, "Digests"). The error is DIGEST_INVALID.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, found := strings.Cut(s, ":")
	if !found {
		return "", NewError(DigestInvalid, "digest %q must have the form algorithm:hex", clip(s))
	}
	a, err := ParseAlgorithm(algorithm)
	if err != nil {
		return "", err
	}
	if len(encoded) != a.hexLen() {
		return "", NewError(DigestInvalid, "a %s digest must have %d hexadecimal digits, this one has %d", a, a.hexLen(), len(encoded))
	}
	if strings.Trim(encoded, "0123456789abcdef") != "" {
		return "", NewError(DigestInvalid, "digest %q must be lower-case hexadecimal", clip(s))
	}
	return Digest(s), nil
}

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() Algorithm {
	a, _, _ := strings.Cut(string(d), ":")
	return Algorithm(a)
}

// Encoded returns the part after the colon.
func (d Digest) Encoded() string {
	_, e, _ := strings.Cut(string(d), ":")
	return e
}

// Reference names a manifest: it is a tag or a digest, never both.
type Reference struct {
	Tag    string
	Digest Digest
}

// ParseReference accepts a tag or a digest: a tag has no colon, a digest has one.
// The error is DIGEST_INVALID or TAG_INVALID.
func ParseReference(s string) (Reference, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Reference{Digest: d}, err
	}
	return Reference{Tag: s}, CheckTag(s)
}

// String returns the tag or the digest.
func (r Reference) String() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}
