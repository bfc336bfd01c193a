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
// unique per upload. A key is written once and never again; the rules rely on this and on
// nothing else. All methods are safe for concurrent use by many processes.
type Blobs interface {
	// Put stores small content, which is held in memory, under a key. It returns ErrTaken if
	// the key has any content already, ErrContended if another write to the key is under
	// way.
	Put(ctx context.Context, key string, content []byte) error

	// Append reads body to its end and stores it after the bytes in stored, which stays
	// valid until the caller has recorded the returned Stored. If the caller never does, the
	// adapter or a bucket lifecycle rule cleans up. Two Appends with different claims never
	// touch each other's bytes. Errors of body are returned unchanged. Append returns
	// ErrTooLarge if the content exceeds the limit of the store, ErrBusy if other Appends of
	// this process held all memory for too long.
	Append(ctx context.Context, key string, claim Claim, stored Stored, body io.Reader) (Stored, error)

	// Complete makes the appended bytes the content of key. It returns ErrTaken if the key
	// has content already or the appended parts are gone, as they are after a Complete whose
	// answer was lost: the caller must look at the key. It returns ErrContended if another
	// write to the key is under way: repeating Complete shows the outcome.
	Complete(ctx context.Context, key string, stored Stored) error

	// Discard drops the bytes in stored that are not in keep. It never touches the content
	// of a completed key. It may be repeated.
	Discard(ctx context.Context, key string, stored, keep Stored) error

	// Open reads length bytes of a key's content from offset; a negative length means to the
	// end. It returns ErrNoContent if the key has no content.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat returns the size of a key's content and, with sum, its sha256 if the store can
	// compute it without sending the bytes over a network, else "". With sum it may take as
	// long as reading the content. It returns ErrNoContent if the key has no content,
	// ErrEncoded if the store would send the content with a Content-Encoding.
	Stat(ctx context.Context, key string, sum bool) (size int64, d oci.Digest, err error)

	// Presign returns a URL that allows anyone, for a limited time, to GET or HEAD the
	// content with any Range. The empty string means that this store has no URLs, and the
	// bytes must be served by Open. It makes no network call. Responses are
	// application/octet-stream attachments for private caches, whatever headers the content
	// was stored with.
	Presign(ctx context.Context, method, key string) (string, error)

	// Delete removes the content of a key, whose row the caller has made dead before. It may
	// be repeated.
	Delete(ctx context.Context, key string) error

	Direct
}

// Direct is the part of Blobs for content that clients write straight to the store. Every
// method of a store without URLs returns ErrNoDirect.
type Direct interface {
	// PresignPut returns a request that allows anyone, until it expires, to store content of
	// size bytes with this sha256 under key, once: the store itself rejects other bytes, and
	// a key with content. It makes no network call.
	PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error)

	// StartParts prepares an upload in parts, which Discard drops again.
	StartParts(ctx context.Context, key string) (Stored, error)

	// PresignPart returns a request that stores one part, any number of times until it
	// expires: the store rejects bytes of another sha256 or length. It makes no network
	// call.
	PresignPart(ctx context.Context, key string, stored Stored, part direct.Part) (direct.Request, error)

	// ListParts returns the stored parts, by number. It returns ErrNoContent if the upload
	// in stored is gone, as it is after CompleteParts or Discard.
	ListParts(ctx context.Context, key string, stored Stored) ([]direct.Part, error)

	// CompleteParts makes the stored parts the content of key if check accepts them; an
	// error of check is returned unchanged. It returns ErrTaken and ErrContended as Complete
	// does.
	CompleteParts(ctx context.Context, key string, stored Stored, check func([]direct.Part) error) error
}

// Claim allows one Append. No two claims share a nonce. No other claim on the key whose
// Append may still be under way has the part numbers First to First+Count-1.
type Claim struct {
	Nonce string
	First int64
	Count int64
	// More adds count part numbers to the claim, above all others. An error ends the Append:
	// another request has taken the claim over. A nil More means that there are no more.
	More func(ctx context.Context) (first, count int64, err error)
}

// Stored describes appended content that is not completed yet. State belongs to the
// adapter; it is nil for an upload without bytes.
type Stored struct {
	Size  int64
	State []byte
	// Unused is the number of the claim's part numbers, counted from the last one, that may
	// be given to another claim: the Append has ended, and no write with these numbers can
	// still arrive. Append also sets it beside an error; nothing else sets it. 0 is always
	// safe.
	Unused int64
}

