package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// Blobs is immutable content under opaque keys: 64 lower case hexadecimal
// digits, unique per upload. A key is written once and never again; that, and
// nothing else, is what the rules rely on. All methods are safe for concurrent
// use by many processes.
type Blobs interface {
	// Put stores small content (it is held in memory) under a key. ErrTaken when
	// the key has content already, whatever it is, ErrContended when another write to
	// the key is under way.
	Put(ctx context.Context, key string, content []byte) error

	// Append reads body to its end and stores it behind what stored holds, without
	// changing what stored describes: until the caller has recorded the Stored that
	// comes back, the old one stays valid, and an Append that nobody records leaves
	// only what the adapter or a bucket lifecycle rule cleans up. Two Appends with
	// different claims never touch each other's bytes. Errors of body are returned
	// as they are; ErrTooLarge when the content outgrows what the store can hold, ErrBusy
	// when other Appends of this process kept all memory for too long.
	Append(ctx context.Context, key string, claim Claim, stored Stored, body io.Reader) (Stored, error)

	// Complete turns what was appended into the content of key. ErrTaken when the
	// key has content already or the appended parts are gone, as they are after a
	// Complete whose answer was lost: the caller must look at the key. ErrContended when
	// another write to the key is under way: completing again tells what became of it.
	Complete(ctx context.Context, key string, stored Stored) error

	// Discard drops what stored holds and keep does not. It never touches the
	// content of a completed key. Discarding twice is no error.
	Discard(ctx context.Context, key string, stored, keep Stored) error

	// Open reads length bytes of a key's content from offset; a length below zero
	// means to the end. ErrNoContent when the key has none.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat returns the size of a key's content and, with sum, its sha256 if the store can
	// tell it without sending the bytes over a network, else "". With sum it may take as
	// long as reading the content. ErrNoContent when the key has none, ErrEncoded when the
	// store would tell readers of the content to decode it.
	Stat(ctx context.Context, key string, sum bool) (size int64, d oci.Digest, err error)

	// Presign returns a URL at which anyone may, for a limited time, GET or HEAD
	// the content with any Range. The empty string: this store has no URLs, the
	// bytes must be served by Open. No network call is made. The answers are
	// application/octet-stream attachments for private caches, whatever headers the
	// content was stored with.
	Presign(ctx context.Context, method, key string) (string, error)

	// Delete removes the content of a key. Deleting twice is no error. The caller
	// has made the key's row dead before.
	Delete(ctx context.Context, key string) error

	Direct
}

// Direct is the part of Blobs for content that others write straight to the store.
// Every method of a store that has no URLs returns ErrNoDirect.
type Direct interface {
	// PresignPut returns a request with which anyone may, until it expires, make
	// content of size bytes with this sha256 that of key, once: the store itself
	// refuses other bytes, and a key that has content. No network call is made.
	PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error)

	// StartParts prepares content that comes in parts. Discard drops it again.
	StartParts(ctx context.Context, key string) (Stored, error)

	// PresignPart returns a request that stores one part, again and again until it
	// expires: the store refuses bytes of another sha256 or length. No network call.
	PresignPart(ctx context.Context, key string, stored Stored, part direct.Part) (direct.Request, error)

	// ListParts returns the parts that are there, by number. ErrNoContent when the
	// upload that stored describes is gone, as it is after CompleteParts or Discard.
	ListParts(ctx context.Context, key string, stored Stored) ([]direct.Part, error)

	// CompleteParts makes the parts that are there the content of key, if check finds
	// nothing wrong with them; its error is returned as it is. ErrTaken and ErrContended
	// as in Complete.
	CompleteParts(ctx context.Context, key string, stored Stored, check func([]direct.Part) error) error
}

// Claim is the right to append once. Its nonce is unlike that of any other claim. The
// parts First to First+Count-1 were given to no other claim on the key whose Append may
// still be under way.
type Claim struct {
	Nonce string
	First int64
	Count int64
	// More gives the claim count further parts, above all others. An error ends the
	// Append: the claim was taken over. nil: there are no more.
	More func(ctx context.Context) (first, count int64, err error)
}

