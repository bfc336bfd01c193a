package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
)

// scrubReport is the JSON of scrub.
type scrubReport struct {
	OK bool `json:"ok"`
	registry.Scrubbed
}

// scrubRun runs scrub on a directory.
func scrubRun(t *testing.T, dir string, args ...string) (r scrubReport, status int) {
	t.Helper()
	out, wait := startEnded(t, append([]string{"scrub", "--data-dir", dir, "--json"}, args...)...)
	err := wait()
	if err != nil {
		status = exitCode(err)
	}
	if unmarshalErr := json.Unmarshal([]byte(out.String()), &r); unmarshalErr != nil {
		t.Fatalf("%v, %v: %s", err, unmarshalErr, out)
	}
	if r.OK != (status == 0) {
		t.Errorf("status %d, but ok is %v", status, r.OK)
	}
	return r, status
}

// pushLayers pushes an image to the registry in a directory, as a client that asks for each blob
// first.
func pushLayers(t *testing.T, dir, tag string, layers ...string) oci.Digest {
	t.Helper()
	store, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	reg := registry.New(store.Metadata(), store.Blobs(), registry.Options{})
	var descriptors []string
	for _, content := range layers {
		d := oci.SHA256.FromBytes([]byte(content))
		if _, err := reg.FindBlob(t.Context(), "app", d, true); err != nil {
			if err := reg.PushBlob(t.Context(), "app", d, int64(len(content)), strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, d, len(content)))
	}
	out, err := reg.PushManifest(t.Context(), "app", registry.ManifestPush{
		Tags: []string{tag}, ContentType: oci.MediaTypeImageManifest,
		Content: fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[%s]}`, descriptors[0], strings.Join(descriptors[1:], ",")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Digest
}

// objectWith returns the file with this content.
func objectWith(t *testing.T, dir, content string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if have, err := os.ReadFile(file); err == nil && string(have) == content {
			return file
		}
	}
	t.Fatalf("no object has the content %q", content)
	return ""
}

// TestScrub: lost, cut and flipped objects are found and mended, and the image is named.
func TestScrub(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(file string) error
		problem registry.Problem
		args    []string
	}{
		{"lost", os.Remove, registry.Lost, nil},
		{"cut", func(file string) error { return os.Truncate(file, 3) }, registry.WrongSize, nil},
		{"flipped", func(file string) error { return os.WriteFile(file, []byte("xayer"), 0o600) }, registry.Damaged, []string{"--hash"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			d := pushLayers(t, dir, "v1", "config", "layer")
			if r, status := scrubRun(t, dir, c.args...); status != 0 || len(r.Findings) > 0 || r.Objects != 2 || !r.Complete {
				t.Fatalf("before: status %d, %+v", status, r)
			}
			if err := c.spoil(objectWith(t, dir, "layer")); err != nil {
				t.Fatal(err)
			}
			if c.args != nil {
				if _, status := scrubRun(t, dir); status != 0 {
					t.Error("a scrub without --hash has read the bytes")
				}
			}
			layer := oci.SHA256.FromBytes([]byte("layer"))
			for _, repair := range []string{"--repair=false", "--repair"} {
				r, status := scrubRun(t, dir, append(c.args, repair)...)
				if status != 1 || len(r.Findings) != 1 || r.Findings[0].Problem != c.problem || r.Findings[0].Digest != layer {
					t.Errorf("%s: status %d, %+v", repair, status, r)
				}
				if len(r.Images) != 1 || r.Images[0].Digest != d || r.Images[0].Repository != "app" || !slices.Equal(r.Images[0].Tags, []string{"v1"}) {
					t.Errorf("%s: images %+v", repair, r.Images)
				}
			}
			pushLayers(t, dir, "v1", "config", "layer")
			if r, status := scrubRun(t, dir, "--hash"); status != 0 {
				t.Errorf("after a push: status %d, %+v", status, r)
			}
			objectWith(t, dir, "layer")
		})
	}
}

// TestScrubOrphans: a repair deletes objects without a row when they are old.
func TestScrubOrphans(t *testing.T) {
	dir := t.TempDir()
	pushLayers(t, dir, "v1", "config", "layer")
	config := `{"created":"2026-01-02T03:04:05Z","architecture":"arm64","rootfs":{"type":"layers"}}`
	var files []string
	for i, content := range []string{"old", config} {
		file := filepath.Join(dir, "blobs", "00", fmt.Sprintf("%064d", i))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	old := time.Now().Add(-9 * 24 * time.Hour)
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
	r, status := scrubRun(t, dir, "--hash", "--repair")
	if status != 1 || len(r.Findings) != 2 || len(r.Images) != 0 {
		t.Fatalf("status %d, %+v", status, r)
	}
	if f := r.Findings[0]; f.Problem != registry.Orphan || f.Repair != registry.RepairDone || f.Modified.Sub(old).Abs() > time.Second || f.Size != 3 {
		t.Errorf("old: %+v", f)
	}
	f := r.Findings[1]
	if f.Repair != registry.RepairNone || f.Digest != oci.SHA256.FromBytes([]byte(config)) || f.Created != "2026-01-02T03:04:05Z" || !strings.Contains(f.Contains, "config") {
		t.Errorf("young: %+v", f)
	}
	ended(t, "gc", "--data-dir", dir)
	for i, file := range files {
		if _, err := os.Stat(file); os.IsNotExist(err) != (i == 0) {
			t.Errorf("%s: %v", file, err)
		}
	}
	out, wait := startEnded(t, "scrub", "--data-dir", dir, "--repair")
	if err := wait(); exitCode(err) != 1 || !strings.Contains(out.String(), "kept: it is younger than 8 days") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRestoreDrill is the drill of docs/operations.md on the embedded store: an earlier copy of
// the database returns beside the objects of today.
func TestRestoreDrill(t *testing.T) {
	dir := t.TempDir()
	pushLayers(t, dir, "a", "config", "shared", "only a")
	database := filepath.Join(dir, "names.db")
	snapshot, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	pushLayers(t, dir, "b", "config", "shared", "only b")
	if err := os.Remove(objectWith(t, dir, "only a")); err != nil { // as the sweep does after a delete of a
		t.Fatal(err)
	}
	if err := os.WriteFile(database, snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	r, status := scrubRun(t, dir, "--repair", "--hash")
	var problems []registry.Problem
	for _, f := range r.Findings {
		problems = append(problems, f.Problem)
	}
	slices.Sort(problems)
	if status != 1 || !slices.Equal(problems, []registry.Problem{registry.Lost, registry.Orphan}) || len(r.Images) != 1 || r.Images[0].Tags[0] != "a" {
		t.Fatalf("status %d, %+v", status, r)
	}
	pushLayers(t, dir, "a", "config", "shared", "only a")
	pushLayers(t, dir, "b", "config", "shared", "only b")
	r, status = scrubRun(t, dir, "--repair", "--hash")
	if status != 1 || len(r.Findings) != 1 || r.Findings[0].Problem != registry.Orphan || len(r.Images) > 0 {
		t.Errorf("after the pushes: status %d, %+v", status, r)
	}
}

func TestScrubFlags(t *testing.T) {
	dir := t.TempDir()
	pushLayers(t, dir, "v1", "config")
	for want, args := range map[string][]string{
		"--rate":       {"--rate", "-1", "--hash"},
		"set both":     {"--after", strings.Repeat("0", 64)},
		"hexadecimal":  {"--hash", "--after", "sha256:x"},
		"has no store": {"--data-dir", filepath.Join(dir, "mistyped")},
		"unknown flag": {"--hsah"},
	} {
		_, wait := startEnded(t, append([]string{"scrub", "--data-dir", dir}, args...)...)
		if err := wait(); exitCode(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if r, status := scrubRun(t, dir, "--hash", "--after", strings.Repeat("f", 64)); status != 0 || r.Hashed != 0 || r.Objects != 1 {
		t.Errorf("status %d, %+v", status, r)
	}
}
