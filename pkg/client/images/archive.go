package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// manifestFile lists the images of an archive of docker save.
const manifestFile = "manifest.json"

// maxNames limits the memory for the names of files in an archive, in bytes: a small compressed
// archive can contain any number of them.
const maxNames = 32 << 20

// contents is what an archive contains, however it is read.
type contents interface {
	// find returns a blob by its digest, if the archive is a layout that has it.
	find(d oci.Descriptor) (Blob, bool)
	// document reads a small file; found is false if there is none of this name.
	document(name string) (content []byte, found bool, err error)
	// layer hands over a layer of manifest.json. It is nil if there is none of this name.
	layer(ctx context.Context, name string) (*layer, error)
}

// sendArchive hands over an image of an archive. Docker writes archives that are both a layout
// and the form of docker save: a complete layout is sent unchanged.
func sendArchive(ctx context.Context, r Reference, what string, c contents, t *transfer) (client.Manifest, error) {
	index, isLayout, err := c.document(indexFile)
	if err != nil {
		return client.Manifest{}, err
	}
	list, isSaved, err := c.document(manifestFile)
	if err != nil {
		return client.Manifest{}, err
	}
	if isLayout {
		l := layout{what: what, index: index, reference: r.Selector, name: r.Name, find: c.find}
		if r.Transport == OCIArchive || !isSaved {
			return sendTree(ctx, l, t)
		}
		if root, found, err := wholeImage(ctx, l, t); err != nil || found {
			return root, err
		}
	}
	if !isSaved {
		return client.Manifest{}, fmt.Errorf("%s is not an archive of images: it has neither index.json nor manifest.json", what)
	}
	name := r.Name
	if _, err := chooseSaved(list, Name{}); err == nil && r.Transport == DockerDaemon {
		name = Name{} // the daemon was asked for one image, and may save it under another spelling
	}
	chosen, err := chooseSaved(list, name)
	if err != nil {
		return client.Manifest{}, err
	}
	config, found, err := c.document(chosen.Config)
	if err == nil && !found {
		err = fmt.Errorf("%s has no config %s", what, chosen.Config)
	}
	if err != nil {
		return client.Manifest{}, err
	}
	var layers []layer
	for _, name := range chosen.Layers {
		l, err := c.layer(ctx, name)
		if err == nil && l == nil {
			err = fmt.Errorf("%s has no layer %s", what, name)
		}
		if err != nil {
			return client.Manifest{}, err
		}
		layers = append(layers, *l)
	}
	return assemble(ctx, config, layers, t)
}

// nameCount counts the memory for the names in an archive, in bytes.
type nameCount struct{ held int }

func (n *nameCount) add(h *tar.Header) error {
	const overhead = 256 // of the entry in a map
	if n.held += overhead + len(h.Name) + len(h.Linkname); n.held > maxNames {
		return errors.New("it has too many files for an archive of images")
	}
	return nil
}

// linkTarget returns the path that a link in an archive points to; "" for other entries.
func linkTarget(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeSymlink:
		return path.Join(path.Dir(path.Clean(h.Name)), h.Linkname)
	case tar.TypeLink:
		return path.Clean(h.Linkname)
	}
	return ""
}

// follow returns the path at the end of the links that start at name.
func follow(name string, links map[string]string) string {
	const longest = 8 // more is a circle
	name = path.Clean(name)
	for range longest {
		next := links[name]
		if next == "" {
			break
		}
		name = next
	}
	return name
}

// archive is an archive with random access, as a source.
type archive struct {
	reference Reference
	spool     *Spool
	f         *os.File
	files     map[string]*io.SectionReader
	links     map[string]string
}

// FromArchive reads an image from an archive of docker save or of a layout. Compressed archives,
// pipes, and standard input (path "-") are read sequentially.
func FromArchive(r Reference, stdin io.Reader, spool *Spool) (Source, error) {
	if r.Path == "-" {
		return streamOf(r, spool, io.NopCloser(stdin)), nil
	}
	f, err := os.Open(r.Path)
	if err != nil {
		return nil, err
	}
	sequential, err := isSequential(f)
	if err == nil && sequential {
		return streamOf(r, spool, f), nil
	}
	a := &archive{reference: r, spool: spool, f: f, files: map[string]*io.SectionReader{}, links: map[string]string{}}
	if err == nil {
		err = a.scan()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the archive %s: %w", r.Path, err), f.Close())
	}
	return a, nil
}

// streamOf reads an archive sequentially.
func streamOf(r Reference, spool *Spool, from io.ReadCloser) *stream {
	return &stream{reference: r, what: r.String(), spool: spool, close: from.Close, open: func(ctx context.Context, _ *Platform) (io.ReadCloser, error) {
		return unpacked(interruptible(ctx, from))
	}}
}

// scan records the position of each file, without reading it.
func (a *archive) scan() error {
	var names nameCount
	for r := tar.NewReader(a.f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = names.add(h)
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := a.f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			delete(a.links, name)
			a.files[name] = io.NewSectionReader(a.f, offset, h.Size)
		case tar.TypeSymlink, tar.TypeLink:
			delete(a.files, name)
			a.links[name] = linkTarget(h)
		case tar.TypeGNUSparse:
			return fmt.Errorf("%s is a sparse file, which no tool for images writes", name)
		}
	}
}

// Close closes the file.
func (a *archive) Close() error { return a.f.Close() }

func (a *archive) find(d oci.Descriptor) (Blob, bool) {
	f := a.files[follow(blobPath(d.Digest), a.links)]
	if f == nil {
		return Blob{}, false
	}
	if d.Size < 0 {
		d.Size = f.Size()
	}
	return Blob{Descriptor: d, local: true, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, offset, f.Size()-offset)), nil
	}}, true
}

func (a *archive) document(name string) (content []byte, found bool, err error) {
	f := a.files[follow(name, a.links)]
	switch {
	case f == nil:
		return nil, false, nil
	case f.Size() > maxManifest:
		return nil, true, fmt.Errorf("%s in the archive %s has %d bytes, the limit is %d", name, a.reference.Path, f.Size(), maxManifest)
	}
	content, err = io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	return content, true, err
}

func (a *archive) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	return sendArchive(ctx, a.reference, a.reference.String(), &archiveLayers{a, t, map[*io.SectionReader]*layer{}}, t)
}

// archiveLayers compresses layers of an archive when manifest.json names them, each one once.
type archiveLayers struct {
	*archive
	t    *transfer
	sent map[*io.SectionReader]*layer
}

func (a *archiveLayers) layer(ctx context.Context, name string) (*layer, error) {
	f := a.files[follow(name, a.links)]
	if f == nil || a.sent[f] != nil {
		return a.sent[f], nil
	}
	l, err := a.spool.take(ctx, io.NewSectionReader(f, 0, f.Size()), name, "", f.Size(), a.t.opts.Observer)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", name, err)
	}
	a.sent[f] = &l
	return &l, a.t.blob(ctx, l.Blob)
}
