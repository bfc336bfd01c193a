//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The media types of the test image.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor is a descriptor of the OCI image specification.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// document is a manifest or an index: both consist of descriptors.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// testImage is an image for two platforms, in the formats that clients read.
type testImage struct {
	amd64, arm64, index descriptor
	// OCI layouts, each with one entry named "v1".
	amd64Layout, arm64Layout, indexLayout string
	// The amd64 image as "docker save" writes it, named localhost/pierless/e2e:v1.
	archive string
}

// layer is a tar of one file, which can be generated again, and its compressed blob.
type layer struct {
	name   string // of the file
	size   int64  // of the file
	blob   descriptor
	diffID string // digest of the tar
	tar    int64  // size of the tar
}

const (
	toolsLayer = 3 * mib           // in the same image
	largeLayer = 100 * 1000 * kib  // large enough for every special case of clients
	smallLayer = 4 * mib           // fits in one request to a function
	modelLayer = 300 * 1000 * 1000 // a typical model
)

// buildImage writes the test image, as the test has no network. The file in its third layer has
// the given size and cannot be compressed.
func buildImage(t *testing.T, dir string, size int64) *testImage {
	t.Helper()
	blobs := filepath.Join(dir, "blobs")
	must(t, os.MkdirAll(blobs, 0o755))
	layers := []layer{
		writeLayer(t, blobs, "hello", 300),
		writeLayer(t, blobs, "tools", toolsLayer),
		writeLayer(t, blobs, "model", size),
	}
	small := writeLayer(t, blobs, "other", 40*kib)

	image := &testImage{archive: filepath.Join(dir, "archive.tar")}
	var config []byte
	image.amd64, config = writeManifest(t, blobs, "amd64", layers)
	image.arm64, _ = writeManifest(t, blobs, "arm64", []layer{layers[0], small})
	image.index = writeDocument(t, blobs, typeIndex, document{
		SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{image.amd64, image.arm64},
	})
	image.amd64Layout = writeLayout(t, filepath.Join(dir, "amd64"), blobs, image.amd64)
	image.arm64Layout = writeLayout(t, filepath.Join(dir, "arm64"), blobs, image.arm64)
	image.indexLayout = writeLayout(t, filepath.Join(dir, "index"), blobs, image.index)
	writeArchive(t, image.archive, config, layers)
	return image
}

// buildLayout writes an image of two layers as an OCI layout only, to save disk space.
func buildLayout(t *testing.T, dir string, size int64) *testImage {
	t.Helper()
	blobs := filepath.Join(dir, "blobs")
	must(t, os.MkdirAll(blobs, 0o755))
	image := &testImage{}
	image.amd64, _ = writeManifest(t, blobs, "amd64", []layer{
		writeLayer(t, blobs, "hello", 300), writeLayer(t, blobs, "model", size),
	})
	image.amd64Layout = writeLayout(t, filepath.Join(dir, "amd64"), blobs, image.amd64)
	return image
}

// writeLayer writes a layer of one file, which may be larger than memory.
func writeLayer(t *testing.T, blobs, name string, size int64) layer {
	t.Helper()
	file, err := os.CreateTemp(blobs, "layer")
	must(t, err)
	packed, diff, count := sha256.New(), sha256.New(), &counter{}
	z, err := gzip.NewWriterLevel(io.MultiWriter(file, packed), gzip.NoCompression)
	must(t, err)
	l := layer{name: name, size: size}
	l.writeTar(t, io.MultiWriter(z, diff, count))
	must(t, z.Close())
	info, err := file.Stat()
	must(t, err)
	must(t, file.Chmod(0o644))
	must(t, file.Close())
	l.blob = descriptor{MediaType: typeLayer, Digest: "sha256:" + hex.EncodeToString(packed.Sum(nil)), Size: info.Size()}
	l.diffID, l.tar = "sha256:"+hex.EncodeToString(diff.Sum(nil)), count.n
	must(t, os.Rename(file.Name(), filepath.Join(blobs, l.blob.Digest[len("sha256:"):])))
	return l
}

