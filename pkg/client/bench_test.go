package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// discarding is a registry and its store in one that keep nothing: what is left is what
// the client costs.
func discarding(b *testing.B) http.Handler {
	b.Helper()
	signed := func(r *http.Request, size int64) direct.Request {
		return direct.Request{
			Method: http.MethodPut, URL: "http://" + r.Host + "/store?sig=1", Expires: time.Now().Add(time.Minute),
			Headers: map[string]string{"Content-Length": fmt.Sprint(size)},
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/store":
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 1<<20))
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		case strings.Contains(r.URL.Path, "/parts/"):
			var in direct.Parts
			var out direct.SignedParts
			_ = json.NewDecoder(r.Body).Decode(&in)
			for _, p := range in.Parts {
				out.Parts = append(out.Parts, direct.SignedPart{Number: p.Number, Request: signed(r, p.Size)})
			}
			_ = json.NewEncoder(w).Encode(out)
		default:
			var o direct.Offer
			_ = json.NewDecoder(r.Body).Decode(&o)
			u := direct.Upload{ID: strings.Repeat("0", 64), State: direct.Open, Digest: o.Digest, Size: o.Size}
			if put := signed(r, o.Size); o.Parts {
				u.PartSize = direct.PartSize(o.Size)
			} else {
				u.Put = &put
			}
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).Encode(u)
		}
	})
}

func BenchmarkPushDirect(b *testing.B) {
	s := httptest.NewServer(discarding(b))
	b.Cleanup(s.Close)
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	r, err := c.Repository("a")
	if err != nil {
		b.Fatal(err)
	}
	content := randomBytes(1, 256<<20)
	for _, from := range []struct {
		name string
		blob client.Blob
	}{{"file", fileOf(b, content)}, {"memory", blobOf(content)}} {
		for _, parts := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s-parts-%v", from.name, parts), func(b *testing.B) {
				blob := from.blob
				blob.Parts = parts
				b.SetBytes(blob.Size)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.PushBlob(b.Context(), blob); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
