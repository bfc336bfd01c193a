package server_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
	"github.com/pierless/pierless/pkg/server"
)

// benchSite is a registry over the embedded store, called without a network.
func benchSite(b *testing.B) http.Handler {
	b.Helper()
	store, err := local.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	quiet := slog.New(slog.DiscardHandler)
	return server.All(registry.New(store.Metadata(), store.Blobs(), registry.Options{Log: quiet}), server.Options{Log: quiet})
}

func send(b *testing.B, h http.Handler, status int, method, path string, body []byte) {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != status {
		b.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

func BenchmarkPull(b *testing.B) {
	h := benchSite(b)
	layer := bytes.Repeat([]byte("x"), 4096)
	d := string(oci.SHA256.FromBytes(layer))
	send(b, h, http.StatusCreated, "POST", "/v2/a/blobs/uploads/?digest="+d, layer)
	m := []byte(fmt.Sprintf(`{"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":4096}}`, oci.MediaTypeImageManifest, d))
	send(b, h, http.StatusCreated, "PUT", "/v2/a/manifests/latest", m)
	for name, path := range map[string]string{
		"ping": "/v2/", "manifest-by-tag": "/v2/a/manifests/latest",
		"manifest-by-digest": "/v2/a/manifests/" + string(oci.SHA256.FromBytes(m)), "blob-4KiB": "/v2/a/blobs/" + d,
	} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					send(b, h, http.StatusOK, "GET", path, nil)
				}
			})
		})
	}
}

func BenchmarkPush(b *testing.B) {
	h := benchSite(b)
	for _, size := range []int{1 << 10, 1 << 20, 64 << 20} {
		content := make([]byte, size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for i := range b.N {
				copy(content, fmt.Sprint(i)) // another digest each time
				d := string(oci.SHA256.FromBytes(content))
				send(b, h, http.StatusCreated, "POST", "/v2/a/blobs/uploads/?digest="+d, content)
			}
		})
	}
}