// Errors of Blobs.
var (
	ErrTaken     = errors.New("the key has content already")
	ErrNoContent = errors.New("the key has no content")
	ErrTooLarge  = errors.New("the content exceeds the size limit of the store")
	ErrBusy      = errors.New("the memory for upload parts is in use")
	ErrEncoded   = errors.New("the object has a Content-Encoding")
	ErrNoDirect  = errors.New("the store does not support direct uploads")
)

// Metadata stores everything mutable as rows that change only by conditional writes: every
// write states what it replaces. All reads are strongly consistent: they see each write
// that was answered before they began. Keys sort in byte order. All methods are safe for
// concurrent use by many processes.
type Metadata interface {
	// Get reads any number of rows by key. Rows[i] belongs to keys[i], with nil Attrs if it
	// does not exist. Each row is read strongly, but the set is not a snapshot. All keys
	// must differ.
	Get(ctx context.Context, keys ...Key) ([]Row, error)

	// Query reads the rows of one partition in byte order of their sort keys.
	Query(ctx context.Context, q Query) (Page, error)

	// Update applies one write and returns the resulting row, with nil Attrs after a Delete.
	// The error is a *Conflict if the condition does not hold.
	Update(ctx context.Context, w Write) (Row, error)

	// Transact applies all writes or none; at most MaxTransact, each to another row. If a
	// transaction with the same token (at most 36 bytes) was applied in the last ten
	// minutes, Transact succeeds and changes nothing; an empty token is like no other. The
	// error is a *Conflict if a condition does not hold, ErrContended if another transaction
	// was in the way.
	Transact(ctx context.Context, token string, writes ...Write) error
}

// MaxTransact is the number of writes in one transaction.
const MaxTransact = 100

// MaxPage is the number of rows in one page of a Query.
const MaxPage = 1000

// Key identifies a row: the partition key of 1 to 2,048 bytes and the sort key of 1 to
// 1,024 bytes.
type Key struct{ PK, SK string }

// Attrs are the attributes of a row. Values are string, int64 or []byte; "pk" and "sk" are
// reserved names. A whole row stays under 400 KB.
type Attrs map[string]any

// Row is a row as read; nil Attrs mean that it does not exist.
type Row struct {
	Key   Key
	Attrs Attrs
}

// Query selects rows of one partition whose sort keys begin with Prefix and come after
// After, which itself need not exist ("": from the start). Limit is from 1 to MaxPage; a
// page may have fewer rows even if More is set.
type Query struct {
	PK     string
	Prefix string
	After  string
	Limit  int
}

// Page is a piece of a Query's answer. If More is set, it has at least one row, and the
// next page begins After the last one.
type Page struct {
	Rows []Row
	More bool
}

// Op is the operation of a Write.
type Op int

// The operations of a Write.
const (
	// Set merges Attrs into the row and adds Add to other int64 attributes (missing ones
	// count as 0). It changes at least one attribute, and creates the row if it does not
	// exist.
	Set Op = iota
	// Put replaces the whole row by Attrs.
	Put
	// Delete removes the row if it exists.
	Delete
	// Check changes nothing; only in Transact.
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

// Conflict reports the writes whose conditions did not hold. Nothing was changed.
type Conflict struct {
	// Old has one entry per write: nil if its condition held, else the row as it was found,
	// with nil Attrs if it did not exist.
	Old []*Row
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("conditions of %d writes do not all hold", len(c.Old))
}

// found returns the row that a write of a failed transaction met, nil if the write's
// condition held.
func (c *Conflict) found(i int) *Row {
	if i >= len(c.Old) {
		return nil
	}
	return c.Old[i]
}

// asConflict returns the *Conflict in an error, nil if there is none.
func asConflict(err error) *Conflict {
	conflict, _ := errors.AsType[*Conflict](err)
	return conflict
}

// ErrContended reports that another write to the same row was under way, or that the store
// throttles. Nothing was changed; a later try may succeed. After any error that is neither
// ErrContended nor a *Conflict, a write may have been applied or not.
var ErrContended = errors.New("another write is under way")

// Errors of both ports while the store cannot serve. As after any other error, a write may
// have been applied or not.
var (
	// ErrUnavailable: the store did not answer, or answered with a fault or throttling, even
	// after the adapter's retries.
	ErrUnavailable = errors.New("the store does not answer")
	// ErrFull: the store has no room left.
	ErrFull = errors.New("the store is full")
)
