package proxy

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// TestReplay: a body can be read again as long as the source keeps its beginning.
func TestReplay(t *testing.T) {
	content := bytes.Repeat([]byte("pierless"), replayable/4)
	for read, want := range map[int64]bool{0: true, 1: true, replayable: true, replayable + 1: false} {
		s := newSource(upload.Finish{Digest: oci.SHA256.FromBytes(content), Chunk: upload.Chunk{Body: bytes.NewReader(content)}})
		first, _ := s.fromStart()
		// bufio fails on a reader that keeps returning nothing.
		if _, err := bufio.NewReader(io.LimitReader(first, read)).Discard(int(read)); err != nil {
			t.Fatal(err)
		}
		again, ok := s.fromStart()
		if ok != want {
			t.Fatalf("after %d bytes: can be read again: %v", read, ok)
		}
		if !ok {
			continue
		}
		if got, err := bufio.NewReaderSize(again, len(content)).Peek(len(content)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after %d bytes: %d others came the second time, %v", read, len(got), err)
		}
		if _, err := first.Read(make([]byte, 1)); err == nil {
			t.Errorf("after %d bytes: the first reader still works", read)
		}
	}
}
