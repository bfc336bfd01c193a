package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	partPrefix  = ".pierless-unfinished-" // of files that are being written
	abandonedIn = 24 * time.Hour
)

// folderWriter writes an image into a layout. Every file gets its name when it is
// whole, index.json last: what a killed copy leaves, the next one goes on with.
type folderWriter struct {
	dir string
	tag string

	mu    sync.Mutex
	extra []oci.Descriptor // manifests that refer to others: index.json has to name them
}

// ToLayout writes an image into a layout, which is made if it is not there. tag may be
// empty: then the image is known by its digest.
func ToLayout(dir, tag string) (Destination, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	isLayout := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == layoutFile || e.Name() == indexFile || e.Name() == "blobs"
	})
	if len(entries) > 0 && !isLayout {
		return nil, fmt.Errorf("%s is no OCI layout, and not empty: name another folder", dir)
	}
	w := &folderWriter{dir: dir, tag: tag}
	for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		blobs := filepath.Join(dir, "blobs", string(algorithm))
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			return nil, err
		}
		if err := dropAbandoned(blobs); err != nil {
			return nil, err
		}
	}
	return w, w.write(layoutFile, strings.NewReader(layoutVersion))
}

// dropAbandoned deletes what copies left that were killed, where it may: the folder may
// be one that others write to as well.
func dropAbandoned(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, gone := e.Info()
		if gone == nil && info.Mode().IsRegular() && strings.HasPrefix(e.Name(), partPrefix) && time.Since(info.ModTime()) > abandonedIn {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// createPart makes a file that is to get its name later, with the rights that the user
// gives to new files.
func createPart(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, partPrefix+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// write makes a file at once: nobody sees a part of it.
func (w *folderWriter) write(path string, content io.Reader) error {
	return w.writeBy(path, func(to io.Writer) error {
		_, err := io.Copy(to, content)
		return err
	})
}

func (w *folderWriter) writeBy(path string, fill func(io.Writer) error) (err error) {
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

func (w *folderWriter) platform(context.Context) (*Platform, error) { return nil, nil }

// hasImage says no: looking for each blob is as cheap.
func (w *folderWriter) hasImage(context.Context, oci.Descriptor) (bool, error) { return false, nil }

func (w *folderWriter) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.Pushed, error) {
	path := blobPath(b.Digest)
	if info, err := os.Stat(filepath.Join(w.dir, filepath.FromSlash(path))); err == nil && info.Size() == b.Size {
		return client.Pushed{How: client.Existed}, nil
	}
	err := w.writeBy(path, func(to io.Writer) error { return checked(ctx, to, b, progress) })
	return client.Pushed{How: Written, Sent: b.Size}, err
}

func (w *folderWriter) putManifest(_ context.Context, m client.Manifest) error {
	if parsed, err := oci.ParseManifest(m.MediaType, m.Content); err == nil && parsed.Subject != "" {
		w.mu.Lock()
		w.extra = append(w.extra, m.Descriptor)
		w.mu.Unlock()
	}
	return w.write(blobPath(m.Digest), bytes.NewReader(m.Content))
}

// finish names the image in index.json, and keeps what else is there as it is.
func (w *folderWriter) finish(ctx context.Context, root client.Manifest) (string, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return "", err
	}
	in := map[string]json.RawMessage{}
	old, err := readSmall(filepath.Join(w.dir, indexFile), maxIndexFile)
	if err == nil {
		err = json.Unmarshal(old, &in)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read index.json of %s: %w", w.dir, err)
	}
	content, err := w.updated(in, root)
	if err != nil {
		return "", err
	}
	place := Place{Kind: OCILayout, Path: w.dir, Reference: oci.Reference{Tag: w.tag}}
	return place.String(), w.write(indexFile, bytes.NewReader(content))
}

// updated is index.json with the image in it. Entries of others stay byte for byte.
func (w *folderWriter) updated(in map[string]json.RawMessage, root client.Manifest) ([]byte, error) {
	var entries []json.RawMessage
	if have := in["manifests"]; have != nil {
		if err := json.Unmarshal(have, &entries); err != nil {
			return nil, fmt.Errorf("read index.json of %s: %w", w.dir, err)
		}
	}
	named := []oci.Descriptor{root.Descriptor}
	if w.tag != "" {
		named[0].Annotations = map[string]string{refName: w.tag}
	}
	for _, d := range w.extra {
		if d.Digest != root.Digest {
			named = append(named, d)
		}
	}
	entries = slices.DeleteFunc(entries, func(raw json.RawMessage) bool {
		var d oci.Descriptor
		if json.Unmarshal(raw, &d) != nil {
			return false
		}
		tag := d.Annotations[refName]
		replaced := tag != "" && tag == w.tag
		return replaced || tag == "" && slices.ContainsFunc(named, func(n oci.Descriptor) bool { return n.Digest == d.Digest })
	})
	for _, d := range named {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		entries = append(entries, raw)
	}
	var err error
	if in["manifests"], err = json.Marshal(entries); err != nil {
		return nil, err
	}
	in["schemaVersion"] = json.RawMessage("2")
	in["mediaType"] = json.RawMessage(`"` + oci.MediaTypeImageIndex + `"`)
	return json.Marshal(in)
}

// Close has nothing to drop: what is there is whole.
func (w *folderWriter) Close() error { return nil }
