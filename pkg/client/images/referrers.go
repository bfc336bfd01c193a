package images

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// cosignSuffixes end the tags under which cosign keeps signatures, attestations and SBOMs
// of an image: the image's digest, with a dash for the colon, comes before.
var cosignSuffixes = []string{".sig", ".att", ".sbom"}

// attachment matches these tags, and the referrers tag.
var attachment = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// isAttachment reports whether a tag is made of the digest of another image.
func isAttachment(tag string) bool { return attachment.MatchString(tag) }

// referrers hands over the manifests whose subject is d. depth is how deep they lie.
func (w walk) referrers(ctx context.Context, d oci.Digest, depth int) error {
	for referrer, err := range w.store.referrers(ctx, d) {
		if err != nil {
			return fmt.Errorf("list what refers to %s: %w", d, err)
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

// isAbsent reports whether a source does not have a manifest that it names.
func isAbsent(err error) bool {
	var missing *missingError
	return isUnknown(err) || errors.As(err, &missing)
}

// signatures hands over what cosign keeps of d under tags, with these tags.
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

// refersTo is the subject of a manifest, or empty.
func refersTo(m client.Manifest) oci.Digest {
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return ""
	}
	return parsed.Subject
}

// withTag is a descriptor for the index.json of a layout.
func withTag(d oci.Descriptor, tag string) oci.Descriptor {
	d.Annotations = nil
	if tag != "" {
		d.Annotations = map[string]string{refName: tag}
	}
	return d
}

// entries are those of an index.json: the image, and what else has to be found.
func entries(root oci.Descriptor, extra []oci.Descriptor) []oci.Descriptor {
	return append([]oci.Descriptor{root}, slices.DeleteFunc(slices.Clone(extra), func(d oci.Descriptor) bool {
		return d.Digest == root.Digest && d.Annotations[refName] == ""
	})...)
}
