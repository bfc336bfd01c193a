package registry

import (
	"encoding"
	"fmt"
	"hash"

	"github.com/pierless/pierless/pkg/oci"
)

// hashes is the running content hash of an upload. sha256 always runs; sha512
// only when it was announced, for it doubles the work.
type hashes map[oci.Algorithm]hash.Hash

func newHashes(algorithms ...oci.Algorithm) hashes {
	hs := hashes{oci.SHA256: oci.SHA256.New()}
	for _, a := range algorithms {
		if a != "" && hs[a] == nil {
			hs[a] = a.New()
		}
	}
	return hs
}

func (hs hashes) add(p []byte) {
	for _, h := range hs {
		h.Write(p)
	}
}

// digest returns the digest by an algorithm, and whether it is running.
func (hs hashes) digest(a oci.Algorithm) (oci.Digest, bool) {
	h, running := hs[a]
	if !running {
		return "", false
	}
	return a.Digest(h), true
}

// same reports whether both hashed the same bytes.
func (hs hashes) same(other hashes) bool {
	one, _ := hs.digest(oci.SHA256)
	two, _ := other.digest(oci.SHA256)
	return one == two
}

// attribute names of the states, so that a later process hashes on from here.
func hashAttr(a oci.Algorithm) string {
	if a == oci.SHA512 {
		return attrSHA512
	}
	return attrSHA256
}

// save puts the states of the hashes into a row.
func (hs hashes) save(attrs Attrs) error {
	for a, h := range hs {
		m, ok := h.(encoding.BinaryMarshaler)
		if !ok {
			return fmt.Errorf("the state of %s cannot be saved", a)
		}
		state, err := m.MarshalBinary()
		if err != nil {
			return fmt.Errorf("save state of %s: %w", a, err)
		}
		attrs[hashAttr(a)] = state
	}
	return nil
}

// loadHashes is the inverse of save.
func loadHashes(attrs Attrs) (hashes, error) {
	hs := hashes{}
	for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		state, found := attrs[hashAttr(a)].([]byte)
		if !found {
			continue
		}
		h := a.New()
		u, ok := h.(encoding.BinaryUnmarshaler)
		if !ok {
			return nil, fmt.Errorf("the state of %s cannot be loaded", a)
		}
		if err := u.UnmarshalBinary(state); err != nil {
			return nil, fmt.Errorf("load state of %s: %w", a, err)
		}
		hs[a] = h
	}
	if hs[oci.SHA256] == nil {
		return nil, fmt.Errorf("the session has no state of %s", oci.SHA256)
	}
	return hs, nil
}
