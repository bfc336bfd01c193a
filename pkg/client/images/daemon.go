package images

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// Daemon is the API of a Docker daemon.
type Daemon interface {
	// Save returns the archive of docker save of one image; p, if non-nil, selects the
	// platform of an image for several.
	Save(ctx context.Context, name string, p *Platform) (io.ReadCloser, error)
	// Load loads an archive, as docker load does.
	Load(ctx context.Context, archive io.Reader) error
	// Info describes the daemon.
	Info(ctx context.Context) (DaemonInfo, error)
	// ImageID returns the ID of an image by its name or ID.
	ImageID(ctx context.Context, name string) (oci.Digest, error)
}

// DaemonInfo describes a Docker daemon.
type DaemonInfo struct {
	// Platform is the one that the daemon runs.
	Platform Platform
	// KeepsManifests is whether images are in containerd's store, which loads OCI archives
	// with their manifests. The classic store keeps configs and uncompressed layers.
	KeepsManifests bool
	// SparseIndexes is whether that store loads an index without all of its images.
	SparseIndexes bool
}

// daemonWriter loads an image into a Docker daemon.
type daemonWriter struct {
	*archiveWriter
	daemon Daemon
	image  Name
	info   DaemonInfo
}

// ToDaemon loads an image into a Docker daemon, in one request.
func ToDaemon(ctx context.Context, d Daemon, n Name, spool *Spool) Destination {
	r, pipe := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	n.Digest = ""
	a := &archiveWriter{name: n.String(), tag: n.Tag, spool: spool, has: map[oci.Digest]bool{}}
	loaded := make(chan error, 1)
	var start sync.Once
	load := func() {
		go func() {
			err := d.Load(ctx, r)
			// Pending writes fail with the reason.
			_ = r.CloseWithError(errors.Join(err, errNotRead))
			loaded <- err
		}()
	}
	a.w = tar.NewWriter(starting{pipe, func() { start.Do(load) }})
	a.done = func(context.Context) error {
		defer cancel()
		_ = pipe.Close() // never fails
		return <-loaded
	}
	a.drop = func() error {
		cancel()
		_ = pipe.CloseWithError(context.Canceled)
		return nil
	}
	return &daemonWriter{archiveWriter: a, daemon: d, image: n}
}

var errNotRead = errors.New("the Docker daemon stopped reading the image")

// starting is a writer that calls begin before the first byte.
type starting struct {
	io.Writer
	begin func()
}

func (s starting) Write(p []byte) (int, error) {
	s.begin()
	return s.Writer.Write(p)
}

// limits asks the daemon which kind of archive it supports.
func (w *daemonWriter) limits(ctx context.Context) (limits, error) {
	var err error
	if w.info, err = w.daemon.Info(ctx); err != nil {
		return limits{}, err
	}
	if !w.info.KeepsManifests {
		w.saved = &w.image
	}
	return limits{platform: &w.info.Platform, sparse: w.info.KeepsManifests && w.info.SparseIndexes}, nil
}

// finish ends the archive and asks the daemon for the ID of the image. That is the digest, unless
// the daemon made another manifest, or keeps none.
func (w *daemonWriter) finish(ctx context.Context, root client.Manifest) (named, error) {
	if err := w.putManifest(ctx, root); err != nil {
		return named{}, err
	}
	known, ask, err := w.load(ctx, root)
	if err != nil {
		return named{}, err
	}
	id, err := w.daemon.ImageID(ctx, ask)
	if err != nil {
		return named{}, err
	}
	if id != root.Digest {
		known.imageID = id
		if w.image.Tag == "" {
			known.name = string(id)
		}
	}
	return known, nil
}

// load ends the archive. It returns the names of the image for the user and for the daemon.
func (w *daemonWriter) load(ctx context.Context, root client.Manifest) (known named, ask string, err error) {
	known.name, ask = w.name, w.image.String()
	if w.saved != nil {
		if w.image.Tag == "" {
			image, err := runnable(root)
			if err != nil {
				return known, "", err
			}
			ask = string(image.Blobs[0].Digest)
		}
		_, err := w.archiveWriter.finish(ctx, root)
		return known, ask, err
	}
	n := w.image
	if n.Tag == "" {
		n.Digest = root.Digest // as docker pull names it
		ask = n.String()
	}
	d := withTag(root.Descriptor, w.tag)
	d.Annotations = addName(d.Annotations, n)
	// With the layout file containerd reads index.json and keeps manifests; without it,
	// containerd makes new ones from manifest.json.
	if err := errors.Join(w.writeIndex([]oci.Descriptor{d}), w.file(layoutFile, []byte(layoutVersion))); err != nil {
		return known, "", err
	}
	return known, ask, w.end(ctx)
}
