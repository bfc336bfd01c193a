package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// remote is an image in a registry: a source and a destination.
type remote struct {
	repo *client.Repository
	host string
	name Name

	mu       sync.Mutex
	unlisted map[oci.Digest][]oci.Descriptor // referrers missing from the registry's list, by subject
}

func newRemote(c *client.Client, n Name) (*remote, error) {
	repo, err := c.Repository(n.Repository)
	if err != nil {
		return nil, err
	}
	return &remote{repo: repo, host: c.Host(), name: n, unlisted: map[oci.Digest][]oci.Descriptor{}}, nil
}

// FromRegistry reads an image from the registry of c.
func FromRegistry(c *client.Client, n Name) (Source, error) { return newRemote(c, n) }

// ToRegistry writes an image to the registry of c.
func ToRegistry(c *client.Client, n Name) (Destination, error) { return newRemote(c, n) }

// Close implements Source and Destination: the client outlives it.
func (r *remote) Close() error { return nil }

func (r *remote) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	return sendTree(ctx, r, t)
}

// root pulls the manifest: the walk needs its bytes anyway.
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

// tagged returns the manifest of a tag; found is false if there is none.
func (r *remote) tagged(ctx context.Context, tag string) (m client.Manifest, found bool, err error) {
	m, err = r.repo.Manifest(ctx, oci.Reference{Tag: tag})
	if isUnknown(err) {
		return m, false, nil
	}
	if err != nil {
		err = fmt.Errorf("tag %s: %w", tag, err)
	}
	return m, true, err
}

func (r *remote) limits(context.Context) (limits, error) { return limits{}, nil }

// hasImage saves a request per blob: a registry accepts an image manifest only if it has all
// blobs. The PUT of the manifest shows whether one was deleted since.
func (r *remote) hasImage(ctx context.Context, d oci.Descriptor) (bool, error) {
	_, err := r.repo.Resolve(ctx, oci.Reference{Digest: d.Digest})
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

// isUnknown reports whether a registry does not have what was requested. Answers to HEAD have no
// error code.
func isUnknown(err error) bool {
	answer, ok := errors.AsType[*client.Error](err)
	return ok && answer.Status == 404 ||
		errors.Is(err, &oci.Error{Code: oci.ManifestUnknown}) || errors.Is(err, &oci.Error{Code: oci.NameUnknown})
}

func (r *remote) putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error) {
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

func (r *remote) putTag(ctx context.Context, tag string, m client.Manifest) error {
	return r.push(ctx, oci.Reference{Tag: tag}, m)
}

// finish lists referrers before it tags the image, which so is never visible without them.
func (r *remote) finish(ctx context.Context, root client.Manifest) (named, error) {
	ref := oci.Reference{Tag: r.name.Tag}
	if ref.Tag == "" {
		ref = r.name.Reference()
	}
	if r.name.Digest != "" && r.name.Digest != root.Digest {
		return named{}, fmt.Errorf("the image has the digest %s, not %s: name a tag, or leave out the digest", root.Digest, r.name.Digest)
	}
	if err := r.list(ctx); err != nil {
		return named{}, err
	}
	if err := r.push(ctx, ref, root); err != nil {
		return named{}, err
	}
	n := r.name
	n.Digest = ""
	return named{name: n.String()}, r.list(ctx) // the image may be a referrer itself
}

func (r *remote) push(ctx context.Context, ref oci.Reference, m client.Manifest) error {
	d, subject, err := r.repo.PutManifest(ctx, ref, m.MediaType, m.Content)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	if subject != "" {
		r.mu.Lock()
		r.unlisted[subject] = append(r.unlisted[subject], d)
		r.mu.Unlock()
	}
	return nil
}

// list adds referrers to the lists that clients maintain in a registry without the referrers API,
// with one write per subject.
func (r *remote) list(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject, referrers := range r.unlisted {
		if err := r.repo.AddReferrers(ctx, subject, referrers...); err != nil {
			return err
		}
		delete(r.unlisted, subject)
	}
	return nil
}
