package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// store is a source that finds content by its digest.
type store interface {
	// root is what the image's name means.
	root(ctx context.Context) (oci.Descriptor, error)
	// manifest reads a manifest. Its digest was checked.
	manifest(ctx context.Context, d oci.Descriptor) (client.Manifest, error)
	blob(d oci.Descriptor) Blob
	// referrers are the manifests whose subject is d.
	referrers(ctx context.Context, d oci.Digest) iter.Seq2[oci.Descriptor, error]
}

// index is what is to know of an index: the rest of it is not touched.
type index struct {
	Manifests []child `json:"manifests"`
}

// child is one entry of an index.
type child struct {
	oci.Descriptor
	Platform *Platform `json:"platform"`
}

// UnmarshalJSON reads both parts: the descriptor has a method of its own.
func (c *child) UnmarshalJSON(b []byte) error {
	var p struct {
		Platform *Platform `json:"platform"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	c.Platform = p.Platform
	return json.Unmarshal(b, &c.Descriptor)
}

func isIndex(mediaType string) bool {
	return mediaType == oci.MediaTypeImageIndex || mediaType == oci.MediaTypeDockerList
}

// sendTree hands over the image that a store has.
func sendTree(ctx context.Context, s store, t *transfer) (client.Manifest, error) {
	d, err := s.root(ctx)
	if err != nil {
		return client.Manifest{}, err
	}
	root, err := pick(ctx, s, d, t.opts.Platform)
	if err != nil {
		return client.Manifest{}, err
	}
	w := walk{store: s, t: t}
	return root, w.manifest(ctx, root)
}

var errNoPlatform = errors.New("the image has nothing for the platform")

// pick follows indexes down to the image for a platform; without one, d it is.
func pick(ctx context.Context, s store, d oci.Descriptor, p *Platform) (client.Manifest, error) {
	m, err := s.manifest(ctx, d)
	if err != nil || p == nil {
		return m, err
	}
	if !isIndex(m.MediaType) {
		return m, checkPlatform(ctx, s, m, *p)
	}
	var in index
	if err := json.Unmarshal(m.Content, &in); err != nil {
		return m, fmt.Errorf("read the index %s: %w", m.Digest, err)
	}
	var there []string
	for _, c := range in.Manifests {
		switch {
		case c.Platform == nil && isIndex(c.MediaType):
			found, err := pick(ctx, s, c.Descriptor, p)
			if !errors.Is(err, errNoPlatform) {
				return found, err
			}
		case c.Platform == nil:
		case p.takes(*c.Platform):
			return pick(ctx, s, c.Descriptor, p)
		default:
			there = append(there, c.Platform.String())
		}
	}
	return m, fmt.Errorf("%w %s, but for %s: choose with --platform", errNoPlatform, p, strings.Join(there, ", "))
}

// checkPlatform looks at what an image says of itself. An artifact says nothing.
func checkPlatform(ctx context.Context, s store, m client.Manifest, p Platform) error {
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return err
	}
	if len(parsed.Blobs) == 0 || !isConfig(parsed.Blobs[0].MediaType) {
		return nil
	}
	content, err := readAll(ctx, s.blob(parsed.Blobs[0]))
	if err != nil {
		return fmt.Errorf("read the image's config: %w", err)
	}
	var config Platform
	if err := json.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("read the image's config %s: %w", parsed.Blobs[0].Digest, err)
	}
	// A config leaves variants out more often than not.
	if config.OS != "" && (config.OS != p.OS || config.Architecture != p.Architecture) {
		return fmt.Errorf("the image is for %s, not for %s: choose with --platform", config, p)
	}
	return nil
}

// walk goes through a tree of manifests.
type walk struct {
	store store
	t     *transfer
}

// manifest hands over everything that m names, then m, then what refers to it.
func (w walk) manifest(ctx context.Context, m client.Manifest) error {
	if !w.t.first(m.Digest) {
		return nil
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	for _, d := range parsed.Manifests {
		if err := w.descend(ctx, d); err != nil {
			return err
		}
	}
	if err := w.blobs(ctx, m, parsed); err != nil {
		return err
	}
	w.t.manifest(m)
	if !w.t.opts.Referrers {
		return nil
	}
	for d, err := range w.store.referrers(ctx, m.Digest) {
		if err != nil {
			return fmt.Errorf("list what refers to %s: %w", m.Digest, err)
		}
		if err := w.descend(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (w walk) descend(ctx context.Context, d oci.Descriptor) error {
	m, err := w.store.manifest(ctx, d)
	if err != nil {
		return err
	}
	return w.manifest(ctx, m)
}

// blobs hands over the blobs of an image, if the destination has not the whole image.
func (w walk) blobs(ctx context.Context, m client.Manifest, parsed oci.Manifest) error {
	if len(parsed.Blobs) == 0 {
		return nil
	}
	whole, err := w.t.to.hasImage(ctx, m.Descriptor)
	if err != nil {
		return err
	}
	for _, d := range parsed.Blobs {
		if whole && !d.NonDistributable() {
			w.t.existed(d)
			continue
		}
		if err := w.t.blob(ctx, w.store.blob(d)); err != nil {
			return err
		}
	}
	return nil
}
