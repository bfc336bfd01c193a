package images

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// cosignSuffixes are the suffixes of the tags under which cosign stores signatures, attestations
// and SBOMs of an image, after the image's digest with a dash instead of the colon.
var cosignSuffixes = []string{".sig", ".att", ".sbom"}

// attachment matches these tags, and the referrers tag.
var attachment = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// isAttachment reports whether a tag is derived from the digest of another image.
func isAttachment(tag string) bool { return attachment.MatchString(tag) }

// referrers hands over the manifests whose subject is d, at this depth.
func (w walk) referrers(ctx context.Context, d oci.Digest, depth int) error {
	for referrer, err := range w.store.referrers(ctx, d) {
		if err != nil {
			return fmt.Errorf("list the referrers of %s: %w", d, err)
		}
		m, err := w.store.manifest(ctx, referrer)
		if isAbsent(err) {
			// Deleting a referrer leaves it in the list of a registry without the API.
			w.t.opts.Observer.Note(fmt.Sprintf("%s, listed as a referrer of %s, does not exist: it is not copied",
				referrer.Digest, d))
			continue
		}
		if err == nil {
			err = w.manifest(ctx, m, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isAbsent reports whether a source lacks a manifest that it names.
func isAbsent(err error) bool {
	_, missing := errors.AsType[*missingError](err)
	return missing || isUnknown(err)
}

// signatures hands over the manifests of cosign for d, with their tags.
func (w walk) signatures(ctx context.Context, d oci.Digest, depth int) error {
	for _, suffix := range cosignSuffixes {
		tag := strings.Replace(string(d), ":", "-", 1) + suffix
		if oci.CheckTag(tag) != nil {
			continue // sha512 is too long for a tag
		}
		m, found, err := w.store.tagged(ctx, tag)
		if err == nil && !found {
			continue
		}
		if err == nil {
			err = w.manifest(ctx, m, depth)
		}
		if err != nil {
			return err
		}
		w.t.tag(tag, m)
	}
	return nil
}

// withTag returns a descriptor for the index.json of a layout.
func withTag(d oci.Descriptor, tag string) oci.Descriptor {
	d.Annotations = nil
	if tag != "" {
		d.Annotations = map[string]string{refName: tag}
	}
	return d
}

// extras are the referrers and signatures that index.json names beside the image. A destination
// with an index.json embeds them.
type extras struct {
	mu   sync.Mutex
	list []oci.Descriptor
}

func (e *extras) add(d oci.Descriptor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, d)
}

func (e *extras) putTag(_ context.Context, tag string, m client.Manifest) error { //nolint:unparam // of Destination
	e.add(withTag(m.Descriptor, tag))
	return nil
}

// hasImage returns false: an archive is new, and looking for each blob of a layout is as cheap.
func (e *extras) hasImage(context.Context, oci.Descriptor) (bool, error) { return false, nil }

// addReferrer adds a manifest if it has a subject.
func (e *extras) addReferrer(m client.Manifest) {
	if parsed, err := oci.ParseManifest(m.MediaType, m.Content); err == nil && parsed.Subject != "" {
		e.add(m.Descriptor)
	}
}

// entries returns the entries of index.json: the image, then the extras.
func (e *extras) entries(root oci.Descriptor) []oci.Descriptor {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]oci.Descriptor{root}, slices.DeleteFunc(slices.Clone(e.list), func(d oci.Descriptor) bool {
		return d.Digest == root.Digest && d.Annotations[refName] == ""
	})...)
}
