package proxy_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
)

// wantEmpty checks that the spool has no files.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if files := spooled(t, dir); len(files) > 0 {
		t.Errorf("%q is left in the spool", files)
	}
}

// spooled returns the files of the spool, which have no name: as this process has opened them.
func spooled(t *testing.T, dir string) (files []string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("open files without a name are listed only on Linux")
	}
	const opened = "/proc/self/fd"
	entries, err := os.ReadDir(opened)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(opened, e.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, filepath.Join(dir, "pierless-proxy-")) {
			files = append(files, path)
		}
	}
	return files
}

// TestCancel: a cancelled upload leaves nothing in the spool or the registry.
func TestCancel(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	at := s.do("PATCH", s.open("app"), stream(random(large))).location()
	if len(spooled(t, s.spool)) != 1 {
		t.Error("the bytes are not in the spool")
	}
	s.do("DELETE", at, nil).want(http.StatusNoContent)
	wantEmpty(t, s.spool)
	s.do("PATCH", at, stream(random(10))).want(http.StatusNotFound, oci.BlobUploadUnknown)
}

// TestIdle: uploads without requests are discarded, others are not.
func TestIdle(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	at := s.do("PATCH", s.open("app"), stream(random(1000))).location()
	s.proxy.Expire(time.Now().Add(-time.Minute))
	s.do("GET", at, nil).want(http.StatusNoContent)
	s.proxy.Expire(time.Now().Add(time.Minute))
	wantEmpty(t, s.spool)
}

// transport is a fake registry without a network.
type transport func(r *http.Request) *http.Response

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// TestIdleLife: the proxy discards an upload after an hour without requests.
func TestIdleLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := proxy.New(proxy.Options{
			Registry: "registry.example", Spool: t.TempDir(), Log: slog.New(slog.DiscardHandler),
			Transport: transport(func(r *http.Request) *http.Response {
				header := http.Header{"Location": {"/v2/app/blobs/uploads/1"}}
				return &http.Response{StatusCode: http.StatusAccepted, Header: header, Body: http.NoBody, Request: r}
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"POST", "PATCH"} {
			path := map[string]string{"POST": "/v2/app/blobs/uploads/", "PATCH": "/v2/app/blobs/uploads/1"}[method]
			r := httptest.NewRequest(method, "http://localhost"+path, bytes.NewReader(random(1000)))
			w := httptest.NewRecorder()
			if p.ServeHTTP(w, r); w.Code != http.StatusAccepted {
				t.Fatalf("%s: %d %s", method, w.Code, w.Body)
			}
		}
		time.Sleep(proxy.IdleLife - time.Minute)
		if got := spooled(t, p.Spool()); len(got) != 1 {
			t.Errorf("%q is in the spool before the time, want one file", got)
		}
		time.Sleep(proxy.IdleLife / 10)
		wantEmpty(t, p.Spool())
		p.Close()
	})
}

// TestSpoolFull: the client gets 507, its bytes are removed, and other uploads continue.
func TestSpoolFull(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL, func(o *proxy.Options) { o.SpoolLimit = 3 << 20 })
	kept := random(1 << 20)
	other := s.do("PATCH", s.open("app"), stream(kept)).want(http.StatusAccepted).location()
	for _, body := range []io.Reader{stream(random(large)), bytes.NewReader(random(large))} {
		at := s.open("app")
		a := s.do("PATCH", at, body).want(http.StatusInsufficientStorage, oci.Unavailable)
		if !strings.Contains(a.body, "--spool-limit") {
			t.Errorf("%s does not say what to do", a.body)
		}
		if got := len(spooled(t, s.spool)); got != 1 {
			t.Errorf("%d files are in the spool, want the other upload's", got)
		}
	}
	s.do("PUT", closeAt(other, oci.SHA256.FromBytes(kept)), nil).want(http.StatusCreated)
	s.pulled("app", kept)
	// The freed space can be used again.
	again := random(3 << 20)
	at := s.do("PATCH", s.open("app"), stream(again)).want(http.StatusAccepted).location()
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(again)), nil).want(http.StatusCreated)
	wantEmpty(t, s.spool)
}

// TestSpoolDirectoryGone: a proxy keeps working after a cleaner of temporary files has removed
// its spool.
func TestSpoolDirectoryGone(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	if err := os.RemoveAll(s.spool); err != nil {
		t.Fatal(err)
	}
	content := random(1000)
	at := s.do("PATCH", s.open("app"), stream(content)).want(http.StatusAccepted).location()
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
	if info, err := os.Stat(s.spool); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	wantEmpty(t, s.spool)
}

// TestSameUploadTwice: a registry that gives out an id again has forgotten the first upload, and
// the proxy removes its bytes.
func TestSameUploadTwice(t *testing.T) {
	s, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/v2/app/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	}, func(o *proxy.Options) { o.SpoolLimit = 1500 })
	for range 2 {
		s.do("PATCH", s.open("app"), stream(random(1000))).want(http.StatusAccepted)
	}
	if got := spooled(t, s.spool); len(got) != 1 {
		t.Errorf("%q is in the spool, want one file", got)
	}
}

// TestUnknownAlgorithm: the proxy serves an upload although the registry has ignored that its
// digest-algorithm is unknown.
func TestUnknownAlgorithm(t *testing.T) {
	s, _ := newSiteOver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/v2/app/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	})
	at := s.do("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", nil).want(http.StatusAccepted).location()
	s.do("PATCH", at, stream(random(1000))).want(http.StatusAccepted)
}

// TestSpoolIsPrivate: only the user can read the spool, and its files have no names: a killed
// proxy leaves nothing.
func TestSpoolIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s := newSite(t, newUpstream(t, nil).URL, func(o *proxy.Options) { o.Spool = dir })
	s.do("PATCH", s.open("app"), stream(random(1000))).want(http.StatusAccepted)
	for _, path := range append(spooled(t, dir), dir) {
		want := map[bool]os.FileMode{true: 0o700, false: 0o600}[path == dir]
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("names in the spool: %v, %v", names, err)
	}
	s.proxy.Close()
	wantEmpty(t, dir)
}
