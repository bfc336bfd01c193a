package client

import (
	"io"
	"testing"
)

// TestBufferIsGivenBack: after a request has ended its body is not read. The
// transport may still hold it, and the next chunk is in the same buffer.
func TestBufferIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(*source){"success": (*source).close, "failure": func(s *source) { _ = s.discard() }} {
		content, src := []byte("the first chunk"), &source{}
		body, err := src.open(bytesBody(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(body, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		end(src)
		copy(content, "another chunk.")
		if n, err := body.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Errorf("%s: %d bytes of the next chunk were read, %v", name, n, err)
		}
	}
}
