package s3blobs

import (
	"errors"
	"math"

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

// numbers hands out the part numbers that one Append may use: next to end-1.
//
// A part number that two Appends of one multipart upload use is lost data: the
// second overwrites the first, and the second may be a zombie, whose claim was
// given up long ago. So: no two Appends of one upload ever use the same number.
//
// An upload U is made by one Append, with the claim C = [First, First+Count) of
// slots. Nobody else knows U until that Append has ended and its State is
// recorded, so within it the numbers 1, 2, ... base are its own, whatever Count
// is. The State records base and slot = First+Count, and both are handed on
// unchanged to every later State of U. A later Append with the slots
// [first, first+count) uses the numbers
//
//	base+1 + (s-slot)  for s in [first, first+count)
//
// Claims that continue U were given out after C was, and slots of a key are given
// out in increasing order: so s >= slot, and the number is above base, apart from
// those of the Append that made U. The slots of two claims are disjoint and
// the mapping is one to one: so are their numbers. And as a later claim has higher
// slots, numbers grow along the content, which is the order S3 puts parts in.
type numbers struct {
	next, end int
}

// numbersFor are the numbers of an Append that continues an upload, or of one that
// may make its own.
func numbersFor(s state, claim registry.Claim) (numbers, error) {
	if s.upload == "" {
		return numbers{next: 1, end: lastNumber}, nil
	}
	ahead := claim.First - s.slot
	if ahead < 0 || claim.Count < 0 {
		return numbers{}, errOldClaim
	}
	if ahead >= lastNumber {
		return numbers{next: lastNumber, end: lastNumber}, nil
	}
	first := min(int64(s.base)+1+ahead, lastNumber)
	count := min(claim.Count, math.MaxInt32)
	return numbers{next: int(first), end: int(min(first+count, lastNumber))}, nil
}

// take returns the next number, false when they are used up.
func (n *numbers) take() (number int, ok bool) {
	if n.next >= n.end {
		return 0, false
	}
	n.next++
	return n.next - 1, true
}

// size is how long the next part should be. Parts grow late, so that a function
// with little memory never meets the large ones.
func (n *numbers) size() int {
	if n.next > manyParts {
		return largePart
	}
	return smallPart
}
