package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxListWrites is how often AddReferrers writes a list that other clients replace.
const maxListWrites = 6

// Referrers lists the manifests that refer to d, page by page (spec, end-12), optionally only
// those of one artifact type. In a registry without the referrers API it reads the index under
// the referrers tag (spec, "Unavailable Referrers API").
func (r *Repository) Referrers(
	ctx context.Context, d oci.Digest, artifactType string,
) iter.Seq2[oci.Descriptor, error] {
	k := r.newRequest(http.MethodGet, route.Request{Kind: route.Referrers, Digest: d}, "pull")
	k.header.Set("Accept", oci.MediaTypeImageIndex)
	if artifactType != "" {
		k = k.withQuery("artifactType", artifactType)
	}
	return func(yield func(oci.Descriptor, error) bool) {
		first := true
		for page, err := range r.client.pages(ctx, k) {
			if first && hasStatus(err,
				http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest) {
				m, err := r.Manifest(ctx, oci.Reference{Tag: ReferrersTag(d)})
				if !is(err, oci.ManifestUnknown) && !is(err, oci.NameUnknown) {
					yieldIndex(m.Content, artifactType, err, yield)
				}
				return
			}
			first = false
			if !yieldIndex(page, artifactType, err, yield) {
				return
			}
		}
	}
}

// ReferrersTag is the tag under which clients list the referrers of d in a registry
// without the referrers API (spec, "Referrers Tag Schema").
func ReferrersTag(d oci.Digest) string {
	const longestAlgorithm, longestEncoded = 32, 64
	a, e := string(d.Algorithm()), d.Encoded()
	return a[:min(len(a), longestAlgorithm)] + "-" + e[:min(len(e), longestEncoded)]
}

// yieldIndex yields the descriptors of an index that have the type: a registry need not filter.
// It returns false if there are to be no more.
func yieldIndex(content []byte, artifactType string, err error, yield func(oci.Descriptor, error) bool) bool {
	var index oci.Index
	if err == nil {
		if err = json.Unmarshal(content, &index); err != nil {
			err = fmt.Errorf("the list of referrers is not an index: %w", err)
		}
	}
	if err != nil {
		yield(oci.Descriptor{}, err)
		return false
	}
	for _, d := range index.Manifests {
		if (artifactType == "" || d.ArtifactType == artifactType) && !yield(d, nil) {
			return false
		}
	}
	return true
}

// AddReferrers adds manifests to the list of those that refer to subject, which clients
// keep under the referrers tag of a registry without the referrers API (spec, "Pushing
// Manifests with Subject"). Entries of other clients stay. Two clients that write the list
// at once can each replace what the other wrote: the list is read again after each write,
// and the write is conditional if the registry sends an ETag.
func (r *Repository) AddReferrers(ctx context.Context, subject oci.Digest, referrers ...oci.Descriptor) error {
	ref := oci.Reference{Tag: ReferrersTag(subject)}
	if err := r.addToList(ctx, ref, referrers); err != nil {
		return fmt.Errorf("list the referrers of %s under the tag %s: %w", subject, ref.Tag, err)
	}
	return nil
}

func (r *Repository) addToList(ctx context.Context, ref oci.Reference, referrers []oci.Descriptor) error {
	for writes := 0; ; writes++ {
		if writes > 1 { // another client replaced the list: let it finish
			if err := r.client.opts.Sleep(ctx, backoff(nil, writes)); err != nil {
				return err
			}
		}
		list, etag, err := r.referrersList(ctx, ref)
		if err != nil {
			return err
		}
		complete := true
		content, err := EditIndex(list, func(entries []IndexEntry) []IndexEntry {
			for _, d := range referrers {
				if !slices.ContainsFunc(entries, func(e IndexEntry) bool { return e.Digest == d.Digest }) {
					entries, complete = append(entries, IndexEntry{Descriptor: d}), false
				}
			}
			return entries
		})
		if err != nil || complete {
			return err
		}
		if writes == maxListWrites {
			return fmt.Errorf("other clients replaced the list %d times: push again", writes)
		}
		_, err = r.putManifest(ctx, ref, oci.MediaTypeImageIndex, content, etag)
		if err != nil && !hasStatus(err, http.StatusPreconditionFailed) {
			return err
		}
	}
}

// referrersList reads the list under a referrers tag, and the ETag to replace it with, if there
// is a strong one.
func (r *Repository) referrersList(ctx context.Context, ref oci.Reference) (list []byte, etag string, err error) {
	m, header, err := r.manifest(ctx, ref)
	switch {
	case is(err, oci.ManifestUnknown) || is(err, oci.NameUnknown):
		return []byte("{}"), "", nil
	case err != nil:
		return nil, "", err
	case m.MediaType != oci.MediaTypeImageIndex:
		return nil, "", fmt.Errorf("the tag names a manifest of type %s, which is not a list of referrers: "+
			"delete it, or push to another repository", Printable(m.MediaType))
	}
	if etag = header.Get("ETag"); strings.HasPrefix(etag, "W/") {
		etag = "" // a weak one never matches (RFC 9110, 13.1.1)
	}
	return m.Content, etag, nil
}
