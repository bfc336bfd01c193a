package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// archiveWriter writes an image as an archive that is an OCI layout and, for Docker, one of docker
// save as well: old daemons read manifest.json, new ones index.json.
type archiveWriter struct {
	extras
	name  string // of the destination
	tag   string // for index.json
	saved *Name  // for manifest.json; nil: none. The zero Name: no tag
	takes limits
	spool *Spool
	done  func(ctx context.Context) error // after the last byte
	drop  func() error                    // instead of done; no-op after it

	mu  sync.Mutex // of w: an archive has one end
	w   *tar.Writer
	has map[oci.Digest]bool // manifests and blobs
}

// ToArchive writes an image into an archive. The file gets its name when it is complete.
func ToArchive(p Reference, spool *Spool) (Destination, error) {
	// The new file replaces the old one, but no device or pipe.
	if info, err := os.Stat(p.Path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", p.Path)
	}
	if err := dropAbandoned(filepath.Dir(p.Path), partPrefix); err != nil {
		return nil, err
	}
	f, err := createPart(filepath.Dir(p.Path))
	if err != nil {
		return nil, err
	}
	gone := false
	p.Name.Digest = ""
	w := &archiveWriter{name: p.String(), tag: p.Selector.Tag, spool: spool, w: tar.NewWriter(f), has: map[oci.Digest]bool{}}
	if p.Transport == DockerArchive {
		w.saved, w.tag = &p.Name, p.Name.Tag
		w.takes.platform = &Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	w.done = func(context.Context) error {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		gone = true
		return os.Rename(f.Name(), p.Path)
	}
	w.drop = func() error {
		if gone {
			return nil
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
	return w, w.file(layoutFile, []byte(layoutVersion))
}

func (w *archiveWriter) limits(context.Context) (limits, error) { return w.takes, nil }

// putBlob writes one blob after the other. A remote blob that must wait is fetched meanwhile.
func (w *archiveWriter) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error) {
	pushed := client.PushResult{Method: Written, Sent: b.Size}
	if !w.mu.TryLock() {
		if !b.local {
			fetched, err := w.spool.fetch(ctx, b, progress)
			if err != nil {
				return pushed, err
			}
			b, progress = fetched, func(int64) {}
			defer b.release()
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if err := w.header(blobPath(b.Digest), b.Size); err != nil {
		return pushed, err
	}
	w.has[b.Digest] = true
	return pushed, checked(ctx, w.w, b, progress)
}

func (w *archiveWriter) header(name string, size int64) error {
	return w.w.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX})
}

func (w *archiveWriter) file(name string, content []byte) error {
	if err := w.header(name, int64(len(content))); err != nil {
		return err
	}
	_, err := io.Copy(w.w, bytes.NewReader(content))
	return err
}

func (w *archiveWriter) putManifest(_ context.Context, m client.Manifest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.has[m.Digest] {
		return nil
	}
	w.has[m.Digest] = true
	w.addReferrer(m)
	return w.file(blobPath(m.Digest), m.Content)
}

// finish writes the documents that name the image.
func (w *archiveWriter) finish(ctx context.Context, root client.Manifest) (named, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return named{}, err
	}
	d := withTag(root.Descriptor, w.tag)
	if w.saved != nil {
		if err := w.writeSaved(root); err != nil {
			return named{}, err
		}
		if w.saved.Tag != "" {
			d.Annotations = addName(d.Annotations, *w.saved)
		}
	}
	if err := w.writeIndex(w.entries(d)); err != nil {
		return named{}, err
	}
	return named{name: w.name}, w.end(ctx)
}

func (w *archiveWriter) writeIndex(entries []oci.Descriptor) error {
	index, err := json.Marshal(oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: entries})
	if err != nil {
		return err
	}
	return w.file(indexFile, index)
}

// end closes a complete archive.
func (w *archiveWriter) end(ctx context.Context) error {
	if err := w.w.Close(); err != nil {
		return err
	}
	if err := w.done(ctx); err != nil {
		return err
	}
	w.drop = nil
	return nil
}

// writeSaved writes manifest.json.
func (w *archiveWriter) writeSaved(root client.Manifest) error {
	m, err := runnable(root)
	if err != nil {
		return err
	}
	s := saved{Config: blobPath(m.Blobs[0].Digest), RepoTags: []string{}, Layers: []string{}}
	for _, d := range m.Blobs[1:] {
		s.Layers = append(s.Layers, blobPath(d.Digest))
	}
	if w.saved.Tag != "" {
		s.RepoTags = append(s.RepoTags, w.saved.String())
	}
	content, err := json.Marshal([]saved{s})
	if err != nil {
		return err
	}
	return w.file(manifestFile, content)
}

// runnable parses a manifest, which must be that of an image that Docker can run.
func runnable(m client.Manifest) (oci.Manifest, error) {
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return parsed, err
	}
	if len(parsed.Blobs) == 0 || !isConfig(parsed.Blobs[0].MediaType) {
		return parsed, fmt.Errorf("%s is not an image that Docker can run, but %s: write it to oci:DIR",
			m.Digest, parsed.ArtifactType)
	}
	return parsed, nil
}

// addName adds the annotation for the name that containerd, and so Docker, reads.
func addName(annotations map[string]string, n Name) map[string]string {
	name := n.Host + "/" + n.Repository
	switch {
	case n.Digest != "":
		name += "@" + string(n.Digest)
	default:
		name += ":" + n.Tag
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[imageName] = name
	return annotations
}

// Close deletes an archive that was not finished.
func (w *archiveWriter) Close() error {
	if w.drop == nil {
		return nil
	}
	return w.drop()
}
