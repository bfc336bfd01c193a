//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestMemory pushes a layer of 2 GiB in one request and reads it back: the registry must not keep
// it in memory.
func TestMemory(t *testing.T) {
	const (
		size  = 2 << 30
		limit = 200 * mib
	)
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			start := time.Now()
			upload := s.appendStream(t, s.startUpload(t, "e2e/memory"), newNoise(3, 0, size))
			t.Logf("PATCH of 2 GiB: %.1f s", time.Since(start).Seconds())
			digest := s.finishAndCheck(t, store, upload, "e2e/memory", 3, size)
			s.checkRange(t, digest, 3, 1<<30-5, 3*mib)

			peak := s.peakMemory(t)
			t.Logf("push and pull: %.1f s, peak memory of the server %d MiB", time.Since(start).Seconds(), peak/mib)
			if peak > limit {
				t.Errorf("peak memory %d MiB, want at most %d", peak/mib, limit/mib)
			}
		})
	}
}

// checkRange reads count bytes at offset and compares them.
func (s *server) checkRange(t *testing.T, digest string, seed byte, offset, count int64) {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.host+"/v2/e2e/memory/blobs/"+digest, nil)
	must(t, err)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+count-1))
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	must(t, err)
	want, err := io.ReadAll(newNoise(seed, offset, offset+count))
	must(t, err)
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, want) {
		t.Fatalf("GET with %s: %s, %d bytes, equal: %v", req.Header.Get("Range"), resp.Status, len(got), bytes.Equal(got, want))
	}
}
