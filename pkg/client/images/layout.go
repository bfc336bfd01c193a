package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// Names of the image layout (image spec, "Image Layout"), and an annotation of docker save.
const (
	layoutFile    = "oci-layout"
	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`
	indexFile     = "index.json"
	refName       = "org.opencontainers.image.ref.name"
	imageName     = "io.containerd.image.name" // with the host
)

// maxIndexFile limits the index.json of a layout in a directory, in bytes: it fits some thousands
// of images.
const maxIndexFile = 16 << 20

// blobPath returns the path of a blob in a layout, with slashes.
func blobPath(d oci.Digest) string { return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded() }

// layout is an image in an OCI layout: in a directory or an archive.
type layout struct {
	what      string // for errors
	index     []byte // index.json
	reference oci.Reference
	name      Name // as in a daemon or a docker-archive
	find      func(d oci.Descriptor) (Blob, bool)
}

// root returns the image of index.json that was asked for.
func (l layout) root(ctx context.Context) (oci.Descriptor, error) {
	in, err := readIndex(l.index)
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("read index.json of %s: %w", l.what, err)
	}
	var found, tagged []oci.Descriptor
	var tags []string
	for _, c := range in.Manifests {
		tag := c.Annotations[refName]
		if l.reference == (oci.Reference{}) && isAttachment(tag) {
			continue // a signature, or a list of them
		}
		if tag != "" {
			tags, tagged = append(tags, tag), append(tagged, c.Descriptor)
		}
		if l.matches(c.Descriptor, tag) {
			found = append(found, c.Descriptor)
		}
	}
	if l.reference == (oci.Reference{}) && len(found) > 1 && len(tagged) > 0 {
		found = tagged // the others are referrers, or older images
	}
	same := func(a, b oci.Descriptor) bool { return a.Digest == b.Digest }
	found = slices.CompactFunc(found, same)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && l.reference.Digest != "":
		return l.child(ctx, l.reference.Digest)
	case len(found) == 0:
		return oci.Descriptor{}, fmt.Errorf("%s has no image %s; its tags: %v", l.what, l.wanted(), tags)
	}
	return oci.Descriptor{}, fmt.Errorf("%s has %d images: choose one by its tag %v or digest", l.what, len(found), tags)
}

func (l layout) wanted() string {
	if l.name != (Name{}) {
		return l.name.String()
	}
	return l.reference.String()
}

// matches reports whether an entry is an image that was asked for.
func (l layout) matches(d oci.Descriptor, tag string) bool {
	switch {
	case l.reference.Digest != "":
		return d.Digest == l.reference.Digest
	case l.reference.Tag != "":
		return tag == l.reference.Tag
	case l.name != (Name{}) && d.Annotations[imageName] != "":
		return l.name.matches(d.Annotations[imageName])
	}
	return true
}

// child returns a manifest that index.json does not name itself.
func (l layout) child(ctx context.Context, d oci.Digest) (oci.Descriptor, error) {
	b, there := l.find(oci.Descriptor{Digest: d, Size: -1})
	if !there {
		return oci.Descriptor{}, fmt.Errorf("%s has no %s", l.what, d)
	}
	content, err := readAll(ctx, b)
	if err != nil {
		return oci.Descriptor{}, err
	}
	m, err := oci.ParseManifest("", content)
	return oci.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(content))}, err
}

func (l layout) manifest(ctx context.Context, d oci.Descriptor) (client.Manifest, error) {
	b, there := l.find(d)
	if !there {
		return client.Manifest{}, &missingError{l.what, d}
	}
	content, err := readAll(ctx, b)
	if err != nil {
		return client.Manifest{}, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return sized(d, manifestOf(oci.Descriptor{MediaType: d.MediaType, Digest: d.Digest}, content))
}

func (l layout) blob(d oci.Descriptor) Blob {
	if b, there := l.find(d); there {
		return b
	}
	return Blob{Descriptor: d, open: func(context.Context, int64) (io.ReadCloser, error) { return nil, &missingError{l.what, d} }}
}

// missingError means that a source lacks content which an image names.
type missingError struct {
	what string
	d    oci.Descriptor
}

func (e *missingError) Error() string {
	return fmt.Sprintf("%s has an incomplete image: %s is missing", e.what, e.d.Digest)
}

// tagged returns the manifest with a tag; found is false if there is none.
func (l layout) tagged(ctx context.Context, tag string) (m client.Manifest, found bool, err error) {
	in, err := readIndex(l.index)
	if err != nil {
		return m, false, err
	}
	for _, c := range in.Manifests {
		if c.Annotations[refName] == tag {
			m, err = l.manifest(ctx, c.Descriptor)
			return m, true, err
		}
	}
	return m, false, nil
}

// referrers yields referrers among the entries of index.json, and those under the referrers tag:
// writers use one or the other.
func (l layout) referrers(ctx context.Context, subject oci.Digest) iter.Seq2[oci.Descriptor, error] {
	return func(yield func(oci.Descriptor, error) bool) {
		var in, listed index
		list, found, err := l.tagged(ctx, client.ReferrersTag(subject))
		if err == nil && found {
			listed, err = readIndex(list.Content)
		}
		if err == nil {
			in, err = readIndex(l.index)
		}
		if err != nil {
			yield(oci.Descriptor{}, err)
			return
		}
		for _, c := range listed.Manifests {
			if !yield(c.Descriptor, nil) {
				return
			}
		}
		for _, c := range in.Manifests {
			m, err := l.manifest(ctx, c.Descriptor)
			if err != nil {
				yield(oci.Descriptor{}, err)
				return
			}
			if parsed, err := oci.ParseManifest(m.MediaType, m.Content); err != nil || parsed.Subject != subject {
				continue // content that is not a manifest has no subject
			}
			if !yield(c.Descriptor, nil) {
				return
			}
		}
	}
}

// directory is a layout in a directory, as a source.
type directory struct{ layout }

// FromLayout reads the image with a tag or a digest from a layout; without either, its only one.
func FromLayout(dir string, ref oci.Reference) (Source, error) {
	content, err := readSmall(filepath.Join(dir, indexFile), maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not an OCI layout: it has no index.json", dir)
	}
	if err != nil {
		return nil, err
	}
	find := func(d oci.Descriptor) (Blob, bool) {
		path := filepath.Join(dir, filepath.FromSlash(blobPath(d.Digest)))
		info, err := os.Stat(path)
		if err != nil {
			return Blob{}, false
		}
		if d.Size < 0 {
			d.Size = info.Size()
		}
		return fileBlob(d, path), true
	}
	return &directory{layout{what: dir, index: content, reference: ref, find: find}}, nil
}

// Close implements Source.
func (d *directory) Close() error { return nil }

func (d *directory) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	return sendTree(ctx, d, t)
}
