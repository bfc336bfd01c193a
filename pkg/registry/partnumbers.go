package registry

import (
	"context"
	"fmt"
	"time"
)

const (
	// claimParts is the largest number of part numbers that one write takes: a claim
	// that needs more takes them while its body arrives. A process that dies gives
	// none back, so an upload on S3 survives 156 deaths.
	claimParts = 64
	// knownLengthPart is the least size of a part of a body whose length is known.
	knownLengthPart = 5 << 20
	// giveBackTime limits the write that gives part numbers back.
	giveBackTime = 5 * time.Second
)

// partsFor returns the number of part numbers to claim for a body of length bytes, negative
// if unknown.
func partsFor(length int64) int64 {
	if length < 0 {
		return claimParts
	}
	return min(length/knownLengthPart+1, claimParts)
}

// NextPart only grows, except when a chunk is recorded and in giveBack: an Append that has
// ended gives back its unused numbers by lowering NextPart. Both writes require the version
// of the claim's last write, which raised NextPart by at least as much. No other write came
// between the two, so NextPart never falls below the numbers of another claim, even if a
// write of the claim is applied a second time, much later.

// extend adds part numbers to a claim that has not been taken over. Each extension changes
// the version that the session's next write must require: a late repetition of this write
// changes nothing.
func (r *Registry) extend(ctx context.Context, s *session) (first, count int64, err error) {
	row, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Add: map[string]int64{attrNextPart: claimParts},
		Attrs: encode(objectRow{Expires: r.sessionEnd()}), // the rest may take long
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

// giveBack returns the part numbers of a claim whose chunk will not be recorded, even if
// the client has gone. If it fails, they are lost to the upload.
func (r *Registry) giveBack(ctx context.Context, s *session, unused int64) {
	if unused <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(s.key), Op: Set, If: unchanged(s.Version), Add: map[string]int64{attrNextPart: -unused},
	})
	if asConflict(err) == nil { // else another request has taken over
		r.cleanUp("part numbers of a chunk", s.key, err)
	}
}
