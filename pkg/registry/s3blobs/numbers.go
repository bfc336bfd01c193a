package s3blobs

import (
	"context"
	"errors"

	"github.com/pierless/pierless/pkg/registry"
)

const (
	minPart   = 5 << 20  // required by S3 of every part but the last
	smallPart = 10 << 20 // up to part number 5,000: 50 GB
	largePart = 40 << 20 // from there on: 250 GB in all
	manyParts = 5000

	// lastNumber is the highest number that S3 takes. It is Complete's, for a tail
	// that has no part yet; Append never uses it.
	lastNumber = 10000
)

var errOldClaim = errors.New("s3blobs: the claim is older than its upload")

// numbers hands out the part numbers that one Append may use.
//
// A part number that two Appends of one multipart upload use is lost data: the
// second overwrites the first, and the second may be a zombie, whose claim was
// given up long ago. S3's ETags do not prevent it: they are MD5 sums, and a client
// can produce two equal ones. So: no two Appends of one upload ever write under the same
// number, unless all writes of the first were answered before the second began.
//
// An upload U is created by one Append C, with a claim whose first slot is First. No other
// Append knows U until C has ended and its State is recorded, so within C the
// numbers 1, 2, ... base are its own, and it uses none of its slots: all of them go back.
// The State records base and slot = First, and both are handed on unchanged to every
// later State of U. A later Append uses for its slot s the number
//
//	base+1 + (s-slot)
//
// Claims that continue U were given out after C's Append was recorded. Slots of a key
// are given out in increasing order, but for those that an Append gives back when it has
// ended, and C gave back none below First: so s >= slot, and the number is above base,
// apart from those of C. The mapping is one to one, so two Appends
// share a number only if they share a slot: one that the first gave back.
//
// An Append gives back the slots behind the last one that it must keep. If it
// succeeded, those are all that it took: its State names the parts, and the speculative
// one of its tail. If it failed, no State will name its parts, and it is enough that none
// of them can still arrive and overwrite another's. A part that S3 acknowledged at the
// first attempt cannot: no second copy was sent. All others are
// kept: a part that failed, was cancelled or was repeated may still be on its way. A
// process that dies gives nothing back.
//
// A later claim has higher slots than all that are recorded: so numbers grow along the
// content, which is the order S3 puts parts in.
type numbers struct {
	own   bool // the numbers of an upload that this Append makes
	base  int
	slot  int64
	claim registry.Claim

	next, end int64 // slots that are left
	claimed   int64 // slots, in all
	taken     int64 // slots, so far
	last      int   // the number that was taken last
}

// numbersFor returns the numbers of an Append that continues an upload, or of one that may
// create its own.
func numbersFor(s state, claim registry.Claim) (numbers, error) {
	n := numbers{
		own: s.upload == "", base: s.base, slot: s.slot, claim: claim,
		next: claim.First, end: claim.First + claim.Count, claimed: claim.Count,
	}
	if claim.Count < 0 || !n.own && claim.First < s.slot {
		return numbers{}, errOldClaim
	}
	return n, nil
}

// upcoming returns the next number, or lastNumber and more if there is none.
func (n *numbers) upcoming() int64 {
	if n.own {
		return int64(n.last) + 1
	}
	if ahead := n.next - n.slot; ahead < lastNumber {
		return int64(n.base) + 1 + ahead
	}
	return lastNumber
}

// spare reports whether a number can be taken without a call.
func (n *numbers) spare() bool {
	return n.upcoming() < lastNumber && (n.own || n.next < n.end)
}

// take returns the next number. The error is ErrTooLarge if all numbers are used; any other
// error means that the claim was lost.
func (n *numbers) take(ctx context.Context) (int, error) {
	if !n.spare() && n.upcoming() < lastNumber {
		if err := n.more(ctx); err != nil {
			return 0, err
		}
	}
	if !n.spare() {
		return 0, registry.ErrTooLarge
	}
	n.last = int(n.upcoming()) // below lastNumber
	if !n.own {
		n.next, n.taken = n.next+1, n.taken+1
	}
	return n.last, nil
}

// more extends the claim.
func (n *numbers) more(ctx context.Context) error {
	if n.claim.More == nil {
		return nil
	}
	first, count, err := n.claim.More(ctx)
	if err != nil {
		return err
	}
	if first < n.end || count < 0 {
		return errOldClaim
	}
	n.next, n.end, n.claimed = first, first+count, n.claimed+count
	return nil
}

// unused returns how many slots go back if the first kept slots of the claim must be kept.
func (n *numbers) unused(kept int64) int64 { return n.claimed - kept }

// size returns the length of the next part. Only late parts are large, so a function with
// little memory never handles one.
func (n *numbers) size() int {
	if n.upcoming() > manyParts {
		return largePart
	}
	return smallPart
}
