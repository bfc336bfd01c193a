package registry

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestSmallBodyTakesMemoryAsItComes: a client that announces much and sends little has
// little memory.
func TestSmallBodyTakesMemoryAsItComes(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		_, err := readSmall(Chunk{Length: smallBlob, Body: breaking(1000)})
		wantCode(t, "broken off", err, oci.BlobUploadInvalid)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > smallBlob {
		t.Errorf("20 bodies of 1,000 bytes took %d bytes", took)
	}
}

func TestReadSmall(t *testing.T) {
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, smallBlob} {
		content := bytes.Repeat([]byte{7}, size)
		have, err := readSmall(Chunk{Length: int64(size), Body: bytes.NewReader(content)})
		if err != nil || !bytes.Equal(have, content) {
			t.Errorf("%d bytes: %d came, %v", size, len(have), err)
		}
		for _, other := range []int64{int64(size) + 1, int64(size) - 1} {
			_, err := readSmall(Chunk{Length: other, Body: bytes.NewReader(content)})
			if other >= 0 {
				wantCode(t, "another length", err, oci.SizeInvalid)
			}
		}
		if size == 0 {
			continue
		}
		_, err = readSmall(Chunk{Length: int64(size), Body: io.MultiReader(bytes.NewReader(content[1:]), errorReader{})})
		if !errors.Is(err, errGone) {
			t.Errorf("%d bytes that break off: %v", size, err)
		}
	}
}
