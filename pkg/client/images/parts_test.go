package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pierless/pierless/pkg/oci"
)

func TestParseReference(t *testing.T) {
	d := string(digestOf(nil))
	for s, want := range map[string]Reference{
		"registry.example.com/team/app:1": {Name: Name{Host: "registry.example.com", Repository: "team/app", Tag: "1", HasHost: true}},
		"app":                             {Name: Name{Host: "docker.io", Repository: "library/app", Tag: "latest"}},
		"localhost:5000/app@" + d:         {Name: Name{Host: "localhost:5000", Repository: "app", Digest: oci.Digest(d), HasHost: true}},
		"[::1]:5000/app:2":                {Name: Name{Host: "[::1]:5000", Repository: "app", Tag: "2", HasHost: true}},
		"docker-daemon:team/app:1":        {Transport: DockerDaemon, Name: Name{Host: "docker.io", Repository: "team/app", Tag: "1"}},
		"docker-archive:./a.tar":          {Transport: DockerArchive, Path: "./a.tar"},
		"docker-archive:a.tar:team/app:1": {Transport: DockerArchive, Path: "a.tar", Name: Name{Host: "docker.io", Repository: "team/app", Tag: "1"}},
		`docker-archive:C:\a.tar`:         {Transport: DockerArchive, Path: `C:\a.tar`},
		"oci:./dir":                       {Transport: OCILayout, Path: "./dir"},
		"oci:./dir:1.0":                   {Transport: OCILayout, Path: "./dir", Selector: oci.Reference{Tag: "1.0"}},
		"oci:./dir@" + d:                  {Transport: OCILayout, Path: "./dir", Selector: oci.Reference{Digest: oci.Digest(d)}},
		"oci-archive:a.tar:x":             {Transport: OCIArchive, Path: "a.tar", Selector: oci.Reference{Tag: "x"}},
		"docker://r.example.com/app:1":    {Name: Name{Host: "r.example.com", Repository: "app", Tag: "1", HasHost: true}},
		"docker:dind":                     {Name: Name{Host: "docker.io", Repository: "library/docker", Tag: "dind"}},
		"oci:job@2/dir:1":                 {Transport: OCILayout, Path: "job@2/dir", Selector: oci.Reference{Tag: "1"}},
		"oci:job@2/dir@" + d:              {Transport: OCILayout, Path: "job@2/dir", Selector: oci.Reference{Digest: oci.Digest(d)}},
		"self:":                           {Transport: SelfImage},
		"self:./bin/pierless":             {Transport: SelfImage, Path: "./bin/pierless"},
	} {
		got, err := ParseReference(s, InRegistry)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", s, got, err, want)
		}
		if back, err := ParseReference(got.String(), InRegistry); err != nil || back != got {
			t.Errorf("%s says %s, which is %+v, %v", s, got, back, err)
		}
	}
	for _, s := range []string{"", "https://r.example.com/app", "App", "oci:", "docker-archive:", "oci:d@sha256:1", "docker-archive:a:b//c", "a b"} {
		if p, err := ParseReference(s, InRegistry); err == nil {
			t.Errorf("%q is taken for %+v", s, p)
		}
	}
}

// TestCompressionIsDeterministic: neither processors nor the sizes of reads show.
func TestCompressionIsDeterministic(t *testing.T) {
	content := tarLayer(t, 1, 5<<20)
	var first bytes.Buffer
	digest, diffID, err := compress(&first, bytes.NewReader(content), func(int64) {})
	if err != nil || digest != digestOf(first.Bytes()) || diffID != digestOf(content) || !bytes.Equal(gunzipped(t, first.Bytes()), content) {
		t.Fatalf("%s, %s, %v", digest, diffID, err)
	}
	for _, procs := range []int{1, 3} {
		before := runtime.GOMAXPROCS(procs)
		var again bytes.Buffer
		_, _, err := compress(&again, iotest.HalfReader(bytes.NewReader(content)), func(int64) {})
		runtime.GOMAXPROCS(before)
		if err != nil || !bytes.Equal(again.Bytes(), first.Bytes()) {
			t.Errorf("with %d processors: other bytes, %v", procs, err)
		}
	}
}

