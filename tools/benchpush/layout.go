package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// layout is an OCI layout on disk, with one image "v1".
type layout struct {
	dir    string
	layers []string // the files of the layers
	total  int64    // bytes of them
}

// writeLayout makes an image of layers that no compression makes smaller, the same
// ones in every run. Nobody unpacks them: they need be no archives.
func writeLayout(dir string, files int, size int64) (layout, error) {
	l := layout{dir: dir, total: int64(files) * size}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return l, err
	}
	config, err := writeBlob(blobs, "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	if err != nil {
		return l, err
	}
	manifest := document{SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", Config: &config}
	for i := range files {
		layer, err := writeNoise(blobs, byte(i), size)
		if err != nil {
			return l, err
		}
		manifest.Layers = append(manifest.Layers, layer)
		l.layers = append(l.layers, filepath.Join(blobs, layer.Digest[len("sha256:"):]))
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return l, err
	}
	root, err := writeBlob(blobs, manifest.MediaType, content)
	if err != nil {
		return l, err
	}
	root.Annotations = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	index, err := json.Marshal(document{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []descriptor{root}})
	if err != nil {
		return l, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		return l, err
	}
	return l, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func writeBlob(blobs, mediaType string, content []byte) (descriptor, error) {
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: int64(len(content))}
	return d, os.WriteFile(filepath.Join(blobs, name), content, 0o644)
}

func writeNoise(blobs string, seed byte, size int64) (descriptor, error) {
	file, err := os.CreateTemp(blobs, "layer")
	if err != nil {
		return descriptor{}, err
	}
	hash := sha256.New()
	noise := rand.NewChaCha8([32]byte{seed})
	_, err = io.CopyBuffer(io.MultiWriter(file, hash), io.LimitReader(noise, size), make([]byte, 1<<20))
	if err != nil {
		return descriptor{}, err
	}
	if err := file.Close(); err != nil {
		return descriptor{}, err
	}
	name := hex.EncodeToString(hash.Sum(nil))
	d := descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: "sha256:" + name, Size: size}
	return d, os.Rename(file.Name(), filepath.Join(blobs, name))
}
