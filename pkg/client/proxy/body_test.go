package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
)

// stalling returns a body that stalls after begin.
func stalling(t *testing.T, begin []byte) io.Reader {
	body, client := io.Pipe()
	t.Cleanup(func() { client.Close() })
	go func() { _, _ = client.Write(begin) }() // ends with the test at the latest
	return body
}

// TestStalledClient: a client that stalls gets 408, and its bytes are removed from the spool.
func TestStalledClient(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL, func(o *proxy.Options) { o.SpoolLimit = large + 4 })
		content := random(large)
		d := oci.SHA256.FromBytes(content)
		open, kept := s.open("app"), s.open("app")
		s.do("PATCH", kept, strings.NewReader("kept")).want(http.StatusAccepted)
		s.proxy.SetBodyIdle(20 * time.Millisecond)
		for _, c := range []struct {
			method, path string
			length       int64
		}{
			{"PATCH", open, -1},
			{"PATCH", kept, large},
			{"PUT", closeAt(open, d), -1},
			{"PUT", closeAt(open, d), large},
			{"PUT", closeAt(open, d), 1000},
			{"POST", "/v2/app/blobs/uploads/?digest=" + string(d), large},
			{"PUT", "/v2/app/manifests/v1", 1000},
		} {
			a := s.send(c.method, c.path, stalling(t, content[:999]), c.length)
			a.want(http.StatusRequestTimeout, oci.BlobUploadInvalid)
			if !strings.Contains(a.body, "send it again") {
				t.Errorf("%s does not say what to do", a.body)
			}
			if got := s.do("GET", kept, nil).want(http.StatusNoContent).header.Get("Range"); got != "0-3" || len(spooled(t, s.spool)) != 1 {
				t.Errorf("%s %s: Range %q of the other upload, %q in the spool", c.method, c.path, got, spooled(t, s.spool))
			}
		}
		s.proxy.SetBodyIdle(time.Hour)
		s.do("DELETE", kept, nil).want(http.StatusNoContent)
		s.do("PUT", closeAt(open, d), stream(content)).want(http.StatusCreated) // there is room for all of it
		wantEmpty(t, s.spool)
	}
}
