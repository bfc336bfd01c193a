package images

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// wholeImage sends the image of an archive of docker save unchanged, if the archive has its
// manifest and all compressed layers. Docker writes those with containerd's image store. With
// the classic store the layers are uncompressed, and found is false.
func wholeImage(ctx context.Context, l layout, t *transfer) (root client.Manifest, found bool, err error) {
	d, err := l.root(ctx)
	if err != nil {
		return root, false, nil // manifest.json has more names, and an error lists them
	}
	if root, err = l.manifest(ctx, d); err != nil {
		return root, false, nil
	}
	if t.opts.Platform == nil && isIndex(root.MediaType) {
		if d, err = l.available(ctx, root, t.opts.Observer); err != nil {
			return root, false, err
		}
	}
	p, err := pick(ctx, l, d, t.opts.Platform)
	if _, missing := errors.AsType[*missingError](err); missing {
		return root, false, fmt.Errorf("%w: pull it for this platform first", err)
	}
	if err != nil {
		return root, false, err
	}
	if !isIndex(p.image.MediaType) && !l.complete(ctx, p.image) {
		return p.image, false, nil
	}
	root, err = sendPicked(ctx, l, p, t)
	return root, true, err
}

// available returns what of an index can be sent: the index, or the one image of it that the
// daemon has.
func (l layout) available(ctx context.Context, root client.Manifest, o Observer) (oci.Descriptor, error) {
	in, err := readIndex(root.Content)
	if err != nil {
		return root.Descriptor, fmt.Errorf("read the index %s: %w", root.Digest, err)
	}
	var there []oci.Descriptor
	var missing, platforms []string
	for _, c := range in.Manifests {
		m, err := l.manifest(ctx, c.Descriptor)
		isImage := c.Platform != nil && c.Platform.OS != "unknown" // attestations have no platform
		switch {
		case err == nil && l.complete(ctx, m):
			if isImage {
				there = append(there, c.Descriptor)
				platforms = append(platforms, c.Platform.String())
			}
		case isImage:
			missing = append(missing, c.Platform.String())
		default:
			missing = append(missing, string(c.Digest))
		}
	}
	switch {
	case len(missing) == 0:
		return root.Descriptor, nil
	case len(there) == 1:
		o.Note(fmt.Sprintf("%s has the image only for %s: sending that, without %s", l.what, platforms[0], strings.Join(missing, ", ")))
		return there[0], nil
	case len(there) == 0:
		return root.Descriptor, nil // its layers may be there uncompressed
	}
	return root.Descriptor, fmt.Errorf("%s has the image for %s, but not for %s: choose with --platform, or pull these first",
		l.what, strings.Join(platforms, ", "), strings.Join(missing, ", "))
}

// complete reports whether every distributable blob is present and every layer is compressed.
func (l layout) complete(ctx context.Context, m client.Manifest) bool {
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil || ctx.Err() != nil {
		return false
	}
	for _, d := range parsed.Blobs {
		if d.NonDistributable() {
			continue
		}
		if _, there := l.find(d); !there || strings.HasSuffix(d.MediaType, ".tar") {
			return false
		}
	}
	return true
}
