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

// layoutWriter writes an image into a layout. Every file gets its name when it is
// whole, index.json last: what a killed copy leaves, the next one goes on with.
type layoutWriter struct {
	dir string
	tag string

	mu    sync.Mutex
	extra []oci.Descriptor // referrers and signatures, which index.json has to name too
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
	w := &layoutWriter{dir: dir, tag: tag}
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

// hasImage says no: looking for each blob is as cheap.
func (w *layoutWriter) hasImage(context.Context, oci.Descriptor) (bool, error) { return false, nil }

func (w *layoutWriter) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error) {
	path := blobPath(b.Digest)
	if info, err := os.Stat(filepath.Join(w.dir, filepath.FromSlash(path))); err == nil && info.Size() == b.Size {
		return client.PushResult{Method: client.Existed}, nil
	}
	err := w.writeBy(path, func(to io.Writer) error { return checked(ctx, to, b, progress) })
	return client.PushResult{Method: Written, Sent: b.Size}, err
}

func (w *layoutWriter) putManifest(_ context.Context, m client.Manifest) error {
	if refersTo(m) != "" {
		w.mu.Lock()
		w.extra = append(w.extra, m.Descriptor)
		w.mu.Unlock()
	}
	return w.write(blobPath(m.Digest), bytes.NewReader(m.Content))
}

func (w *layoutWriter) putTag(_ context.Context, tag string, m client.Manifest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extra = append(w.extra, withTag(m.Descriptor, tag))
	return nil
}

// finish names the image in index.json, and keeps what else is there as it is.
func (w *layoutWriter) finish(ctx context.Context, root client.Manifest) (named, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return named{}, err
	}
	in := map[string]json.RawMessage{}
	old, err := readSmall(filepath.Join(w.dir, indexFile), maxIndexFile)
	if err == nil {
		err = json.Unmarshal(old, &in)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return named{}, fmt.Errorf("read index.json of %s: %w", w.dir, err)
	}
	content, err := w.updated(in, root)
	if err != nil {
		return named{}, err
	}
	place := Reference{Transport: OCILayout, Path: w.dir, Reference: oci.Reference{Tag: w.tag}}
	return named{name: place.String()}, w.write(indexFile, bytes.NewReader(content))
}

// updated is index.json with the image in it. Entries of others stay byte for byte.
func (w *layoutWriter) updated(in map[string]json.RawMessage, root client.Manifest) ([]byte, error) {
	var all []json.RawMessage
	if have := in["manifests"]; have != nil {
		if err := json.Unmarshal(have, &all); err != nil {
			return nil, fmt.Errorf("read index.json of %s: %w", w.dir, err)
		}
	}
	ours := entries(withTag(root.Descriptor, w.tag), w.extra)
	all = slices.DeleteFunc(all, func(raw json.RawMessage) bool {
		var d oci.Descriptor
		if json.Unmarshal(raw, &d) != nil {
			return false
		}
		tag := d.Annotations[refName]
		return slices.ContainsFunc(ours, func(n oci.Descriptor) bool {
			return tag == n.Annotations[refName] && tag != "" || tag == "" && d.Digest == n.Digest
		})
	})
	for _, d := range ours {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	var err error
	if in["manifests"], err = json.Marshal(all); err != nil {
		return nil, err
	}
	in["schemaVersion"] = json.RawMessage("2")
	in["mediaType"] = json.RawMessage(`"` + oci.MediaTypeImageIndex + `"`)
	return json.Marshal(in)
}

// Close has nothing to drop: what is there is whole.
func (w *layoutWriter) Close() error { return nil }
