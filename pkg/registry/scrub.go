package registry

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// Scrub compares the objects of the store with the rows that refer to them. Nothing else in this
// package needs a list of the store; no function links it.
//
// Requests and sweeps run meanwhile, and neither list is a snapshot. So every difference is only a
// suspicion, until strongly consistent reads of the rows, with a read of the object between them,
// have shown that it was there at one time.

// Problem is a kind of Finding.
type Problem string

// The problems that Scrub finds. The first four concern an object, the others the rows.
const (
	Orphan    Problem = "orphan"    // an object without a row: nothing refers to it
	Lost      Problem = "lost"      // an object that rows refer to, and that the store does not have
	WrongSize Problem = "size"      // an object with another size than its row
	Damaged   Problem = "damaged"   // an object with another digest, or with a Content-Encoding
	DeadKey   Problem = "key"       // a blob or manifest whose content key is dead or has no row
	Unnamed   Problem = "unnamed"   // a live content key that no blob or manifest has
	WrongLink Problem = "link"      // a link without a blob, or with another key than its blob
	Missing   Problem = "missing"   // a manifest refers to a blob that its repository does not have
	NoContent Problem = "content"   // a manifest without its bytes, or bytes without their manifest
	NoTarget  Problem = "no-target" // a tag that points at no manifest
)

// Repair is the result of a repair.
type Repair string

// The results of a repair.
const (
	RepairNone Repair = ""     // nothing was changed
	RepairDone Repair = "done" // nothing is left to do; the sweep frees objects without use
	RepairPush Repair = "push" // the registry no longer claims to have the content: a push sends it again
)

// orphanAge is the age from which a repair deletes an object without a row. It could do so at once,
// because every upload has a row before it has an object. But an operator who has restored the table
// to a wrong time needs the objects when he restores it to another one.
const orphanAge = 8 * 24 * time.Hour

// Finding is a difference between objects and rows.
type Finding struct {
	Problem    Problem    `json:"problem"`
	Key        string     `json:"key,omitempty"`        // content key
	Digest     oci.Digest `json:"digest,omitempty"`     // of the blob or manifest; of an orphan with Hash: of its bytes
	Repository string     `json:"repository,omitempty"` // of a link, a tag or a manifest
	Tag        string     `json:"tag,omitempty"`
	Manifest   oci.Digest `json:"manifest,omitempty"` // the manifest that refers to a missing blob
	Size       int64      `json:"size,omitempty"`     // of the object, in bytes
	Expected   int64      `json:"expected,omitempty"` // the size in the row, in bytes
	Modified   time.Time  `json:"modified,omitzero"`  // when an orphan was stored
	Contains   string     `json:"contains,omitempty"` // media type of an orphan that is a manifest or a config
	Created    string     `json:"created,omitempty"`  // creation time in an orphaned config
	Repair     Repair     `json:"repair,omitempty"`

	row Row // as it was when the finding was confirmed
}

// Image is a manifest that cannot be pulled, or only in part.
type Image struct {
	Repository string       `json:"repository"`
	Digest     oci.Digest   `json:"digest"`
	Tags       []string     `json:"tags"`
	Broken     []oci.Digest `json:"broken"` // the content that is lost or damaged
}

// Scrubbed is the result of Scrub.
type Scrubbed struct {
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"` // size of the objects
	Hashed   int       `json:"hashed"`
	Read     int64     `json:"read"` // bytes that were read for their digests
	Rows     int       `json:"rows"`
	Findings []Finding `json:"findings"`
	Images   []Image   `json:"images"` // that need a push
	// After is the content key with which ScrubOptions.After continues. It is empty if all objects
	// have been read.
	After string `json:"after,omitempty"`
	// Complete is true if the scrub has reached its end.
	Complete bool `json:"complete"`
}

// Clean reports whether there is nothing left to do.
func (s Scrubbed) Clean() bool {
	return s.Complete && !slices.ContainsFunc(s.Findings, func(f Finding) bool { return f.Repair != RepairDone })
}

// ScrubOptions configure Scrub.
type ScrubOptions struct {
	// Hash reads every object and compares its digest, after the object with the key After.
	Hash  bool
	After string
	// Rate limits the bytes that are read per second; 0 means no limit.
	Rate int64
	// Repair mends the findings.
	Repair bool
	// Progress, if non-nil, is called after each step, never concurrently.
	Progress func(Scrubbed)
}

// scrubber is one run of Scrub.
type scrubber struct {
	*Registry
	options  ScrubOptions
	objects  ObjectLister
	rows     RowScanner
	index    objectIndex
	pace     pace
	scrubbed Scrubbed
}

// Scrub lists all objects, reads all rows, and returns what does not fit together. It may run beside
// requests, sweeps and other scrubs. It needs 16 to 40 bytes of memory per object, and about 1 KB
// per finding. After an error, the result has the findings until then.
func (r *Registry) Scrub(ctx context.Context, objects ObjectLister, rows RowScanner, o ScrubOptions) (Scrubbed, error) {
	s := &scrubber{Registry: r, options: o, objects: objects, rows: rows}
	s.pace = pace{rate: o.Rate, clock: r.opts.Now, sleep: r.opts.Sleep}
	s.scrubbed.Findings, s.scrubbed.Images = []Finding{}, []Image{}
	s.scrubbed.After = o.After
	for _, step := range []func(context.Context) error{s.listObjects, s.scanRows, s.findImages, s.repairAll} {
		if err := step(ctx); err != nil {
			return s.scrubbed, err
		}
	}
	s.scrubbed.Complete = true
	return s.scrubbed, nil
}

func (s *scrubber) progress() {
	if s.options.Progress != nil {
		s.options.Progress(s.scrubbed)
	}
}

func (s *scrubber) add(found ...Finding) { s.scrubbed.Findings = append(s.scrubbed.Findings, found...) }

// getAll reads rows by key, each key once.
func (s *scrubber) getAll(ctx context.Context, keys []Key) (map[Key]Row, error) {
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Or(cmp.Compare(a.PK, b.PK), cmp.Compare(a.SK, b.SK)) })
	keys = slices.Compact(keys)
	have := make(map[Key]Row, len(keys))
	if len(keys) == 0 {
		return have, nil
	}
	rows, err := s.meta.Get(ctx, keys...)
	for _, row := range rows {
		have[row.Key] = row
	}
	return have, wrap("read rows", err)
}

// getOne reads a row.
func (s *scrubber) getOne(ctx context.Context, key Key) (Row, error) {
	rows, err := s.meta.Get(ctx, key)
	if err != nil {
		return Row{}, wrap("read row", err)
	}
	return rows[0], nil
}