func TestSpoolIsBounded(t *testing.T) {
	s := NewSpool(t.TempDir(), 100)
	defer s.Close()
	large := must(s.create(t.Context()))(t)
	if _, err := large.Write(make([]byte, 300)); err != nil {
		t.Fatalf("a layer larger than the bound, alone: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	b := bytesBlob(oci.Descriptor{Digest: digestOf([]byte("x")), Size: 1}, []byte("x"))
	if _, err := s.fetch(short, b, func(int64) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full spool takes more: %v", err)
	}
	fetched := make(chan error, 1)
	go func() {
		_, err := s.fetch(t.Context(), b, func(int64) {})
		fetched <- err
	}()
	if err := large.remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-fetched; err != nil || s.used != 1 {
		t.Errorf("after room was made: %v, %d bytes used", err, s.used)
	}
}

func TestUploads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uploads")
	u := must(OpenUploads(dir))(t)
	d := digestOf(nil)
	if err := errors.Join(u.Save("r", "a", d, "first"), u.Save("r", "a", d, "second"), u.Save("r", "b", d, "other")); err != nil {
		t.Fatal(err)
	}
	again := must(OpenUploads(dir))(t)
	if id := again.Load("r", "a", d); id != "second" {
		t.Errorf("kept %q", id)
	}
	for _, e := range must(os.ReadDir(dir))(t) {
		if info := must(e.Info())(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %s", e.Name(), info.Mode())
		}
	}
	if info := must(os.Stat(dir))(t); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has the mode %s", info.Mode())
	}
	if err := os.WriteFile(u.path("r", "long", d), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if id := u.Load("r", "long", d); id != "" {
		t.Errorf("a file of others is an id of %d bytes", len(id))
	}
	if err := errors.Join(u.Save("r", "long", d, ""), again.Save("r", "a", d, ""), again.Save("r", "a", d, "")); err != nil {
		t.Error(err)
	}
	if u.Load("r", "a", d) != "" {
		t.Error("it is there after it was dropped")
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(u.path("r", "b", d), old, old); err != nil {
		t.Fatal(err)
	}
	must(OpenUploads(dir))(t)
	if left := must(os.ReadDir(dir))(t); len(left) != 0 {
		t.Errorf("%v is left after more than a day", left)
	}
}

// TestSelf makes an image of a binary that is built here.
func TestSelf(t *testing.T) {
	binary := build(t, "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	spool := testSpool(t)
	reg := newTestRegistry(t)
	source := func() Source { return must(FromSelf(binary, spool))(t) }
	r := must(copyImage(t, source(), reg.to(t, "pierless:1"), Options{}))(t)
	dir := t.TempDir()
	again := must(copyImage(t, source(), must(ToLayout(dir, "1"))(t), Options{}))(t)
	if again.Digest != r.Digest {
		t.Errorf("one binary gives %s and %s", r.Digest, again.Digest)
	}
	m := must(oci.ParseManifest("", must(os.ReadFile(filepath.Join(dir, blobPath(r.Digest))))(t)))(t)
	var config ocispec.Image
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(dir, blobPath(m.Blobs[0].Digest))))(t), &config); err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.Config.User == "" || config.Config.Entrypoint[0] != "/pierless" {
		t.Errorf("config %+v", config)
	}
	packed := must(os.ReadFile(filepath.Join(dir, blobPath(m.Blobs[1].Digest))))(t)
	files := map[string]*tar.Header{}
	for tr := tar.NewReader(bytes.NewReader(gunzipped(t, packed))); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		files[must(h, err)(t).Name] = h
	}
	if f := files["pierless"]; f == nil || f.Mode != 0o755 || f.Uid != 0 || f.ModTime.Unix() != 0 {
		t.Errorf("the binary is %+v", f)
	}
	if f := files["etc/ssl/certs/ca-certificates.crt"]; f == nil || f.Size < 10_000 {
		t.Errorf("the root certificates are %+v", f)
	}
	amd64 := Platform{OS: "linux", Architecture: "amd64"}
	if _, err := copyImage(t, source(), reg.to(t, "x:1"), Options{Platform: &amd64}); err == nil {
		t.Error("an image of an arm64 binary for amd64")
	}
	for _, other := range []string{build(t, "CGO_ENABLED=0", "GOOS=freebsd", "GOARCH=amd64"), build(t, "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0"), "/bin/sh", filepath.Join(dir, indexFile)} {
		if _, err := FromSelf(other, spool); !errors.Is(err, errNotStatic) {
			t.Errorf("%s: %v, want that it is not static", other, err)
		}
	}
	if _, err := FromSelf(filepath.Join(dir, "nothing"), spool); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no binary: %v", err)
	}
}

// build builds a program for another machine.
func build(t *testing.T, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module hello\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(1) }\n"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "hello", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(env, " "), err, out)
	}
	return filepath.Join(dir, "hello")
}
