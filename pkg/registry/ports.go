package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// Blobs stores immutable content under opaque keys: 64 lower case hexadecimal digits,
// unique per upload. A key gets its content once and is never overwritten; the rules rely on
// no other property of the store. All methods are safe for concurrent use by many
// processes.
type Blobs interface {
	// Put stores small content under a key, from memory. It returns ErrTaken if the key
	// already has content, equal or not, and ErrContended if another write to the key is in
	// progress.
	Put(ctx context.Context, key string, content []byte) error

	// Append reads body to its end and stores it after the bytes in stored. stored remains
	// valid until the caller has recorded the returned Stored. If the caller never records
	// it, the adapter or a bucket lifecycle rule removes the new bytes. Two Appends with
	// different claims never touch each other's bytes. Append returns errors of body
	// unchanged, ErrTooLarge if the content exceeds the limit of the store, and ErrBusy if
	// other Appends of this process held all part buffers for too long.
	Append(ctx context.Context, key string, claim Claim, stored Stored, body io.Reader) (Stored, error)

	// Complete makes the appended bytes the content of key. It returns ErrTaken if the key
	// already has content, or if the appended parts are gone. Either can mean that an earlier
	// Complete succeeded and its answer was lost, so the caller must read the content. It
	// returns ErrContended if another write to the key is in progress; a repeated Complete
	// shows the outcome.
	Complete(ctx context.Context, key string, stored Stored) error

	// Discard deletes the bytes in stored that are not also in keep. It never deletes the
	// content of a completed key. It may be repeated.
	Discard(ctx context.Context, key string, stored, keep Stored) error

	// Open returns a reader of length bytes of a key's content from offset, or to the end if
	// length is negative. It returns ErrNoContent if the key has no content.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat returns the size of a key's content. If sum is set, it also returns the sha256 of
	// the content, or "" if the store cannot provide it without sending the bytes over a
	// network; this may take as long as reading the content. Stat returns ErrNoContent if
	// the key has no content, and ErrEncoded if the store would serve the content with a
	// Content-Encoding.
	Stat(ctx context.Context, key string, sum bool) (size int64, d oci.Digest, err error)

	// Presign returns a URL that allows anyone, for a limited time, to GET or HEAD the
	// content with any Range. The empty string means that this store has no URLs: the caller
	// must serve the bytes from Open. Presign makes no network call. The store responds with
	// application/octet-stream attachments for private caches, regardless of the headers
	// that the content was stored with.
	Presign(ctx context.Context, method, key string) (string, error)

	// Delete deletes the content of a key. The caller must have made the key's row dead
	// before, or a row could refer to missing content. It may be repeated.
	Delete(ctx context.Context, key string) error

	Direct
}

// Direct is the part of Blobs for content that clients write straight to the store. Every
// method of a store without URLs returns ErrNoDirect.
type Direct interface {
	// PresignPut returns a request that allows anyone, until it expires, to store content of
	// size bytes with this sha256 under key, once. The store itself rejects other bytes, and
	// any bytes if the key already has content. PresignPut makes no network call.
	PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error)

	// StartParts creates an upload in parts (a multipart upload on S3). Discard deletes it.
	StartParts(ctx context.Context, key string) (Stored, error)

	// PresignPart returns a request that stores one part, any number of times until it
	// expires. The store rejects bytes with another sha256 or length. PresignPart makes no
	// network call.
	PresignPart(ctx context.Context, key string, stored Stored, part direct.Part) (direct.Request, error)

	// ListParts returns the stored parts, sorted by number. It returns ErrNoContent if the
	// upload in stored no longer exists, for example after CompleteParts or Discard.
	ListParts(ctx context.Context, key string, stored Stored) ([]direct.Part, error)

	// CompleteParts makes the stored parts the content of key if check accepts them, and
	// returns an error of check unchanged. It returns ErrTaken and ErrContended in the same
	// cases as Complete.
	CompleteParts(ctx context.Context, key string, stored Stored, check func([]direct.Part) error) error
}

// Claim allows one Append. Its nonce is unique. It has the part numbers First to
// First+Count-1; no other claim whose Append may still be in progress has any of them.
type Claim struct {
	Nonce string
	First int64
	Count int64
	// More adds count part numbers to the claim, above all numbers that any claim has. An
	// error ends the Append; usually another request has taken over the upload. If More is
	// nil, the claim cannot get more numbers.
	More func(ctx context.Context) (first, count int64, err error)
}

// Stored describes appended content that is not completed yet. State belongs to the
// adapter; it is nil for an upload without bytes.
type Stored struct {
	Size  int64
	State []byte
	// Unused is how many of the claim's part numbers, counted from the highest one down,
	// another claim may get: no write with these numbers can still arrive at the store. Only
	// Append sets it, also if it returns an error. 0 is always safe.
	Unused int64
}

