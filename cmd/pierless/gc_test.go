package main

import (
	"encoding/json"
	"fmt"
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

func TestGCEndsUploads(t *testing.T) {
	dir := abandoned(t, 3)
	for _, want := range []sweep.Report{{Uploads: registry.Expired{Ended: 3}, Complete: true}, {Complete: true}} {
		out, wait := startEnded(t, "gc", "--data-dir", dir, "--json")
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

// unused returns the directory of a store with a blob that no image has needed for two hours.
func unused(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(-2 * time.Hour) }
	reg := registry.New(store.Metadata(), store.Blobs(), registry.Options{Now: now})
	if err := reg.PushBlob(t.Context(), "a", oci.SHA256.FromBytes([]byte("idle")), 4, strings.NewReader("idle")); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGCGrace: the variable is the default of the flag, and a wrong one is refused.
func TestGCGrace(t *testing.T) {
	dir := unused(t)
	gc := func(variable string, args ...string) (string, error) {
		var out output
		root := newRoot(func(name string) string { return map[string]string{"PIERLESS_GRACE": variable}[name] })
		root.SetArgs(append([]string{"gc", "--data-dir", dir}, args...))
		root.SetOut(&out)
		root.SetErr(&output{})
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	for _, wrong := range []string{"0s", "tomorrow"} {
		if out, err := gc(wrong); err == nil || !strings.Contains(err.Error(), "PIERLESS_GRACE") {
			t.Errorf("with %q: %v, %s", wrong, err, out)
		}
	}
	for _, c := range []struct{ variable, flag, want string }{
		{"", "24h", "freed 0 objects"},
		{"3h", "", "freed 0 objects"},
		{"1h", "3h", "freed 0 objects"},
		{"1h", "", "freed 1 objects, 4 bytes"},
	} {
		var args []string
		if c.flag != "" {
			args = []string{"--grace", c.flag}
		}
		if out, err := gc(c.variable, args...); err != nil || !strings.HasPrefix(out, c.want) {
			t.Errorf("with %q and %q: %v, %s, want %s", c.variable, c.flag, err, out, c.want)
		}
	}
}

// TestServeGrace: serve sweeps with its grace, again and again.
func TestServeGrace(t *testing.T) {
	dir := unused(t)
	for _, c := range []struct{ grace, want string }{{"3h", " blobs=0 "}, {"1h", " blobs=1 "}} {
		out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--grace", c.grace, "--sweep-interval", "1s")
		for deadline := time.Now().Add(time.Minute); strings.Count(out.String(), "msg=sweep") < 2 && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		_, first, _ := strings.Cut(out.String(), "msg=sweep")
		first, more, _ := strings.Cut(first, "\n")
		if !strings.Contains(first, c.want) || !strings.Contains(more, "msg=sweep") {
			t.Errorf("with %s: %s", c.grace, out)
		}
	}
}

// ended returns what a command prints that ends by itself.
func ended(t *testing.T, args ...string) string {
	t.Helper()
	out, wait := startEnded(t, args...)
	if err := wait(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out.String()
}

// TestGC: blobs of deleted images are freed after the grace, and a dry run only tells.
func TestGC(t *testing.T) {
	dir := t.TempDir()
	store, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(store.Metadata(), store.Blobs(), registry.Options{Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	for _, content := range []string{"used", "idle"} {
		if err := reg.PushBlob(t.Context(), "a", oci.SHA256.FromBytes([]byte(content)), 4, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	d := oci.SHA256.FromBytes([]byte("used"))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":%q,"size":4},"layers":[]}`, d)
	push := registry.ManifestPush{Tags: []string{"t"}, ContentType: oci.MediaTypeImageManifest, Content: []byte(manifest)}
	if _, err := reg.PushManifest(t.Context(), "a", push); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	var plan registry.Collected
	if err := json.Unmarshal([]byte(ended(t, "gc", "--data-dir", dir, "--json", "--dry-run")), &plan); err != nil || plan.Blobs != 1 || plan.Bytes != 4 || plan.Links != 1 {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	if text := ended(t, "gc", "--data-dir", dir, "--grace", "1000h"); !strings.HasPrefix(text, "freed 0 objects, 0 bytes") {
		t.Errorf("with a long grace: %s", text)
	}
	if text := ended(t, "gc", "--data-dir", dir); !strings.HasPrefix(text, "freed 1 objects, 4 bytes (1 removed from repositories, 2 in use, ") {
		t.Errorf("gc: %s", text)
	}
	objects, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil || len(objects) != 1 {
		t.Errorf("objects: %v, %v", objects, err)
	}
}

func TestGCNeedsAStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistyped")
	out, wait := startEnded(t, "gc", "--data-dir", dir)
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
	if !strings.Contains(out.String(), " ended=2 kept=0 done=0 failed=0 complete=true") {
		t.Errorf("logged: %s", out)
	}
}
