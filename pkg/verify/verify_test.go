package verify_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/verify"
)

// newRegistry is Pierless itself, on the store that the tests run on.
func newRegistry(t *testing.T) http.Handler {
	t.Helper()
	names, blobs := storetest.Open(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return server.All(registry.New(names, blobs, registry.Options{Log: log}), server.Options{Log: log})
}

// serve starts a registry and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// run verifies a registry.
func run(t *testing.T, opts verify.Options) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestPierless: every case passes on the registry itself; it offers all that the spec allows but
// what is named here. The run leaves nothing behind.
func TestPierless(t *testing.T) {
	notOffered := map[string]bool{
		// No login is needed here, and there is nothing to warn of.
		"client-auth-ping": true, "client-auth-reads": true, "client-auth-writes": true, "client-auth-wrong": true,
		"client-auth-push": true, "client-auth-open": true, "client-auth-error": true,
		"client-warnings": true,
	}
	s := newSite(t)
	before, names := s.contents(), s.catalog()
	report := run(t, verify.Options{URL: serve(t, s.handler)})
	for _, r := range report.Results {
		switch {
		case r.Status == verify.Passed:
		case r.Status == verify.NotOffered && notOffered[r.ID]:
		default:
			t.Errorf("%s %s %s: %s\n%v", r.Status, r.Level, r.ID, r.Detail, r.Exchange)
		}
	}
	if after := s.catalog(); !slices.Equal(after, names) {
		t.Errorf("catalog %v before, %v after", names, after)
	}
	s.wantSame(before, report)
}
