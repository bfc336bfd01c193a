package registry

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// Attribute names, short because DynamoDB bills each byte of them.
const (
	// attrWrite is the nonce of the row's last write. It is the generation that
	// later writes require, and tells a writer whose answer was lost that the row
	// it meets is its own.
	attrWrite     = "w"
	attrState     = "s"
	attrTouched   = "t" // milliseconds since 1970
	attrDigest    = "d"
	attrSize      = "z"
	attrKey       = "k" // content key
	attrMediaType = "m"
	attrBytes     = "b"
	attrRepo      = "r"
	attrRefs      = "f" // digests that a manifest needs, packed
	attrSubject   = "j"
	attrReferrer  = "i" // sort key of the manifest's referrer row
	attrKind      = "y" // of a review
	attrExpires   = "x" // milliseconds since 1970
	attrOffset    = "o"
	attrStored    = "u" // what Blobs keeps of an upload
	attrNext      = "n" // first part number that no claim has
	attrSHA256    = "h2"
	attrSHA512    = "h5"

	// Of a direct upload. attrDigest is what an upload became; attrOffset, how far it
	// was verified.
	attrOffered  = "e"
	attrPartSize = "p" // 0 for one PUT
	attrComplete = "a" // 1: all bytes are in place; of any upload
	attrLease    = "l" // milliseconds since 1970: a verification is under way until then
)

// States of rows.
const (
	stateOpen      = "open"      // key row: an upload session
	stateLive      = "live"      // key row, blob item, link, manifest
	stateDead      = "dead"      // key row: final
	stateCondemned = "condemned" // blob item, link: the sweep wants it
	statePending   = "pending"   // manifest: not visible, but what it refers to is safe
)

// Kinds of reviews: what the sweep looks at when they are due.
const (
	reviewLink     = "link"
	reviewBlob     = "blob"
	reviewManifest = "manifest"
)

func (a Attrs) text(name string) string {
	s, _ := a[name].(string)
	return s
}

func (a Attrs) number(name string) int64 {
	n, _ := a[name].(int64)
	return n
}

func (a Attrs) bytes(name string) []byte {
	b, _ := a[name].([]byte)
	return b
}

func (a Attrs) digest(name string) oci.Digest { return oci.Digest(a.text(name)) }

func millis(t time.Time) int64 { return t.UnixMilli() }

// packDigests is the form of attrRefs: per digest one byte for the algorithm, then
// the raw sum. 10,000 sha256 digests take 330 KB, under DynamoDB's 400 KB an item.
func packDigests(ds []oci.Digest) []byte {
	var packed []byte
	for _, d := range ds {
		raw, err := hex.DecodeString(d.Encoded())
		if err != nil {
			panic("registry: unchecked digest " + string(d))
		}
		packed = append(packed, d.Algorithm()[3])
		packed = append(packed, raw...)
	}
	return packed
}

var errPacked = errors.New("malformed digest list")

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
