package s3blobs

import (
	"context"
	"errors"

	"github.com/pierless/pierless/pkg/registry"
)

const (
	minPart   = 5 << 20  // what S3 demands of every part but the last
	smallPart = 10 << 20 // up to part number 5,000: 50 GB
	largePart = 40 << 20 // from there on: 250 GB in all
	manyParts = 5000

	// lastNumber is the highest number that S3 takes. It is Complete's, for a tail
	// that has no part yet; Append never uses it.
	lastNumber = 10000
)

var errOldClaim = errors.New("s3blobs: the claim is older than the upload that it continues")

// numbers hands out the part numbers that one Append may use.
//
// A part number that two Appends of one multipart upload use is lost data: the
// second overwrites the first, and the second may be a zombie, whose claim was
// given up long ago. S3's ETags would not save us: they are MD5 sums, of which a
// client can make two alike. So: no two Appends of one upload ever write under the same
// number, unless all writes of the first were answered before the second began.
//
// An upload U is made by one Append, with a claim whose first slot is First. Nobody
// else knows U until that Append has ended and its State is recorded, so within it the
// numbers 1, 2, ... base are its own, and it uses none of its slots: all of them go back.
// The State records base and slot = First, and both are handed on unchanged to every
// later State of U. A later Append uses for its slot s the number
//
//	base+1 + (s-slot)
//
// Claims that continue U were given out after C's Append was recorded. Slots of a key
// are given out in increasing order, but for those that an Append gives back when it has
// ended, and C gave back none below First: so s >= slot, and the number is above base,
// apart from those of the Append that made U. The mapping is one to one, so two Appends
// share a number only if they share a slot: one that the first gave back.
//
// An Append gives back the slots behind the last one that it must keep. If it
// succeeded, those are all that it took: its State names the parts, and the speculative
// one of its tail. If it failed, nobody will name its parts, and what matters is that
// none of them can arrive any more and overwrite another's. A part that S3 took at the
// first attempt cannot: the answer came, and nothing was sent twice. All others are
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

// numbersFor are the numbers of an Append that continues an upload, or of one that
// may make its own.
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

// upcoming is the number that would be taken next, lastNumber or more where there is none.
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

// take returns the next number. ErrTooLarge when they are used up; any other error says
// that the claim was lost.
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

// unused is how many slots go back where the first kept of those that were taken do not.
func (n *numbers) unused(kept int64) int64 { return n.claimed - kept }

// size is how long the next part should be. Parts grow late, so that a function
// with little memory never meets the large ones.
func (n *numbers) size() int {
	if n.upcoming() > manyParts {
		return largePart
	}
	return smallPart
}
