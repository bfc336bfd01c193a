package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// MaxManifest is the limit for a manifest that is read, in bytes; registries accept 4 MiB.
const MaxManifest = 8 << 20

// Manifest is a manifest with its content.
type Manifest struct {
	oci.Descriptor
	Content []byte
}

// manifestTypes returns the Accept header for manifests.
func manifestTypes() http.Header {
	return http.Header{"Accept": {strings.Join([]string{
		oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, "*/*",
	}, ", ")}}
}

func (r *Repository) manifestRequest(method string, ref oci.Reference, actions ...string) request {
	return r.newRequest(method, route.Request{Kind: route.Manifest, Reference: ref}, actions...)
}

// Resolve returns the descriptor of a tag or a digest (spec, end-3), with a HEAD if the
// registry's answer is complete. The error is MANIFEST_UNKNOWN, among others.
func (r *Repository) Resolve(ctx context.Context, ref oci.Reference) (oci.Descriptor, error) {
	k := r.manifestRequest(http.MethodHead, ref, "pull")
	k.header = manifestTypes()
	resp, err := r.client.do(ctx, k)
	switch {
	case err == nil:
		drain(resp)
		if d, ok := describe(resp, ref); ok {
			return d, nil
		}
	case !hasStatus(err, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest):
		return oci.Descriptor{}, err
	}
	m, err := r.Manifest(ctx, ref)
	return m.Descriptor, err
}

// describe returns the descriptor that the headers of an answer make up, if they are complete.
// A size of 0 is that of the answer, not of a manifest.
func describe(resp *http.Response, ref oci.Reference) (oci.Descriptor, bool) {
	d, err := oci.ParseDigest(resp.Header.Get("Docker-Content-Digest"))
	desc := oci.Descriptor{MediaType: mediaType(resp.Header), Digest: d, Size: contentLength(resp.Header)}
	if ref.Digest != "" {
		if err == nil && d != ref.Digest && d.Algorithm() == ref.Digest.Algorithm() {
			return desc, false
		}
		desc.Digest, err = ref.Digest, nil
	}
	return desc, err == nil && desc.Size > 0 && desc.MediaType != ""
}

// mediaType returns the Content-Type without its parameters.
func mediaType(h http.Header) string {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.TrimSpace(t)
}

// Manifest pulls a manifest of at most MaxManifest bytes (spec, end-3), and checks its digest:
// that of the reference or, for a tag, the one in the answer. The error is MANIFEST_UNKNOWN
// or ErrContent, among others.
func (r *Repository) Manifest(ctx context.Context, ref oci.Reference) (Manifest, error) {
	m, _, err := r.manifest(ctx, ref)
	return m, err
}

// manifest is Manifest with the header of the answer.
func (r *Repository) manifest(ctx context.Context, ref oci.Reference) (Manifest, http.Header, error) {
	k := r.manifestRequest(http.MethodGet, ref, "pull")
	k.header = manifestTypes()
	page, err := r.client.read(ctx, k, MaxManifest)
	if err != nil {
		return Manifest{}, nil, err
	}
	want := ref.Digest
	if d, err := oci.ParseDigest(page.header.Get("Docker-Content-Digest")); err == nil && want == "" {
		want = d
	}
	m := Manifest{Content: page.body, Descriptor: oci.Descriptor{MediaType: mediaType(page.header), Size: int64(len(page.body))}}
	if m.Digest, err = checkDigest(page.body, want); err != nil {
		return Manifest{}, nil, err
	}
	if parsed, err := oci.ParseManifest(m.MediaType, m.Content); err == nil {
		m.MediaType, m.ArtifactType = parsed.MediaType, parsed.ArtifactType
	}
	return m, page.header, nil
}

// checkDigest returns the digest of content, which must be want unless that is empty.
func checkDigest(content []byte, want oci.Digest) (oci.Digest, error) {
	if want == "" {
		return oci.SHA256.FromBytes(content), nil
	}
	if _, err := oci.ParseDigest(string(want)); err != nil {
		return "", err
	}
	if got := want.Algorithm().FromBytes(content); got != want {
		return "", fmt.Errorf("%w: a manifest of %d bytes has the digest %s, not %s", ErrContent, len(content), got, want)
	}
	return want, nil
}

// PushManifest stores a manifest under a tag or its own digest (spec, end-7). If the
// manifest has a subject and the registry has no referrers API, PushManifest also adds it
// to the index under the referrers tag.
func (r *Repository) PushManifest(ctx context.Context, ref oci.Reference, mediaType string, content []byte) (oci.Descriptor, error) {
	desc, unlisted, err := r.PutManifest(ctx, ref, mediaType, content)
	if err == nil && unlisted != "" {
		err = r.AddReferrers(ctx, unlisted, desc)
	}
	return desc, err
}

// PutManifest stores a manifest as PushManifest does, and leaves the referrers tag to the
// caller: unlisted is the subject that AddReferrers must be called for with the returned
// descriptor, or empty. Callers with several referrers of one subject add them at once.
func (r *Repository) PutManifest(
	ctx context.Context, ref oci.Reference, mediaType string, content []byte,
) (desc oci.Descriptor, unlisted oci.Digest, err error) {
	header, err := r.putManifest(ctx, ref, mediaType, content, "")
	if err != nil {
		return oci.Descriptor{}, "", err
	}
	desc = oci.Descriptor{MediaType: mediaType, Digest: ref.Digest, Size: int64(len(content))}
	if desc.Digest == "" {
		desc.Digest = oci.SHA256.FromBytes(content)
	}
	if header.Get("OCI-Subject") != "" {
		return desc, "", nil
	}
	// A manifest that cannot be parsed refers to nothing; the registry accepted it.
	if parsed, err := oci.ParseManifest(mediaType, content); err == nil && parsed.Subject != "" {
		desc.MediaType, desc.ArtifactType, desc.Annotations = parsed.MediaType, parsed.ArtifactType, parsed.Annotations
		return desc, parsed.Subject, nil
	}
	return desc, "", nil
}

// putManifest sends a manifest and returns the header of the answer. A non-empty etag
// makes the request conditional: 412 if the reference now names another manifest.
func (r *Repository) putManifest(
	ctx context.Context, ref oci.Reference, mediaType string, content []byte, etag string,
) (http.Header, error) {
	if _, err := checkDigest(content, ref.Digest); err != nil {
		return nil, err
	}
	k := r.manifestRequest(http.MethodPut, ref, "pull", "push")
	k.header.Set("Content-Type", mediaType)
	if etag != "" {
		k.header.Set("If-Match", etag)
	}
	k.body, k.size = bytesBody(content), int64(len(content))
	resp, err := r.client.do(ctx, k)
	if err != nil {
		return nil, err
	}
	drain(resp)
	d, err := oci.ParseDigest(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return resp.Header, stored(resp, k)
	}
	if _, err := checkDigest(content, d); err != nil {
		return nil, fmt.Errorf("the registry stored something else: %w", err)
	}
	return resp.Header, nil
}
