package registry

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// TestCollectCost: the work grows with the garbage, and not with the blobs beside it.
func TestCollectCost(t *testing.T) {
	few, did := collectCost(t, 10)
	many, _ := collectCost(t, 10_000)
	if few != many || did.Links != 100 || did.Blobs != 100 {
		t.Errorf("%d calls beside 10 blobs, %d beside 10,000; %+v", few, many, did)
	}
	// Both runs read the shards of the queue. Each blob costs four calls: the link is condemned and
	// deleted, the blob read and deleted.
	if limit := 2*queueShards + 100*4 + 10; few > limit {
		t.Errorf("%d calls for 100 blobs, want at most %d", few, limit)
	}
}

// collectCost counts the calls that collect 100 unused blobs of a repository, beside blobs that an
// image needs.
func collectCost(t *testing.T, needed int) (calls int, did Collected) {
	t.Helper()
	w := newWorld(t.Errorf)
	count := func(_ string, call func() error) error { calls++; return call() }
	now := time.Unix(1_000_000, 0)
	r := New(simMetadata{w, count}, simBlobs{w, count}, Options{
		Grace: simGrace, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	put := func(key Key, row any) {
		w.rows[key] = stamped(Write{Op: Put, Attrs: encode(row)}, fmt.Sprint(key)).Attrs
	}
	var refs []oci.Digest
	for i := range needed + 100 {
		d := oci.SHA256.FromBytes(fmt.Append(nil, "blob ", i))
		row := blobRow{State: blobLive, Key: directKey(fmt.Sprint(i)), Size: 9, Renewed: r.now()}
		put(objectKey(row.Key), objectRow{State: objectLive, Repo: "r", Digest: d})
		put(blobKey(d), row)
		put(linkKey("r", d), linkRow(row))
		if i < needed {
			refs = append(refs, d)
			continue
		}
		review := r.review("r", reviewRow{Kind: reviewLink, Repo: "r", Digest: d})
		w.rows[review.Key] = review.Attrs
	}
	put(manifestKey("r", oci.SHA256.FromBytes(nil)), manifestRow{State: manifestLive, Refs: packDigests(refs)})
	now = now.Add(2 * simGrace)
	for range 2 {
		got, err := r.Collect(t.Context(), MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		did.Links, did.Blobs = did.Links+got.Links, did.Blobs+got.Blobs
	}
	return calls, did
}
