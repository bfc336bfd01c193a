package registry

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

var errPacked = errors.New("malformed digest list")

// unpackDigests is the inverse of packDigests, as the sweep will need it.
func unpackDigests(packed []byte) ([]oci.Digest, error) {
	var ds []oci.Digest
	for len(packed) > 0 {
		var algorithm oci.Algorithm
		switch packed[0] {
		case oci.SHA256[3]:
			algorithm = oci.SHA256
		case oci.SHA512[3]:
			algorithm = oci.SHA512
		default:
			return nil, fmt.Errorf("%w: algorithm byte %d", errPacked, packed[0])
		}
		size := algorithm.New().Size()
		if len(packed) < 1+size {
			return nil, fmt.Errorf("%w: cut off", errPacked)
		}
		ds = append(ds, oci.Digest(string(algorithm)+":"+hex.EncodeToString(packed[1:1+size])))
		packed = packed[1+size:]
	}
	return ds, nil
}
