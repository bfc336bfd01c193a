package upload

import (
	"encoding"
	"fmt"
	"hash"

	"github.com/pierless/pierless/pkg/oci"
)

// Hashes are the running content hashes of an upload: sha256 always, sha512 only if the
// client announced it, because it doubles the work.
type Hashes map[oci.Algorithm]hash.Hash

// NewHashes returns hashes of no bytes: sha256 and the given algorithms. An empty algorithm
// is ignored.
func NewHashes(algorithms ...oci.Algorithm) Hashes {
	hs := Hashes{oci.SHA256: oci.SHA256.New()}
	for _, a := range algorithms {
		if a != "" {
			hs[a] = a.New()
		}
	}
	return hs
}

// Add hashes p.
func (hs Hashes) Add(p []byte) {
	for _, h := range hs {
		h.Write(p)
	}
}

// Digest returns the digest of the bytes so far, and whether hs computes this algorithm.
func (hs Hashes) Digest(a oci.Algorithm) (oci.Digest, bool) {
	h, running := hs[a]
	if !running {
		return "", false
	}
	return a.Digest(h), true
}

// Same reports whether both have hashed the same bytes.
func (hs Hashes) Same(other Hashes) bool {
	one, _ := hs.Digest(oci.SHA256)
	two, _ := other.Digest(oci.SHA256)
	return one == two
}

// Clone returns hashes that continue from the same state.
func (hs Hashes) Clone() (Hashes, error) {
	states, err := hs.States()
	if err != nil {
		return nil, err
	}
	return LoadHashes(states)
}

// States returns the state of each hash, for LoadHashes in another process.
func (hs Hashes) States() (map[oci.Algorithm][]byte, error) {
	states := make(map[oci.Algorithm][]byte, len(hs))
	for a, h := range hs {
		m, ok := h.(encoding.BinaryMarshaler)
		if !ok {
			return nil, fmt.Errorf("the state of %s cannot be saved", a)
		}
		state, err := m.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("save state of %s: %w", a, err)
		}
		states[a] = state
	}
	return states, nil
}

// LoadHashes returns hashes that continue from states, which must include sha256. An empty
// state counts as missing.
func LoadHashes(states map[oci.Algorithm][]byte) (Hashes, error) {
	hs := Hashes{}
	for a, state := range states {
		if len(state) == 0 {
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
