package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// testRegistry is a registry with hooks before its handler.
type testRegistry struct {
	*client.Client
	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) (answered bool)
	hide   string // a header that answers do not have
}

func newTestRegistry(t *testing.T) *testRegistry {
	t.Helper()
	names, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	handler := server.All(registry.New(names, blobs, registry.Options{Log: quiet}), server.Options{Log: quiet})
	reg := &testRegistry{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg.mu.Lock()
		before, hide := reg.before, reg.hide
		reg.mu.Unlock()
		if before == nil || !before(w, r) {
			handler.ServeHTTP(hidesHeader{w, hide}, r)
		}
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL, client.Options{Attempts: 1, Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	reg.Client = c
	return reg
}

type hidesHeader struct {
	http.ResponseWriter
	name string
}

func (h hidesHeader) WriteHeader(status int) {
	h.Header().Del(h.name)
	h.ResponseWriter.WriteHeader(status)
}

func (r *testRegistry) intercept(f func(w http.ResponseWriter, req *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

func (r *testRegistry) name(t *testing.T, s string) Name {
	t.Helper()
	return must(ParseName(r.Host() + "/" + s))(t)
}

func (r *testRegistry) from(t *testing.T, s string) Source {
	t.Helper()
	return must(FromRegistry(r.Client, r.name(t, s)))(t)
}

func (r *testRegistry) to(t *testing.T, s string) Destination {
	t.Helper()
	return must(ToRegistry(r.Client, r.name(t, s)))(t)
}

// resolve is the digest of a tag, or nothing.
func (r *testRegistry) resolve(t *testing.T, s string) oci.Digest {
	t.Helper()
	n := r.name(t, s)
	repo := must(r.Repository(n.Repository))(t)
	d, err := repo.Resolve(t.Context(), n.Reference())
	if err != nil && !isUnknown(err) {
		t.Fatal(err)
	}
	return d.Digest
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func testSpool(t *testing.T) *Spool {
	t.Helper()
	dir := t.TempDir()
	s := NewSpool(dir, DefaultSpool)
	t.Cleanup(func() {
		if left := must(os.ReadDir(dir))(t); len(left) > 0 || s.used != 0 || len(s.files) > 0 {
			t.Errorf("the spool keeps %v, %d bytes", left, s.used)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// copyImage copies, and closes both ends.
func copyImage(t *testing.T, from Source, to Destination, opts Options) (Result, error) {
	t.Helper()
	r, err := Copy(t.Context(), from, to, opts)
	if closeErr := from.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	if closeErr := to.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return r, err
}

// tarLayer is a layer of about size bytes, half of which compress.
func tarLayer(t *testing.T, seed uint64, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(content[:size/2])
	return tarOf(t, member{fmt.Sprintf("file-%d", seed), content, ""})
}

type member struct {
	name    string
	content []byte
	link    string
}

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Size: int64(len(m.content)), Mode: 0o644}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gunzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	r := must(gzip.NewReader(bytes.NewReader(content)))(t)
	return must(io.ReadAll(r))(t)
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	return must(json.Marshal(v))(t)
}

func digestOf(content []byte) oci.Digest { return oci.SHA256.FromBytes(content) }

// testConfig is the config of an image with these layers.
func testConfig(t *testing.T, arch string, layers ...[]byte) []byte {
	t.Helper()
	ids := []oci.Digest{}
	for _, l := range layers {
		ids = append(ids, digestOf(l))
	}
	return jsonOf(t, map[string]any{"os": "linux", "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
}

// oldArchive is an archive of docker save from before it wrote layouts: with a link for a layer
// that is there twice.
func oldArchive(t *testing.T, tag string, layers ...[]byte) []byte {
	t.Helper()
	all := append(layers[:len(layers):len(layers)], layers[0])
	config := testConfig(t, "amd64", all...)
	s := saved{Config: digestOf(config).Encoded() + ".json", RepoTags: []string{tag}}
	var members []member
	for i, l := range layers {
		path := fmt.Sprintf("%064d/layer.tar", i)
		members = append(members, member{name: filepath.Dir(path) + "/VERSION", content: []byte("1.0")}, member{name: path, content: l})
		s.Layers = append(s.Layers, path)
	}
	link := fmt.Sprintf("%064d/layer.tar", len(layers))
	s.Layers = append(s.Layers, link)
	members = append(
		members, member{name: link, link: "../" + s.Layers[0]}, member{name: s.Config, content: config},
		member{name: manifestFile, content: jsonOf(t, []saved{s})}, member{name: "repositories", content: []byte("{}")},
	)
	return tarOf(t, members...)
}

// layoutArchive is an archive of docker save as of today: an image for amd64, and perhaps an index
// that has it and others which are not there. Packed layers are as containerd keeps them.
func layoutArchive(t *testing.T, tag string, packed bool, others []string, layers ...[]byte) (archive []byte, image client.Manifest) {
	t.Helper()
	config := testConfig(t, "amd64", layers...)
	m := imageManifest{SchemaVersion: 2, MediaType: oci.MediaTypeImageManifest}
	m.Config = oci.Descriptor{MediaType: ociConfig, Digest: digestOf(config), Size: int64(len(config))}
	s := saved{Config: blobPath(m.Config.Digest), RepoTags: []string{tag}}
	members := []member{{name: blobPath(m.Config.Digest), content: config}}
	for _, l := range layers {
		mediaType := "application/vnd.oci.image.layer.v1.tar"
		if packed {
			l, mediaType = gzipped(t, l), ociGzip
		}
		m.Layers = append(m.Layers, oci.Descriptor{MediaType: mediaType, Digest: digestOf(l), Size: int64(len(l))})
		members = append(members, member{name: blobPath(digestOf(l)), content: l})
		s.Layers = append(s.Layers, blobPath(digestOf(l)))
	}
	content := jsonOf(t, m)
	image = manifestOf(oci.Descriptor{MediaType: m.MediaType, Digest: digestOf(content)}, content)
	members = append(members, member{name: blobPath(image.Digest), content: content})
	root := image
	if others != nil {
		in := index{Manifests: []child{{image.Descriptor, &Platform{OS: "linux", Architecture: "amd64"}}}}
		for _, o := range others {
			absent := oci.Descriptor{MediaType: m.MediaType, Digest: digestOf([]byte(o)), Size: int64(len(o))}
			in.Manifests = append(in.Manifests, child{absent, &Platform{OS: "linux", Architecture: o}})
		}
		content := indexOf(t, in.Manifests...)
		root = manifestOf(oci.Descriptor{MediaType: oci.MediaTypeImageIndex, Digest: digestOf(content)}, content)
		members = append(members, member{name: blobPath(root.Digest), content: content})
	}
	named := root.Descriptor
	named.Annotations = map[string]string{imageName: "docker.io/library/" + tag, refName: "1"}
	members = append(
		members, member{name: indexFile, content: jsonOf(t, oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{named}})},
		member{name: manifestFile, content: jsonOf(t, []saved{s})}, member{name: layoutFile, content: []byte(layoutVersion)},
	)
	return tarOf(t, members...), image
}

// indexOf is an index of images.
func indexOf(t *testing.T, children ...child) []byte {
	t.Helper()
	entries := []map[string]any{}
	for _, c := range children {
		entries = append(entries, map[string]any{"mediaType": c.MediaType, "digest": c.Digest, "size": c.Size, "platform": c.Platform})
	}
	return jsonOf(t, map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": entries})
}

func writeFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// watcher records the calls of an observer.
type watcher struct {
	mu     sync.Mutex
	stages map[Stage]int
	moved  map[Stage]int64
	notes  []string
}

func (w *watcher) Begin(s Stage, _ string, _ int64) (advance func(int64), end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stages == nil {
		w.stages, w.moved = map[Stage]int{}, map[Stage]int64{}
	}
	w.stages[s]++
	return func(n int64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.moved[s] += n
	}, func() {}
}
func (w *watcher) Done(Layer) {}
func (w *watcher) Note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, text)
}

// hows counts the blobs by method.
func hows(r Result) map[client.PushMethod]int {
	n := map[client.PushMethod]int{}
	for _, l := range r.Layers {
		n[l.Method]++
	}
	return n
}
