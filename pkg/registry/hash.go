package registry

import (
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// hashAttr returns the attribute for the state of a running hash.
func hashAttr(a oci.Algorithm) string {
	if a == oci.SHA512 {
		return attrSHA512
	}
	return attrSHA256
}

// saveHashes stores the states of running hashes in attrs, so that the next request can
// continue from them, even in another process.
func saveHashes(hs upload.Hashes, attrs Attrs) error {
	states, err := hs.States()
	for a, state := range states {
		attrs[hashAttr(a)] = state
	}
	return err
}

// loadHashes is the inverse of saveHashes.
func loadHashes(attrs Attrs) (upload.Hashes, error) {
	states := make(map[oci.Algorithm][]byte)
	for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		states[a], _ = attrs[hashAttr(a)].([]byte)
	}
	return upload.LoadHashes(states)
}
