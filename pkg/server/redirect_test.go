package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// presigning is a store whose URLs contain the method that they are presigned for.
type presigning struct{ registry.Blobs }

func (presigning) Presign(_ context.Context, method, _ string) (string, error) {
	return "https://store.example/" + method, nil
}

// TestRedirectHead: with RedirectHead, HEAD is redirected to a URL that is presigned for
// HEAD, because S3 refuses HEAD with other URLs.
func TestRedirectHead(t *testing.T) {
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	reg := registry.New(meta, presigning{blobs}, registry.Options{Log: quiet})
	for _, tt := range []struct {
		opts                 server.Options
		method, wantLocation string
	}{
		{server.Options{}, "GET", "https://store.example/GET"},
		{server.Options{}, "HEAD", ""},
		{server.Options{RedirectHead: true}, "GET", "https://store.example/GET"},
		{server.Options{RedirectHead: true}, "HEAD", "https://store.example/HEAD"},
		{server.Options{RedirectHead: true, ServeBlobs: true}, "HEAD", ""},
	} {
		tt.opts.Log = quiet
		s := &site{t: t, handler: server.All(reg, tt.opts), reg: reg}
		d := string(s.pushBlob("a", content))
		status := http.StatusTemporaryRedirect
		if tt.wantLocation == "" {
			status = http.StatusOK
		}
		a := s.do(tt.method, "/v2/a/blobs/"+d, nil).want(t, status)
		if got := a.Header.Get("Location"); got != tt.wantLocation || a.Header.Get("Docker-Content-Digest") != d {
			t.Errorf("%s with %+v: to %q with digest %q, want %q and %s", tt.method, tt.opts, got, a.Header.Get("Docker-Content-Digest"), tt.wantLocation, d)
		}
	}
	s := &site{t: t, handler: server.All(reg, server.Options{Log: quiet, RedirectHead: true})}
	s.do("HEAD", "/v2/a/blobs/sha256:"+strings.Repeat("0", 64), nil).want(t, http.StatusNotFound)
}
