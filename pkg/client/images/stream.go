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

// maxDocuments bounds the documents of an archive that is read from front to end: they
// are held in memory, as what they mean shows last. In bytes.
const maxDocuments = 64 << 20

// stream is an archive of docker save that comes once, from front to end, as a source.
// Which layers belong to the image it says last: so each layer is sent when it comes.
type stream struct {
	place Reference
	what  string // the place, for errors
	spool *Spool
	open  func(ctx context.Context, p *Platform) (io.ReadCloser, error)
	close func() error // nil: nothing is open before open
}

// FromDaemon reads an image from a Docker daemon.
func FromDaemon(d Daemon, n Name, spool *Spool) Source {
	return &stream{place: Reference{Transport: DockerDaemon, Name: n}, what: "the Docker daemon", spool: spool, open: func(ctx context.Context, p *Platform) (io.ReadCloser, error) {
		return d.Save(ctx, n.String(), p)
	}}
}

// Close lets go of what was open before send, which closes what it opens.
func (s *stream) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

func (s *stream) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	body, err := s.open(ctx, t.opts.Platform)
	if err != nil {
		return client.Manifest{}, err
	}
	defer body.Close()
	in := incoming{t: t, spool: s.spool, documents: map[string][]byte{}, layers: map[string]layer{}, links: map[string]string{}}
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
	return in.image(ctx, s)
}

// incoming is what has come so far.
type incoming struct {
	t         *transfer
	spool     *Spool
	documents map[string][]byte // by path
	held      int64             // bytes of documents
	layers    map[string]layer  // by path: on their way
	links     map[string]string
	names     nameCount
}

// take takes one file of the archive.
func (in *incoming) take(ctx context.Context, h *tar.Header, r io.Reader) error {
	if err := in.names.take(h); err != nil {
		return err
	}
	name := path.Clean(h.Name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		in.links[name] = path.Join(path.Dir(name), h.Linkname)
		return nil
	case tar.TypeLink:
		in.links[name] = path.Clean(h.Linkname)
		return nil
	case tar.TypeReg:
	default:
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
		return nil // VERSION and the like
	}
	l, err := in.spool.take(ctx, buffered, name, digest, h.Size, in.t.opts.Observer)
	if err != nil {
		return fmt.Errorf("layer %s: %w", name, err)
	}
	in.layers[name] = l
	return in.t.blob(ctx, l.Blob)
}

// blobDigest is the digest that a path of a layout says.
func blobDigest(name string) (oci.Digest, bool) {
	algorithm, encoded := path.Split(strings.TrimPrefix(name, "blobs/"))
	d, err := oci.ParseDigest(strings.TrimSuffix(algorithm, "/") + ":" + encoded)
	return d, err == nil && strings.HasPrefix(name, "blobs/")
}

// image sends what is left when all has come: documents.
func (in *incoming) image(ctx context.Context, s *stream) (client.Manifest, error) {
	if index, there := in.documents[indexFile]; there {
		l := layout{what: s.what, index: index, reference: s.place.Reference, name: s.place.Name, find: in.find}
		if s.place.Transport == OCIArchive {
			return sendTree(ctx, l, in.t)
		}
		if root, found, err := wholeImage(ctx, l, in.t); err != nil || found {
			return root, err
		}
	}
	list, there := in.documents[manifestFile]
	if !there {
		return client.Manifest{}, fmt.Errorf("what %s gave is no archive of docker save: it has no manifest.json", s.what)
	}
	chosen, err := chooseSaved(list, s.savedName(list))
	if err != nil {
		return client.Manifest{}, err
	}
	link := func(name string) string { return in.links[name] }
	config, there := in.documents[follow(chosen.Config, link)]
	if !there {
		return client.Manifest{}, fmt.Errorf("what %s gave has no config %s", s.what, chosen.Config)
	}
	var layers []layer
	for _, name := range chosen.Layers {
		l, there := in.layers[follow(name, link)]
		if !there {
			return client.Manifest{}, fmt.Errorf("what %s gave has no layer %s", s.what, name)
		}
		layers = append(layers, l)
	}
	return assemble(ctx, config, layers, in.t)
}

// savedName is the name to look for: a daemon was asked for one image, which it may save
// without a name or under another spelling.
func (s *stream) savedName(list []byte) Name {
	if _, err := chooseSaved(list, Name{}); err == nil && s.place.Transport == DockerDaemon {
		return Name{}
	}
	return s.place.Name
}

// find finds documents, and layers that came as they are: these are on their way.
func (in *incoming) find(d oci.Descriptor) (Blob, bool) {
	name := follow(blobPath(d.Digest), func(n string) string { return in.links[n] })
	if content, there := in.documents[name]; there {
		if d.Size < 0 {
			d.Size = int64(len(content))
		}
		return bytesBlob(d, content), true
	}
	l, there := in.layers[name]
	sent := l.Blob
	sent.drop = nil // that is for whoever sends it
	return sent, there && l.Digest == d.Digest
}
