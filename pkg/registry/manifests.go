package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/oci"
)

// Manifest is a manifest as it was pushed.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Content   []byte
}

// FindManifest reads a manifest by tag or digest. The error is MANIFEST_UNKNOWN if the
// repository does not have it.
func (r *Registry) FindManifest(ctx context.Context, repo string, ref oci.Reference) (Manifest, error) {
	if ref.Tag == "" {
		return r.findByDigest(ctx, repo, ref)
	}
	seen := ""
	for range maxContended {
		rows, err := r.meta.Get(ctx, tagKey(repo, ref.Tag))
		if err != nil {
			return Manifest{}, fmt.Errorf("read tag: %w", err)
		}
		tag := decode[tagRow](rows[0].Attrs)
		if rows[0].Attrs == nil || tag.Version == seen {
			return Manifest{}, errManifestUnknown(repo, ref)
		}
		m := Manifest{Digest: tag.Digest, MediaType: tag.MediaType}
		// An existing tag proves that the manifest is live; the digest identifies the bytes.
		if content, found := r.manifests.Get(m.Digest); found {
			m.Content = content
			return m, nil
		}
		found, err := r.findByDigest(ctx, repo, oci.Reference{Digest: m.Digest})
		if err == nil {
			m.Content = found.Content
			return m, nil
		}
		if !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
			return Manifest{}, err
		}
		seen = tag.Version // the manifest was deleted since; the tag may point elsewhere by now
	}
	return Manifest{}, fmt.Errorf("read manifest by tag: %w", ErrContended)
}

func (r *Registry) findByDigest(ctx context.Context, repo string, ref oci.Reference) (Manifest, error) {
	rows, err := r.meta.Get(ctx, contentKey(repo, ref.Digest))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if rows[0].Attrs == nil {
		return Manifest{}, errManifestUnknown(repo, ref)
	}
	row := decode[contentRow](rows[0].Attrs)
	content, err := r.manifestBytes(ctx, ref.Digest, row)
	if errors.Is(err, ErrNoContent) {
		return Manifest{}, errManifestUnknown(repo, ref) // the manifest was deleted since its row was read
	}
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Digest: ref.Digest, MediaType: row.MediaType, Content: content}, nil
}

// manifestBytes returns the bytes of a manifest, from the cache, the content row or Blobs.
func (r *Registry) manifestBytes(ctx context.Context, d oci.Digest, row contentRow) ([]byte, error) {
	if content, found := r.manifests.Get(d); found {
		return content, nil
	}
	content := row.Bytes
	if row.Key != "" {
		body, err := r.blobs.Open(ctx, row.Key, 0, -1)
		if err != nil {
			return nil, fmt.Errorf("open manifest: %w", err)
		}
		defer body.Close()
		if content, err = io.ReadAll(io.LimitReader(body, MaxManifest+1)); err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
	}
	r.remember(d, content)
	return content, nil
}

// remember adds a small manifest to the cache.
func (r *Registry) remember(d oci.Digest, content []byte) {
	if len(content) <= inlineManifest {
		r.manifests.Add(d, content)
	}
}