// Errors of Blobs.
var (
	ErrTaken     = errors.New("the key has content already")
	ErrNoContent = errors.New("the key has no content")
	ErrTooLarge  = errors.New("the content exceeds the size limit of the store")
	ErrBusy      = errors.New("other uploads use all memory for upload parts")
	ErrEncoded   = errors.New("the object has a Content-Encoding")
	ErrNoDirect  = errors.New("the store does not support direct uploads")
)

// Metadata stores all mutable state as rows. Each write can have a condition on the row that
// it replaces. All reads are strongly consistent: a read sees every write that was
// acknowledged before the read began. Keys sort in byte order. All methods are safe for
// concurrent use by many processes.
type Metadata interface {
	// Get reads any number of rows by key. The i-th row is that of keys[i], with nil Attrs
	// if it does not exist. Each row is read with strong consistency, but all rows together
	// are not a snapshot. The keys must be distinct.
	Get(ctx context.Context, keys ...Key) ([]Row, error)

	// Query reads the rows of one partition in byte order of their sort keys.
	Query(ctx context.Context, q Query) (Page, error)

	// Update applies one write and returns the resulting row, with nil Attrs after a Delete.
	// The error is a *Conflict with a non-nil Old[0] if the condition does not hold.
	Update(ctx context.Context, w Write) (Row, error)

	// Transact applies all writes or none: at most MaxTransact writes, each to a different
	// row. If a transaction with the same token (at most 36 bytes) was applied in the last
	// ten minutes, Transact succeeds and changes nothing; an empty token never counts as the
	// same. The error is a *Conflict if a condition does not hold, and ErrContended if
	// another transaction on one of the rows is in progress.
	Transact(ctx context.Context, token string, writes ...Write) error
}

// MaxTransact is the number of writes in one transaction.
const MaxTransact = 100

// MaxPage is the number of rows in one page of a Query.
const MaxPage = 1000

// Key identifies a row. The partition key PK has 1 to 2,048 bytes, the sort key SK 1 to
// 1,024 bytes.
type Key struct{ PK, SK string }

// Attrs are the attributes of a row. Values are string, int64 or []byte; "pk" and "sk" are
// reserved names. Keys, names and values of a row must stay below 400 KiB, DynamoDB's limit
// of an item.
type Attrs map[string]any

// Row is a row as read; nil Attrs mean that it does not exist.
type Row struct {
	Key   Key
	Attrs Attrs
}

// Query selects the rows of one partition whose sort keys begin with Prefix and sort after
// After; no row needs to have the key After, and "" means from the start. Limit is from 1 to
// MaxPage; a page may have fewer rows even if its More is set.
type Query struct {
	PK     string
	Prefix string
	After  string
	Limit  int
}

// Page is one page of a Query's result. If More is set, the page has at least one row, and
// the sort key of its last row is the After of the next page.
type Page struct {
	Rows []Row
	More bool
}

// Op is the operation of a Write.
type Op int

// The operations of a Write.
const (
	// Set merges Attrs into the row, and adds the numbers of Add to int64 attributes that are
	// not in Attrs (a missing one counts as 0). It must name at least one attribute, and
	// creates the row if it does not exist.
	Set Op = iota
	// Put replaces the whole row by Attrs.
	Put
	// Delete removes the row if it exists.
	Delete
	// Check changes nothing: only its condition matters. Only Transact accepts it.
	Check
)

// Write changes one row, if its condition holds.
type Write struct {
	Key   Key
	Op    Op
	If    Cond
	Attrs Attrs
	Add   map[string]int64
}

// Conflict reports the writes whose conditions did not hold. No write was applied.
type Conflict struct {
	// Old has one entry per write: nil if its condition held, otherwise the row that the
	// condition was compared with, with nil Attrs if the row did not exist.
	Old []*Row
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("the condition of at least one of %d writes does not hold", len(c.Old))
}

// found returns the row that failed the condition of the i-th write. It returns nil if that
// condition held or if the transaction had fewer writes.
func (c *Conflict) found(i int) *Row {
	if i >= len(c.Old) {
		return nil
	}
	return c.Old[i]
}

// asConflict returns the *Conflict that err wraps, or nil.
func asConflict(err error) *Conflict {
	conflict, _ := errors.AsType[*Conflict](err)
	return conflict
}

// ErrContended reports that another write to the same row or key is in progress, or that
// DynamoDB throttles the request. The write was not applied; a later attempt may succeed.
// After any error that is neither ErrContended nor a *Conflict, the write may or may not
// have been applied.
var ErrContended = errors.New("another write is in progress")

// Errors of both ports while the store is out of service. The write may or may not have been
// applied.
var (
	// ErrUnavailable: after the adapter's retries, the store still did not answer, or
	// answered with a fault or with throttling. Throttling matches ErrContended as well, and
	// has as many attempts, but only until patience ends.
	ErrUnavailable = errors.New("the store does not answer")
	// ErrFull: the store has no space left.
	ErrFull = errors.New("the store is full")
)
