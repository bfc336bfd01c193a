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

// manifestFile is the list of images of docker save.
const manifestFile = "manifest.json"

// maxNames bounds what is remembered of the files of an archive, in bytes: a small one
// that is compressed can name any number of them.
const maxNames = 32 << 20

// nameCount is what the names in an archive take so far, in bytes.
type nameCount struct{ held int }

func (n *nameCount) take(h *tar.Header) error {
	const each = 256 // in maps, beside the names themselves
	if n.held += each + len(h.Name) + len(h.Linkname); n.held > maxNames {
		return errors.New("it has too many files for an archive of images")
	}
	return nil
}

// entry is a file in an archive.
type entry struct {
	offset, size int64
	link         string // the path that it stands for, instead of bytes
}

// archive is an archive that can be read at any place, as a source.
type archive struct {
	place Reference
	spool *Spool
	f     *os.File
	at    map[string]entry
}

// FromArchive reads an image from an archive of docker save, or of a layout. One that is
// compressed, a pipe, or standard input (path "-"), is read from front to end.
func FromArchive(p Reference, stdin io.Reader, spool *Spool) (Source, error) {
	if p.Path == "-" {
		return streamOf(p, spool, io.NopCloser(stdin)), nil
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return nil, err
	}
	front, err := isSequential(f)
	if err == nil && front {
		return streamOf(p, spool, f), nil
	}
	var at map[string]entry
	if err == nil {
		at, err = readEntries(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the archive %s: %w", p.Path, err), f.Close())
	}
	return &archive{place: p, spool: spool, f: f, at: at}, nil
}

// streamOf reads the archive of a place from front to end.
func streamOf(p Reference, spool *Spool, r io.ReadCloser) *stream {
	return &stream{place: p, what: p.String(), spool: spool, close: r.Close, open: func(ctx context.Context, _ *Platform) (io.ReadCloser, error) {
		return unpacked(interruptible(ctx, r))
	}}
}

// readEntries notes where each file is. Bytes are skipped.
func readEntries(f *os.File) (map[string]entry, error) {
	at := map[string]entry{}
	var names nameCount
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err == nil {
			err = names.take(h)
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			at[name] = entry{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			at[name] = entry{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			at[name] = entry{link: path.Clean(h.Linkname)}
		case tar.TypeGNUSparse:
			return nil, fmt.Errorf("%s is stored as a sparse file, which no tool for images does", name)
		}
	}
}

// follow finds what a name stands for at the end of its links.
func follow(name string, link func(name string) string) string {
	const longest = 8 // more is a circle
	name = path.Clean(name)
	for range longest {
		next := link(name)
		if next == "" {
			break
		}
		name = next
	}
	return name
}

func (a *archive) entry(name string) (entry, bool) {
	e, there := a.at[follow(name, func(n string) string { return a.at[n].link })]
	return e, there && e.link == ""
}

// Close closes the file.
func (a *archive) Close() error { return a.f.Close() }

// find is the content of a digest as a blob.
func (a *archive) find(d oci.Descriptor) (Blob, bool) {
	e, there := a.entry(blobPath(d.Digest))
	if !there {
		return Blob{}, false
	}
	if d.Size < 0 {
		d.Size = e.size
	}
	return Blob{Descriptor: d, local: true, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(a.f, e.offset+offset, e.size-offset)), nil
	}}, true
}

// read reads a small file whole.
func (a *archive) read(name string) ([]byte, error) {
	e, there := a.entry(name)
	switch {
	case !there:
		return nil, fmt.Errorf("the archive %s has no %s", a.place.Path, name)
	case e.size > maxManifest:
		return nil, fmt.Errorf("%s of the archive %s has %d bytes, which is too much", name, a.place.Path, e.size)
	}
	return io.ReadAll(io.NewSectionReader(a.f, e.offset, e.size))
}

func (a *archive) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	_, isLayout := a.at[indexFile]
	_, isSaved := a.at[manifestFile]
	if isLayout {
		index, err := a.read(indexFile)
		if err != nil {
			return client.Manifest{}, err
		}
		l := layout{what: a.place.String(), index: index, reference: a.place.Reference, name: a.place.Name, find: a.find}
		if a.place.Transport == OCIArchive || !isSaved {
			return sendTree(ctx, l, t)
		}
		if root, found, err := wholeImage(ctx, l, t); err != nil || found {
			return root, err
		}
	}
	if !isSaved {
		return client.Manifest{}, fmt.Errorf("%s is no archive of images: it has neither index.json nor manifest.json", a.place.Path)
	}
	return a.sendSaved(ctx, t)
}

// sendSaved hands over an image whose layers are uncompressed.
func (a *archive) sendSaved(ctx context.Context, t *transfer) (client.Manifest, error) {
	list, err := a.read(manifestFile)
	if err != nil {
		return client.Manifest{}, err
	}
	chosen, err := chooseSaved(list, a.place.Name)
	if err != nil {
		return client.Manifest{}, err
	}
	config, err := a.read(chosen.Config)
	if err != nil {
		return client.Manifest{}, err
	}
	taken := map[entry]layer{}
	var layers []layer
	for _, name := range chosen.Layers {
		e, there := a.entry(name)
		if !there {
			return client.Manifest{}, fmt.Errorf("the archive %s has no layer %s", a.place.Path, name)
		}
		l, done := taken[e]
		if !done {
			if l, err = a.spool.take(ctx, io.NewSectionReader(a.f, e.offset, e.size), name, "", e.size, t.opts.Observer); err != nil {
				return client.Manifest{}, fmt.Errorf("layer %s: %w", name, err)
			}
			if err := t.blob(ctx, l.Blob); err != nil {
				return client.Manifest{}, err
			}
			taken[e] = l
		}
		layers = append(layers, l)
	}
	return assemble(ctx, config, layers, t)
}
