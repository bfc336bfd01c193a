// Package direct holds the messages of the direct upload extension, by which clients send
// the bytes of a blob to the store instead of the registry. docs/direct-uploads.md
// specifies the protocol; pkg/oci/route has its paths.
//
// It must not know about HTTP handlers, storage or rules, and imports only pkg/oci.
package direct

import (
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// Limits of the store and of the extension.
const (
	// MaxPut is the size of the largest blob that one PUT can store, in bytes: 5 GiB.
	MaxPut = 5 << 30
	// MinPart and MaxPart bound the size of every part but the last, in bytes.
	MinPart = 5 << 20
	MaxPart = 5 << 30
	// MaxParts limits the parts of one blob.
	MaxParts = 10_000
	// MaxSize is the size of the largest blob, in bytes.
	MaxSize = MaxParts * MaxPart
	// MaxSigned limits the parts of one request for signatures.
	MaxSigned = 1000
	// MaxBody limits the body of a request to the registry, in bytes.
	MaxBody = 256 << 10
)

// Offer is the body of POST /v2/<name>/_pierless/uploads. It describes the client's blob.
type Offer struct {
	Digest oci.Digest `json:"digest"`
	Size   int64      `json:"size"` // in bytes
	// Parts asks for an upload in parts even if one PUT suffices. Blobs above MaxPut, and
	// digests other than sha256, which the store cannot check, always come in parts.
	Parts bool `json:"parts,omitempty"`
}

// State is the progress of an upload.
type State string

// The states of an upload. After its end, an upload is unknown.
const (
	Open      State = "open"      // the store lacks bytes
	Verifying State = "verifying" // the store has all bytes; their digest is being computed
)

// Upload describes an upload. It is the body of every answer 200 and 202.
type Upload struct {
	ID      string     `json:"id"` // a secret that permits to write
	State   State      `json:"state"`
	Digest  oci.Digest `json:"digest"`
	Size    int64      `json:"size"`
	Expires time.Time  `json:"expires"` // of the upload; each request may extend it

	// Put is the request that stores the bytes; nil if they come in parts.
	Put *Request `json:"put,omitempty"`

	// PartSize is the size of every part but the last, in bytes; 0 with Put.
	PartSize int64 `json:"partSize,omitempty"`
	// Stored lists the parts that the store has, in the answer of a GET.
	Stored []Part `json:"stored,omitempty"`

	// Verified is the number of bytes read back so far.
	Verified int64 `json:"verified,omitempty"`
}

// Request is a presigned request to the store. It permits exactly these headers, besides
// those of the connection, and exactly the announced bytes.
type Request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Expires time.Time         `json:"expires"` // the latest time for it to begin
}

// AllowedHeader reports whether a Request may have a header of this name. Clients refuse
// others: with them, a malicious registry could make a client send valid requests to
// services other than a store.
func AllowedHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains([]string{
		"content-length", "content-type", "content-md5", "host", "if-none-match",
		"x-amz-content-sha256", "x-amz-sdk-checksum-algorithm",
	}, name) || strings.HasPrefix(name, "x-amz-checksum-") || strings.HasPrefix(name, "x-amz-server-side-encryption")
}

// Part is a piece of a blob.
type Part struct {
	Number int        `json:"number"` // from 1
	Size   int64      `json:"size"`   // in bytes
	Digest oci.Digest `json:"digest"` // sha256 of the part
}

// Parts is the body of POST /v2/<name>/_pierless/parts/<id>, with up to MaxSigned parts.
type Parts struct {
	Parts []Part `json:"parts"`
}

// SignedPart is the request that stores one part.
type SignedPart struct {
	Number int `json:"number"`
	Request
}

// SignedParts is the answer to Parts, in the same order.
type SignedParts struct {
	Parts []SignedPart `json:"parts"`
}

// PartSize returns the size of the parts of a blob, in bytes: at least 16 MiB, a multiple
// of 1 MiB, and large enough for MaxParts to suffice.
func PartSize(size int64) int64 {
	const mib, least = 1 << 20, 16 << 20
	needed := (size + MaxParts - 1) / MaxParts
	return max(least, (needed+mib-1)/mib*mib)
}

// PartCount returns the number of parts of a blob; an empty blob has none.
func PartCount(size, partSize int64) int { return int((size + partSize - 1) / partSize) }

// SizeOf returns the size in bytes of a part of a blob of size bytes. Numbers begin with 1.
func SizeOf(number int, size, partSize int64) int64 {
	return min(partSize, size-int64(number-1)*partSize)
}