// Stored describes appended content that is not completed yet. State belongs to
// the adapter; it is nil for an upload that has no bytes.
type Stored struct {
	Size  int64
	State []byte
	// Unused is how many of the claim's parts, counted from the last one, may be given
	// to another claim: the Append has ended, and no write under their numbers can
	// still arrive. It also counts beside an error of Append, and nowhere else. 0 is
	// always right.
	Unused int64
}

// Errors of Blobs.
var (
	ErrTaken     = errors.New("the key has content already")
	ErrNoContent = errors.New("the key has no content")
	ErrTooLarge  = errors.New("the content is larger than the store can hold")
	ErrBusy      = errors.New("this process handles as many bytes as it has memory for")
	ErrEncoded   = errors.New("the content would be handed out as the encoding of something else")
	ErrNoDirect  = errors.New("the store takes no uploads that go past the registry")
)

// Metadata is everything mutable, as rows that change only by conditional writes:
// every write states what it replaces. All reads are strongly consistent: they
// see each write that was answered before they began. Keys sort in byte order.
// All methods are safe for concurrent use by many processes.
type Metadata interface {
	// Get reads rows by key, any number of them; Rows[i] belongs to keys[i], with
	// nil Attrs where there is none. Each row is read strongly, the set is no
	// snapshot. The keys are all different.
	Get(ctx context.Context, keys ...Key) ([]Row, error)

	// Query reads the rows of one partition in byte order of their sort keys.
	Query(ctx context.Context, q Query) (Page, error)

	// Update applies one write and returns the row as it is afterwards (nil Attrs
	// after a Delete). The error is a *Conflict where the condition does not hold.
	Update(ctx context.Context, w Write) (Row, error)

	// Transact applies all writes or none; at most MaxTransact, each to another
	// row. A token (at most 36 bytes) that was applied in the last ten minutes is answered
	// with success and changes nothing. The error is a *Conflict where a condition
	// does not hold, ErrContended where another transaction was in the way.
	Transact(ctx context.Context, token string, writes ...Write) error
}

// MaxTransact is the number of writes in one transaction.
const MaxTransact = 100

// MaxPage is the number of rows in one page of a Query.
const MaxPage = 1000

// Key names a row: the partition and the sort key, at most 2,048 and 1,024 bytes,
// neither empty.
type Key struct{ PK, SK string }

// Attrs are the attributes of a row. Values are string, int64 or []byte; no name is "pk"
// or "sk". A whole row stays under 400 KB.
type Attrs map[string]any

// Row is a row as it was read; nil Attrs means that there is none.
type Row struct {
	Key   Key
	Attrs Attrs
}

// Query selects rows of one partition whose sort keys begin with Prefix and come
// after After, which itself need not exist ("": from the start). Limit is from 1
// to MaxPage; fewer rows may come back even where More says that there are others.
type Query struct {
	PK     string
	Prefix string
	After  string
	Limit  int
}

// Page is a piece of a Query's answer. With More, the next page begins After the
// last row, and there is at least one row here.
type Page struct {
	Rows []Row
	More bool
}

// Op is what a Write does.
type Op int

// The operations of a Write.
const (
	// Set merges Attrs into the row and adds Add to other int64 attributes (missing ones
	// count as 0). It changes at least one attribute. A row that is not there is created.
	Set Op = iota
	// Put replaces the whole row by Attrs.
	Put
	// Delete removes the row; one that is not there is no error.
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

// Conflict says whose conditions did not hold. Nothing was changed.
type Conflict struct {
	// Old has one entry per write: nil where the condition held, else the row as
	// it was found, with nil Attrs where there was none.
	Old []*Row
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("conditions of %d writes do not all hold", len(c.Old))
}

// found returns the row that a write of a failed transaction met, nil if its
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

// ErrContended is returned where another write to the same row was under way, or
// the store asks for fewer requests. Nothing was changed; a later try may succeed.
// After any error that is neither ErrContended nor a *Conflict, a write may have
// been applied or not.
var ErrContended = errors.New("another write is under way")

// Errors of both ports for a store that cannot serve now. As after any other error, a write
// may have been applied or not.
var (
	// ErrUnavailable: the store did not answer, or answered that it cannot, although the
	// adapter has asked again.
	ErrUnavailable = errors.New("the store does not answer")
	// ErrFull: there is no room for what was to be stored.
	ErrFull = errors.New("the store is full")
)
