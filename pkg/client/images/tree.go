package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// store is a source with access by digest.
type store interface {
	// root returns the descriptor of the image's name.
	root(ctx context.Context) (oci.Descriptor, error)
	// manifest returns a manifest whose digest and size were checked.
	manifest(ctx context.Context, d oci.Descriptor) (client.Manifest, error)
	blob(d oci.Descriptor) Blob
	// referrers yields the manifests whose subject is d.
	referrers(ctx context.Context, d oci.Digest) iter.Seq2[oci.Descriptor, error]
	// tagged returns the manifest with a tag, if there is one.
	tagged(ctx context.Context, tag string) (m client.Manifest, found bool, err error)
}

const (
	// maxNesting limits how deep indexes and referrers may be nested.
	maxNesting = 16
	// maxManifests limits the manifests of one image, in bytes: they are held in memory until
	// its blobs are sent.
	maxManifests = 64 << 20
)

var errNesting = fmt.Errorf("manifests are nested more than %d levels deep", maxNesting)

// index is an image index.
type index struct {
	Manifests []child `json:"manifests"`
}

// readIndex parses an index, or the index.json of a layout.
func readIndex(content []byte) (in index, err error) {
	err = json.Unmarshal(content, &in)
	return in, err
}

// attestations returns the entries that BuildKit made for an image (its docs, "Image Attestation
// Storage").
func (in index) attestations(image oci.Digest) []oci.Descriptor {
	var found []oci.Descriptor
	for _, c := range in.Manifests {
		if c.Annotations["vnd.docker.reference.digest"] == string(image) {
			found = append(found, c.Descriptor)
		}
	}
	return found
}

// child is an entry of an index.
type child struct {
	oci.Descriptor
	Platform *Platform `json:"platform"`
}

// UnmarshalJSON implements json.Unmarshaler: that of the embedded Descriptor would ignore Platform.
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

// sendTree hands over the image of a store.
func sendTree(ctx context.Context, s store, t *transfer) (client.Manifest, error) {
	d, err := s.root(ctx)
	if err != nil {
		return client.Manifest{}, err
	}
	p, err := pick(ctx, s, d, t.opts.Platform)
	if err != nil {
		return client.Manifest{}, err
	}
	return sendPicked(ctx, s, p, t)
}

// picked is an image, with the parts of its index for destinations that keep a sparse index.
type picked struct {
	image        client.Manifest
	attestations []oci.Descriptor  // of the image
	indexes      []client.Manifest // that lead to it, the innermost first
}

// sendPicked hands over an image, and its indexes if the destination keeps them. It returns the
// outermost manifest.
func sendPicked(ctx context.Context, s store, p picked, t *transfer) (root client.Manifest, err error) {
	if t.takes.platform != nil {
		if _, err := runnable(p.image); err != nil {
			return p.image, err
		}
	}
	w := walk{store: s, t: t}
	root = p.image
	if err := w.manifest(ctx, root, 0); err != nil || !t.takes.sparse {
		return root, err
	}
	for _, d := range p.attestations {
		if err := w.descend(ctx, d, 1); err != nil && !isAbsent(err) {
			return root, err
		}
	}
	for _, root = range p.indexes {
		if err := t.manifest(root); err != nil {
			return root, err
		}
	}
	return root, nil
}

var errNoPlatform = errors.New("the image is not available for")

// pick finds the image for a platform in nested indexes. Without a platform it returns d.
func pick(ctx context.Context, s store, d oci.Descriptor, p *Platform) (picked, error) {
	if p == nil {
		m, err := s.manifest(ctx, d)
		return picked{image: m}, err
	}
	look := search{store: s, platform: *p, seen: map[oci.Digest]bool{}}
	var err error
	look.found.image, err = look.in(ctx, d, 0)
	if errors.Is(err, errNoPlatform) {
		err = fmt.Errorf("%w %s, only for %s: choose with --platform", errNoPlatform, p, strings.Join(look.others, ", "))
	}
	return look.found, err
}

// search looks for the image for a platform.
type search struct {
	store    store
	platform Platform
	seen     map[oci.Digest]bool // without success
	others   []string            // available platforms
	found    picked
}

func (s *search) in(ctx context.Context, d oci.Descriptor, depth int) (client.Manifest, error) {
	if depth > maxNesting {
		return client.Manifest{}, errNesting
	}
	m, err := s.store.manifest(ctx, d)
	if err != nil {
		return m, err
	}
	if !isIndex(m.MediaType) {
		return m, checkPlatform(ctx, s.store, m, s.platform)
	}
	in, err := readIndex(m.Content)
	if err != nil {
		return m, fmt.Errorf("read the index %s: %w", m.Digest, err)
	}
	for _, c := range in.Manifests {
		switch {
		case c.Platform == nil && isIndex(c.MediaType) && !s.seen[c.Digest]:
			s.seen[c.Digest] = true
			found, err := s.in(ctx, c.Descriptor, depth+1)
			if !errors.Is(err, errNoPlatform) {
				s.found.indexes = append(s.found.indexes, m)
				return found, err
			}
		case c.Platform == nil:
		case s.platform.supports(*c.Platform):
			found, err := s.in(ctx, c.Descriptor, depth+1)
			s.found.indexes = append(s.found.indexes, m)
			s.found.attestations = in.attestations(c.Digest)
			return found, err
		case c.Platform.OS != "unknown" && !slices.Contains(s.others, c.Platform.String()): // attestations have none
			s.others = append(s.others, c.Platform.String())
		}
	}
	return m, errNoPlatform
}

// checkPlatform compares the config of an image with a platform. An artifact fits any.
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
	// Most configs omit the variant.
	if config.OS != "" && (config.OS != p.OS || config.Architecture != p.Architecture) {
		return fmt.Errorf("the image is for %s, not for %s: choose with --platform", config, p)
	}
	return nil
}

// walk visits a tree of manifests.
type walk struct {
	store store
	t     *transfer
}

// manifest hands over everything that m names, then m, then its referrers. depth is the nesting
// level of m.
func (w walk) manifest(ctx context.Context, m client.Manifest, depth int) error {
	if !w.t.first(m.Digest) {
		return nil
	}
	if depth > maxNesting {
		return errNesting
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	for _, d := range parsed.Manifests {
		if err := w.descend(ctx, d, depth+1); err != nil {
			return err
		}
	}
	if err := w.blobs(ctx, m, parsed); err != nil {
		return err
	}
	if err := w.t.manifest(m); err != nil {
		return err
	}
	if !w.t.opts.Referrers {
		return nil
	}
	if err := w.referrers(ctx, m.Digest, depth+1); err != nil {
		return err
	}
	return w.signatures(ctx, m.Digest, depth+1)
}

func (w walk) descend(ctx context.Context, d oci.Descriptor, depth int) error {
	m, err := w.store.manifest(ctx, d)
	if err != nil {
		return err
	}
	return w.manifest(ctx, m, depth)
}

// blobs hands over the blobs of an image, unless the destination has its manifest.
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
			w.t.assume(w.store.blob(d))
			continue
		}
		if err := w.t.blob(ctx, w.store.blob(d)); err != nil {
			return err
		}
	}
	return nil
}
