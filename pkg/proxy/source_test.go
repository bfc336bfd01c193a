package proxy

import (
	"bytes"
	"io"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestReplay: a body can be read again as long as all that was read of it is kept.
func TestReplay(t *testing.T) {
	content := bytes.Repeat([]byte("pierless"), replayable/4)
	for read, want := range map[int64]bool{0: true, 1: true, replayable: true, replayable + 1: false} {
		s := newSource(bytes.NewReader(content), closing{digest: oci.SHA256.FromBytes(content)})
		first, _ := s.fromStart()
		if _, err := io.CopyN(io.Discard, first, read); err != nil {
			t.Fatal(err)
		}
		again, ok := s.fromStart()
		if ok != want {
			t.Fatalf("after %d bytes: can be read again: %v", read, ok)
		}
		if !ok {
			continue
		}
		if got, err := io.ReadAll(again); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after %d bytes: %d others came the second time, %v", read, len(got), err)
		}
		if _, err := first.Read(make([]byte, 1)); err == nil {
			t.Errorf("after %d bytes: the first reader goes on", read)
		}
	}
}