func (l layer) writeTar(t *testing.T, to io.Writer) {
	t.Helper()
	w := tar.NewWriter(to)
	must(t, w.WriteHeader(&tar.Header{Name: l.name, Mode: 0o644, Size: l.size, Format: tar.FormatPAX}))
	_, err := io.Copy(w, newNoise(l.name[0], 0, l.size))
	must(t, err)
	must(t, w.Close())
}

// counter counts the bytes written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func writeManifest(t *testing.T, blobs, architecture string, layers []layer) (descriptor, []byte) {
	t.Helper()
	var diffIDs []string
	var descriptors []descriptor
	for _, l := range layers {
		diffIDs = append(diffIDs, l.diffID)
		descriptors = append(descriptors, l.blob)
	}
	config := encode(t, map[string]any{
		"architecture": architecture,
		"os":           "linux",
		"config":       map[string]any{"Cmd": []string{"/hello"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	configBlob := writeBlob(t, blobs, typeConfig, config)
	manifest := writeDocument(t, blobs, typeManifest, document{
		SchemaVersion: 2, MediaType: typeManifest, Config: &configBlob, Layers: descriptors,
	})
	manifest.Platform = &platform{Architecture: architecture, OS: "linux"}
	return manifest, config
}

func writeDocument(t *testing.T, blobs, mediaType string, d document) descriptor {
	t.Helper()
	return writeBlob(t, blobs, mediaType, encode(t, d))
}

func writeBlob(t *testing.T, blobs, mediaType string, content []byte) descriptor {
	t.Helper()
	d := descriptor{MediaType: mediaType, Digest: digestOf(content), Size: int64(len(content))}
	must(t, os.WriteFile(filepath.Join(blobs, d.Digest[len("sha256:"):]), content, 0o644))
	return d
}

// writeLayout writes an OCI layout whose only entry is root. All layouts share the blobs through
// links; clients ignore those that root does not reference.
func writeLayout(t *testing.T, dir, blobs string, root descriptor) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	entries, err := os.ReadDir(blobs)
	must(t, err)
	for _, entry := range entries {
		must(t, os.Link(filepath.Join(blobs, entry.Name()), filepath.Join(dir, "blobs", "sha256", entry.Name())))
	}
	root.Annotations = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	index := document{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{root}}
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), encode(t, index), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	return dir
}

func writeArchive(t *testing.T, path string, config []byte, layers []layer) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	add := func(name string, content []byte) string {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(t, err)
		return name
	}
	var names []string
	for i, l := range layers {
		name := fmt.Sprintf("layer%d.tar", i)
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: l.tar}))
		l.writeTar(t, w)
		names = append(names, name)
	}
	configName := add(digestOf(config)[len("sha256:"):]+".json", config)
	add("manifest.json", encode(t, []map[string]any{{
		"Config": configName, "RepoTags": []string{"localhost/pierless/e2e:v1"}, "Layers": names,
	}}))
	must(t, w.Close())
	must(t, f.Close())
}

// checkLayout fails unless dir is an OCI layout with root and everything it references, and each
// blob has the content of its digest.
func checkLayout(t *testing.T, dir, root string) {
	t.Helper()
	var index document
	content, err := os.ReadFile(filepath.Join(dir, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(content, &index))
	if len(index.Manifests) != 1 || index.Manifests[0].Digest != root {
		t.Fatalf("%s has %+v, want one entry %s", dir, index.Manifests, root)
	}
	checkBlob(t, dir, index.Manifests[0])
}

func checkBlob(t *testing.T, dir string, d descriptor) {
	t.Helper()
	if got := fileDigest(t, filepath.Join(dir, "blobs", "sha256", d.Digest[len("sha256:"):])); got != d.Digest {
		t.Fatalf("content of %s has digest %s", d.Digest, got)
	}
	if d.MediaType != typeManifest && d.MediaType != typeIndex {
		return
	}
	var inner document
	must(t, json.Unmarshal(readBlob(t, dir, d.Digest), &inner))
	for _, child := range append(inner.Manifests, inner.Layers...) {
		checkBlob(t, dir, child)
	}
	if inner.Config != nil {
		checkBlob(t, dir, *inner.Config)
	}
}

func fileDigest(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	must(t, err)
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	must(t, err)
	return content
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readBlob(t *testing.T, layout, digest string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", digest[len("sha256:"):]))
	must(t, err)
	return content
}
