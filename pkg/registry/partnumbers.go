package registry

import (
	"context"
	"fmt"
	"time"
)

const (
	// claimParts is the largest number of part numbers that one write takes; a claim that
	// needs more takes them while its body arrives. A process that dies gives none back, so
	// an upload on S3 survives 156 such crashes (9,999 numbers / 64).
	claimParts = 64
	// knownLengthPart is the minimum size of a part in bytes, from which partsFor derives
	// the number of parts of a body of known length.
	knownLengthPart = 5 << 20
	// giveBackTime limits the write that gives part numbers back.
	giveBackTime = 5 * time.Second
)

// partsFor returns how many part numbers to claim for a body of length bytes. A negative
// length means that it is unknown.
func partsFor(length int64) int64 {
	if length < 0 {
		return claimParts
	}
	return min(length/knownLengthPart+1, claimParts)
}

// NextPart only grows, with two exceptions: AppendUpload (when it records a chunk) and giveBack
// lower it, to give back the numbers that an ended Append did not use. Both writes require the
// version that the claim's last write set, and that write raised NextPart by at least as much.
// No other write came between the two, so NextPart never falls below the numbers of another
// claim, even if the store applies a write of the claim a second time, much later.

// extend adds claimParts part numbers to the claim of s, unless another request has taken over
// the upload. It also changes the version of the session, so a late repetition of this write
// fails its own condition.
func (r *Registry) extend(ctx context.Context, s *session) (first, count int64, err error) {
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Add: map[string]int64{attrNextPart: claimParts},
		Attrs: encode(objectRow{Expires: r.sessionEnd()}), // the rest of the body may take long to arrive
	})
	if conflict := asConflict(err); conflict != nil {
		return 0, 0, r.lostClaim(conflict, s.Repo)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("extend claim on upload session: %w", err)
	}
	s.uploadRow = decode[uploadRow](row.Attrs)
	return s.NextPart - claimParts, claimParts, nil
}

// giveBack makes the unused part numbers of a claim available to later claims if the claim's
// chunk will not be recorded. It works even if the client has disconnected. If it fails, the
// upload cannot use these numbers any more.
func (r *Registry) giveBack(ctx context.Context, s *session, unused int64) {
	if unused <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Add: map[string]int64{attrNextPart: -unused},
	})
	if asConflict(err) == nil { // a conflict means that another request has taken over
		r.cleanUp("part numbers of a chunk", s.key, err)
	}
}
