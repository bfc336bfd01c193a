package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	partPrefix = ".pierless-unfinished-" // of files that are being written
	// abandonedIn is the age from which an unfinished file or upload is abandoned: registries
	// expire idle uploads after a day.
	abandonedIn = 24 * time.Hour
)

// layoutWriter writes an image into a layout. Each file gets its name when it is complete,
// index.json last: after an interruption the next copy uses the files that are there.
type layoutWriter struct {
	extras
	dir string
	tag string
}

// ToLayout writes an image into a layout, and creates it if necessary. Without a tag the image is
// identified by its digest.
func ToLayout(dir, tag string) (Destination, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	isLayout := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == layoutFile || e.Name() == indexFile || e.Name() == "blobs"
	})
	if len(entries) > 0 && !isLayout {
		return nil, fmt.Errorf("%s is not an OCI layout, and not empty: name another directory", dir)
	}
	w := &layoutWriter{dir: dir, tag: tag}
	for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		blobs := filepath.Join(dir, "blobs", string(algorithm))
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			return nil, err
		}
		if err := dropAbandoned(blobs, partPrefix); err != nil {
			return nil, err
		}
	}
	return w, w.write(layoutFile, strings.NewReader(layoutVersion))
}

// dropAbandoned deletes the old files of a directory whose names have a prefix: copies that were
// killed left them. It ignores those that it cannot delete: others may write to the directory.
func dropAbandoned(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, gone := e.Info()
		if gone == nil && info.Mode().IsRegular() && strings.HasPrefix(e.Name(), prefix) && time.Since(info.ModTime()) > abandonedIn {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// createPart creates a file that is renamed once it is complete. The umask sets its permissions.
func createPart(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, partPrefix+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// write creates a file atomically.
func (w *layoutWriter) write(path string, content io.Reader) error {
	return w.writeBy(path, func(to io.Writer) error {
		_, err := io.Copy(to, content)
		return err
	})
}

func (w *layoutWriter) writeBy(path string, fill func(io.Writer) error) (err error) {
	path = filepath.Join(w.dir, filepath.FromSlash(path))
	f, err := createPart(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (w *layoutWriter) limits(context.Context) (limits, error) { return limits{}, nil }

func (w *layoutWriter) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error) {
	path := blobPath(b.Digest)
	if info, err := os.Stat(filepath.Join(w.dir, filepath.FromSlash(path))); err == nil && info.Size() == b.Size {
		return client.PushResult{Method: client.Existed}, nil
	}
	err := w.writeBy(path, func(to io.Writer) error { return checked(ctx, to, b, progress) })
	return client.PushResult{Method: Written, Sent: b.Size}, err
}

func (w *layoutWriter) putManifest(_ context.Context, m client.Manifest) error {
	w.addReferrer(m)
	return w.write(blobPath(m.Digest), bytes.NewReader(m.Content))
}

// finish adds the image to index.json, and keeps the other entries.
func (w *layoutWriter) finish(ctx context.Context, root client.Manifest) (named, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return named{}, err
	}
	old, err := readSmall(filepath.Join(w.dir, indexFile), maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte("{}"), nil
	}
	if err == nil {
		old, err = client.EditIndex(old, w.replacing(root))
	}
	if err != nil {
		return named{}, fmt.Errorf("update index.json of %s: %w", w.dir, err)
	}
	r := Reference{Transport: OCILayout, Path: w.dir, Selector: oci.Reference{Tag: w.tag}}
	return named{name: r.String()}, w.write(indexFile, bytes.NewReader(old))
}

// replacing returns a function that replaces entries with the same tag, or without a tag and with the
// same digest.
func (w *layoutWriter) replacing(root client.Manifest) func([]client.IndexEntry) []client.IndexEntry {
	return func(entries []client.IndexEntry) []client.IndexEntry {
		ours := w.entries(withTag(root.Descriptor, w.tag))
		entries = slices.DeleteFunc(entries, func(e client.IndexEntry) bool {
			tag := e.Annotations[refName]
			return slices.ContainsFunc(ours, func(n oci.Descriptor) bool {
				return tag == n.Annotations[refName] && (tag != "" || e.Digest == n.Digest)
			})
		})
		for _, d := range ours {
			entries = append(entries, client.IndexEntry{Descriptor: d})
		}
		return entries
	}
}

// Close implements Destination: every file is complete.
func (w *layoutWriter) Close() error { return nil }
