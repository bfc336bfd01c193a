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

// archiveWriter writes an image as an archive that is an OCI layout, and, for Docker, one
// of docker save as well: old daemons read manifest.json, new ones index.json.
type archiveWriter struct {
	name  string // of the place
	tag   string // for index.json
	saved *Name  // for manifest.json; nil: none. The zero Name: no tag
	only  func(ctx context.Context) (*Platform, error)
	spool *Spool
	done  func(ctx context.Context) error // after the last byte
	drop  func() error                    // instead of done; after it, nothing

	mu  sync.Mutex // of w: an archive has one end
	w   *tar.Writer
	has map[oci.Digest]bool // manifests and blobs
}

// ToArchive writes an image into a file of p's kind. The file gets its name when it is
// whole.
func ToArchive(p Place, spool *Spool) (Destination, error) {
	// The new file takes the place of what is there: not of a device, nor of a pipe.
	if info, err := os.Stat(p.Path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: name one that is to be the archive", p.Path)
	}
	if err := dropAbandoned(filepath.Dir(p.Path)); err != nil {
		return nil, err
	}
	f, err := createPart(filepath.Dir(p.Path))
	if err != nil {
		return nil, err
	}
	gone := false
	p.Name.Digest = ""
	w := &archiveWriter{name: p.String(), tag: p.Reference.Tag, spool: spool, w: tar.NewWriter(f), has: map[oci.Digest]bool{}}
	w.only = func(context.Context) (*Platform, error) { return nil, nil }
	if p.Kind == DockerArchive {
		w.saved, w.tag = &p.Name, p.Name.Tag
		w.only = func(context.Context) (*Platform, error) {
			return &Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
		}
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

// ToDaemon loads an image into a Docker daemon, in one request that ends well or leaves
// nothing.
func ToDaemon(ctx context.Context, d Daemon, n Name, spool *Spool) Destination {
	r, pipe := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	n.Digest = ""
	w := &archiveWriter{name: n.String(), tag: n.Tag, saved: &n, spool: spool, w: tar.NewWriter(pipe), has: map[oci.Digest]bool{}}
	w.only = func(ctx context.Context) (*Platform, error) {
		p, err := d.Platform(ctx)
		return &p, err
	}
	loaded := make(chan error, 1)
	var start sync.Once
	load := func() {
		go func() {
			err := d.Load(ctx, r)
			// Whoever still writes is told why nobody reads.
			_ = r.CloseWithError(errors.Join(err, errNotRead))
			loaded <- err
		}()
	}
	w.w = tar.NewWriter(starting{pipe, func() { start.Do(load) }})
	w.done = func(context.Context) error {
		defer cancel()
		_ = pipe.Close() // a pipe's end cannot fail
		return <-loaded
	}
	w.drop = func() error {
		cancel()
		_ = pipe.CloseWithError(context.Canceled)
		return nil
	}
	return w
}

var errNotRead = errors.New("the Docker daemon stopped reading the image")

// starting begins something with the first byte.
type starting struct {
	io.Writer
	begin func()
}

func (s starting) Write(p []byte) (int, error) {
	s.begin()
	return s.Writer.Write(p)
}

func (w *archiveWriter) platform(ctx context.Context) (*Platform, error) { return w.only(ctx) }

func (w *archiveWriter) hasImage(context.Context, oci.Descriptor) (bool, error) { return false, nil }

// putBlob writes the blob when it is its turn. Until then it is fetched, if it is far.
func (w *archiveWriter) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.Pushed, error) {
	pushed := client.Pushed{How: Written, Sent: b.Size}
	if !w.mu.TryLock() {
		if !b.near {
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
	return w.file(blobPath(m.Digest), m.Content)
}

// finish writes the documents that name the image: last, as they make an archive one.
func (w *archiveWriter) finish(ctx context.Context, root client.Manifest) (string, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return "", err
	}
	d := root.Descriptor
	d.Annotations = map[string]string{}
	if w.tag != "" {
		d.Annotations[refName] = w.tag
	}
	if w.saved != nil {
		if err := w.writeSaved(root, d.Annotations); err != nil {
			return "", err
		}
	}
	index, err := json.Marshal(oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{d}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(w.file(indexFile, index), w.w.Close()); err != nil {
		return "", err
	}
	if err := w.done(ctx); err != nil {
		return "", err
	}
	w.drop = nil
	return w.name, nil
}

// writeSaved writes manifest.json.
func (w *archiveWriter) writeSaved(root client.Manifest, annotations map[string]string) error {
	m, err := oci.ParseManifest(root.MediaType, root.Content)
	if err != nil {
		return err
	}
	if len(m.Blobs) == 0 || !isConfig(m.Blobs[0].MediaType) {
		return fmt.Errorf("%s is no image that Docker can run, but %s: write it to oci:DIR", root.Digest, m.ArtifactType)
	}
	s := saved{Config: blobPath(m.Blobs[0].Digest), RepoTags: []string{}, Layers: []string{}}
	for _, d := range m.Blobs[1:] {
		s.Layers = append(s.Layers, blobPath(d.Digest))
	}
	if w.saved.Tag != "" {
		s.RepoTags = append(s.RepoTags, w.saved.String())
		annotations[imageName] = w.saved.Host + "/" + w.saved.Repository + ":" + w.saved.Tag
	}
	content, err := json.Marshal([]saved{s})
	if err != nil {
		return err
	}
	return w.file(manifestFile, content)
}

// Close drops an archive that was not finished.
func (w *archiveWriter) Close() error {
	if w.drop == nil {
		return nil
	}
	return w.drop()
}
