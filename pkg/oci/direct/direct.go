// Package direct is the words of the direct upload extension: what client and registry
// say to each other where the bytes of a blob go straight to the store. The protocol is
// in docs/direct-uploads.md; paths are in pkg/oci/route.
//
// It must not know about HTTP handlers, storage or rules, and imports only pkg/oci.
package direct

import (
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// Limits of what the store takes.
const (
	// MaxPut is the largest blob, in bytes, that one PUT can carry: 5 GiB.
	MaxPut = 5 << 30
	// MinPart and MaxPart bound every part but the last, in bytes.
	MinPart = 5 << 20
	MaxPart = 5 << 30
	// MaxParts is the number of parts of one blob.
	MaxParts = 10_000
	// MaxSize is the largest blob, in bytes.
	MaxSize = MaxParts * MaxPart
	// MaxSigned is the number of parts that one request can ask to be signed.
	MaxSigned = 1000
	// MaxBody is the largest body of a request of this extension, in bytes.
	MaxBody = 256 << 10
)

// Offer is the body of POST /v2/<name>/_pierless/uploads: the blob that the client has.
type Offer struct {
	Digest oci.Digest `json:"digest"`
	Size   int64      `json:"size"` // in bytes
	// Parts asks for parts where one PUT would do. Blobs above MaxPut, and digests other
	// than sha256, which the store cannot check by itself, come in parts whatever is asked.
	Parts bool `json:"parts,omitempty"`
}

// State is how far an upload is.
type State string

// The states of an upload. One that ended, well or not, is unknown.
const (
	Open      State = "open"      // bytes are awaited
	Verifying State = "verifying" // all bytes are there, their digest is being computed
)

// Upload is where an upload stands: the body of every answer 200 and 202.
type Upload struct {
	ID      string     `json:"id"` // who knows it may write; it is a secret
	State   State      `json:"state"`
	Digest  oci.Digest `json:"digest"`
	Size    int64      `json:"size"`
	Expires time.Time  `json:"expires"` // of the upload; each request may move it

	// Put is the one request that stores the bytes; nil where they come in parts.
	Put *Request `json:"put,omitempty"`

	// PartSize is the size of every part but the last, in bytes; 0 with Put.
	PartSize int64 `json:"partSize,omitempty"`
	// Stored are the parts that the store has; only in the answer of a GET.
	Stored []Part `json:"stored,omitempty"`

	// Verified is how many bytes were read back so far.
	Verified int64 `json:"verified,omitempty"`
}

// Request is a presigned request to the store: exactly these headers, besides those of
// the connection, and exactly the announced bytes. It carries no other right.
type Request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Expires time.Time         `json:"expires"` // it must have begun by then
}

// AllowedHeader reports whether a Request may have a header of this name. Clients refuse
// others: a registry could make a client speak to a service that is no store.
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

// Parts is the body of POST /v2/<name>/_pierless/parts/<id>: at most MaxSigned.
type Parts struct {
	Parts []Part `json:"parts"`
}

// SignedPart is how one part is stored.
type SignedPart struct {
	Number int `json:"number"`
	Request
}

// SignedParts is the answer to Parts, in the same order.
type SignedParts struct {
	Parts []SignedPart `json:"parts"`
}

// PartSize is the size of the parts of a blob: at least 16 MiB, a whole number of MiB,
// and as large as it takes to need no more than MaxParts.
func PartSize(size int64) int64 {
	const mib, least = 1 << 20, 16 << 20
	needed := (size + MaxParts - 1) / MaxParts
	return max(least, (needed+mib-1)/mib*mib)
}

// PartCount is the number of parts of a blob; an empty one has none.
func PartCount(size, partSize int64) int { return int((size + partSize - 1) / partSize) }

// SizeOf is the size of a part, which is numbered from 1.
func SizeOf(number int, size, partSize int64) int64 {
	return min(partSize, size-int64(number-1)*partSize)
}
