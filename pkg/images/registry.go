package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// remote is an image in a registry: a source and a destination.
type remote struct {
	repo *client.Repository
	host string
	name Name
}

func newRemote(c *client.Client, n Name) (*remote, error) {
	repo, err := c.Repository(n.Repository)
	if err != nil {
		return nil, err
	}
	return &remote{repo: repo, host: c.Host(), name: n}, nil
}

// FromRegistry reads an image from the registry that c talks to.
func FromRegistry(c *client.Client, n Name) (Source, error) { return newRemote(c, n) }

// ToRegistry writes an image to the registry that c talks to.
func ToRegistry(c *client.Client, n Name) (Destination, error) { return newRemote(c, n) }

// Close has nothing to do: the client outlives it.
func (r *remote) Close() error { return nil }

func (r *remote) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	return sendTree(ctx, r, t)
}

// root asks for the manifest itself: the walk needs its bytes anyway.
func (r *remote) root(ctx context.Context) (oci.Descriptor, error) {
	m, err := r.repo.Manifest(ctx, r.name.Reference())
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("%s: %w", r.name, err)
	}
	return m.Descriptor, nil
}

func (r *remote) manifest(ctx context.Context, d oci.Descriptor) (client.Manifest, error) {
	m, err := r.repo.Manifest(ctx, oci.Reference{Digest: d.Digest})
	if err != nil {
		return m, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return sized(d, m)
}

func (r *remote) blob(d oci.Descriptor) Blob {
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		return r.repo.BlobFrom(ctx, d.Digest, d.Size, offset)
	}
	return Blob{Descriptor: d, open: open, registry: r.host, from: []string{r.name.Repository}}
}

func (r *remote) referrers(ctx context.Context, d oci.Digest) iter.Seq2[oci.Descriptor, error] {
	return r.repo.Referrers(ctx, d, "")
}

func (r *remote) platform(context.Context) (*Platform, error) { return nil, nil }

// hasImage saves a request per blob: a registry takes an image manifest only with all that
// it names. A blob may have been deleted since; the PUT of the manifest tells.
func (r *remote) hasImage(ctx context.Context, d oci.Descriptor) (bool, error) {
	_, err := r.repo.Resolve(ctx, oci.Reference{Digest: d.Digest})
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

// isUnknown reports whether a registry answered that it has no such thing. Answers to
// HEAD have no body that would say it in words.
func isUnknown(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Status == 404 ||
		errors.Is(err, &oci.Error{Code: oci.ManifestUnknown}) || errors.Is(err, &oci.Error{Code: oci.NameUnknown})
}

func (r *remote) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.Pushed, error) {
	push := client.Blob{
		Digest: b.Digest, Size: b.Size, Progress: progress,
		Open: func(offset int64) (io.ReadCloser, error) { return b.open(ctx, offset) },
	}
	if b.registry == r.host {
		push.MountFrom = b.from
	}
	return r.repo.PushBlob(ctx, push)
}

func (r *remote) putManifest(ctx context.Context, m client.Manifest) error {
	return r.push(ctx, oci.Reference{Digest: m.Digest}, m)
}

func (r *remote) finish(ctx context.Context, root client.Manifest) (string, error) {
	ref := oci.Reference{Tag: r.name.Tag}
	if ref.Tag == "" {
		ref = r.name.Reference()
	}
	if r.name.Digest != "" && r.name.Digest != root.Digest {
		return "", fmt.Errorf("the image has the digest %s, not %s: name a tag, or leave out the digest", root.Digest, r.name.Digest)
	}
	n := r.name
	n.Digest = ""
	return n.String(), r.push(ctx, ref, root)
}

func (r *remote) push(ctx context.Context, ref oci.Reference, m client.Manifest) error {
	if _, err := r.repo.PushManifest(ctx, ref, m.MediaType, m.Content); err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	return nil
}
