package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// stuckBlobs hands out zeros before an offset, and from there on fails, or nothing ever
// comes.
type stuckBlobs struct {
	Blobs
	from  int64
	fault error
}

func (b stuckBlobs) Open(ctx context.Context, _ string, offset, length int64) (io.ReadCloser, error) {
	if offset < b.from {
		return io.NopCloser(bytes.NewReader(make([]byte, length))), nil
	}
	if b.fault == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, b.fault
}

// TestRehash: a call ends in time even if the store does not answer, and keeps its
// progress.
func TestRehash(t *testing.T) {
	const size = 3 * windowSize
	for name, test := range map[string]struct {
		store stuckBlobs
		n     int64
		err   error
		took  time.Duration
	}{
		"all":                    {stuckBlobs{from: size}, size, nil, 0},
		"the store is stuck":     {stuckBlobs{}, 0, &oci.Error{Code: oci.Unavailable}, 20 * time.Second},
		"it gets stuck":          {stuckBlobs{from: windowSize}, windowSize, nil, 15 * time.Second},
		"it fails":               {stuckBlobs{fault: errInjected}, 0, errInjected, time.Second},
		"it fails after a while": {stuckBlobs{from: 2 * windowSize, fault: errInjected}, 2 * windowSize, nil, time.Second},
		"the content is no more": {stuckBlobs{fault: ErrNoContent}, 0, &oci.Error{Code: oci.BlobUploadUnknown}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(nil, test.store, Options{})
				began, hs := time.Now(), upload.NewHashes()
				n, err := r.rehash(t.Context(), "key", 0, size, hs)
				if n != test.n || !errors.Is(err, test.err) {
					t.Errorf("%d bytes, %v", n, err)
				}
				if took := time.Since(began); took > test.took {
					t.Errorf("it took %v", took)
				}
				if got, _ := hs.Digest(oci.SHA256); got != oci.SHA256.FromBytes(make([]byte, n)) {
					t.Error("other bytes were hashed than were counted")
				}
			})
		})
	}
}
