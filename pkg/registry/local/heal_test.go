package local_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
)

// TestHealedFiles: files that were removed, cut off, or have one bit flipped are whole again
// once their content was pushed again.
func TestHealedFiles(t *testing.T) {
	damages := map[string]func(string) error{
		"removed": os.Remove,
		"cut off": func(path string) error { return os.Truncate(path, 3) },
		"bit flipped": func(path string) error {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
	}
	pushes := map[string]func(context.Context, *registry.Registry, oci.Digest, []byte) error{
		"POST": func(ctx context.Context, r *registry.Registry, d oci.Digest, content []byte) error {
			return r.PushBlob(ctx, "a", d, int64(len(content)), bytes.NewReader(content))
		},
		"PATCH and PUT": func(ctx context.Context, r *registry.Registry, d oci.Digest, content []byte) error {
			u, err := r.StartUpload(ctx, "a", "")
			if err != nil {
				return err
			}
			if _, err := r.AppendUpload(ctx, "a", u.ID, registry.Chunk{Offset: 0, Length: -1, Body: bytes.NewReader(content)}); err != nil {
				return err
			}
			return r.CompleteUpload(ctx, "a", u.ID, registry.Finish{Digest: d, Size: -1, Chunk: registry.Chunk{Offset: -1}})
		},
	}
	folder := t.TempDir()
	store, err := local.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := registry.New(store.Metadata(), store.Blobs(), registry.Options{})
	for how, push := range pushes {
		for what, damage := range damages {
			for _, size := range []int{5000, 6 << 20} {
				content := make([]byte, size)
				_, _ = rand.Read(content) // it never fails
				d := oci.SHA256.FromBytes(content)
				if err := push(t.Context(), r, d, content); err != nil {
					t.Fatal(err)
				}
				if err := damage(fileOf(t, folder, content)); err != nil {
					t.Fatal(err)
				}
				if err := push(t.Context(), r, d, content); err != nil {
					t.Fatal(err)
				}
				if got := read(t, r, d); !bytes.Equal(got, content) {
					t.Errorf("%d bytes that were %s and pushed again by %s: %d other bytes came back", size, what, how, len(got))
				}
			}
		}
	}
}

// fileOf finds the file of content.
func fileOf(t *testing.T, folder string, content []byte) (found string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(folder, "blobs"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		have, err := os.ReadFile(path)
		if bytes.Equal(have, content) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("the file is not found: %v", err)
	}
	return found
}

func read(t *testing.T, r *registry.Registry, d oci.Digest) []byte {
	t.Helper()
	b, err := r.FindBlob(t.Context(), "a", d, false)
	if err != nil {
		t.Fatal(err)
	}
	body, err := r.OpenBlob(t.Context(), b, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
