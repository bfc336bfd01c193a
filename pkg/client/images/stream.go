package images

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// maxDocuments limits the documents of an archive that is read sequentially, in bytes: they are
// held in memory until the archive ends.
const maxDocuments = 64 << 20

// stream is an archive of docker save that is read once, from its beginning to its end, as a
// source. Its manifest.json comes last: each layer is sent before it is known to belong to the
// image.
type stream struct {
	reference Reference
	what      string // for errors
	spool     *Spool
	open      func(ctx context.Context, p *Platform) (io.ReadCloser, error)
	close     func() error // of a file that was open before send
}

// FromDaemon reads an image from a Docker daemon.
func FromDaemon(d Daemon, n Name, spool *Spool) Source {
	return &stream{
		reference: Reference{Transport: DockerDaemon, Name: n}, what: "the Docker daemon", spool: spool, close: func() error { return nil },
		open: func(ctx context.Context, p *Platform) (io.ReadCloser, error) { return d.Save(ctx, n.String(), p) },
	}
}

// Close closes a file that was open before send; send closes what it opens.
func (s *stream) Close() error { return s.close() }

func (s *stream) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	body, err := s.open(ctx, t.opts.Platform)
	if err != nil {
		return client.Manifest{}, err
	}
	defer body.Close()
	in := incoming{t: t, spool: s.spool, documents: map[string][]byte{}, layers: map[string]*layer{}, links: map[string]string{}}
	for r := tar.NewReader(ending{ctx, body}); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = in.take(ctx, h, r)
		}
		if err != nil {
			return client.Manifest{}, fmt.Errorf("read the image from %s: %w", s.what, err)
		}
	}
	return sendArchive(ctx, s.reference, s.what, &in, t)
}

// incoming is the part of an archive that was read.
type incoming struct {
	t         *transfer
	spool     *Spool
	documents map[string][]byte // by path
	held      int64             // bytes of documents
	layers    map[string]*layer // by path: being sent
	links     map[string]string
	names     nameCount
}

// take reads one file of the archive.
func (in *incoming) take(ctx context.Context, h *tar.Header, r io.Reader) error {
	if err := in.names.add(h); err != nil {
		return err
	}
	name := path.Clean(h.Name)
	if h.Typeflag != tar.TypeReg {
		in.links[name] = linkTarget(h)
		return nil
	}
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(peeked)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if isJSON(head) && h.Size <= maxManifest && in.held+h.Size <= maxDocuments {
		in.held += h.Size
		in.documents[name], err = io.ReadAll(buffered)
		return err
	}
	digest, isBlob := blobDigest(name)
	if !isBlob && !strings.HasSuffix(name, ".tar") && !strings.HasSuffix(name, ".tar.gz") {
		return nil // VERSION, for example
	}
	l, err := in.spool.take(ctx, buffered, name, digest, h.Size, in.t.opts.Observer)
	if err != nil {
		return fmt.Errorf("layer %s: %w", name, err)
	}
	in.layers[name] = &l
	return in.t.blob(ctx, l.Blob)
}

// blobDigest returns the digest in a path of a layout.
func blobDigest(name string) (oci.Digest, bool) {
	algorithm, encoded := path.Split(strings.TrimPrefix(name, "blobs/"))
	d, err := oci.ParseDigest(strings.TrimSuffix(algorithm, "/") + ":" + encoded)
	return d, err == nil && strings.HasPrefix(name, "blobs/")
}

func (in *incoming) document(name string) (content []byte, found bool, err error) {
	content, found = in.documents[follow(name, in.links)]
	return content, found, nil
}

func (in *incoming) layer(_ context.Context, name string) (*layer, error) {
	return in.layers[follow(name, in.links)], nil
}

// find returns documents, and layers that were not compressed here: these are being sent.
func (in *incoming) find(d oci.Descriptor) (Blob, bool) {
	name := follow(blobPath(d.Digest), in.links)
	if content, found := in.documents[name]; found {
		if d.Size < 0 {
			d.Size = int64(len(content))
		}
		return bytesBlob(d, content), true
	}
	l := in.layers[name]
	if l == nil || l.Digest != d.Digest {
		return Blob{}, false
	}
	sent := l.Blob
	sent.drop = nil // its sender drops it
	return sent, true
}
