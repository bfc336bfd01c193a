package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// abandoned returns the directory of a store with n uploads that were abandoned two days ago.
func abandoned(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(store.Metadata(), store.Blobs(), registry.Options{Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	for range n {
		u, err := reg.StartUpload(t.Context(), "a", oci.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		chunk := registry.Chunk{Offset: -1, Length: 4, Body: strings.NewReader("left")}
		if _, err := reg.AppendUpload(t.Context(), "a", u.ID, chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSweep(t *testing.T) {
	dir := abandoned(t, 3)
	for _, want := range []sweep.Report{{Uploads: registry.Expired{Ended: 3}, Complete: true}, {Complete: true}} {
		out, wait := startEnded(t, "sweep", "--data-dir", dir, "--json")
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		var got sweep.Report
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got != want {
			t.Errorf("%v, %s, want %+v", err, out, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "uploads", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSweepNeedsAStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistyped")
	out, wait := startEnded(t, "sweep", "--data-dir", dir)
	if err := wait(); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("%v %s", err, out)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory was created: %v", err)
	}
}

// TestServeSweeps: serve sweeps at the start. The embedded store offers no direct uploads.
func TestServeSweeps(t *testing.T) {
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", abandoned(t, 2))
	at := address(t, out)
	await(t, out, "msg=sweep")
	if status, body := get(t, "http://"+at+"/v2/a/_pierless/uploads/x"); status != http.StatusNotFound || !strings.Contains(body, string(oci.Unsupported)) {
		t.Errorf("%d %s", status, body)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "msg=sweep ended=2 kept=0 done=0 failed=0 complete=true") {
		t.Errorf("logged: %s", out)
	}
}
