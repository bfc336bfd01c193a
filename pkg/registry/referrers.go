package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/pierless/pierless/pkg/oci"
)

// Referrers is a page of the manifests that refer to a subject.
type Referrers struct {
	Index oci.Index
	// Next is the opaque position of the next page; empty on the last page.
	Next string
}

const (
	// referrersPage is the maximum number of rows that one answer is made from.
	referrersPage = 100
	// maxDescriptor is the size of the largest descriptor stored in a row, in bytes of JSON.
	maxDescriptor = 32 << 10
	// referrersBytes bounds the descriptors of one answer, in bytes of JSON. Their base64
	// form fits into the 6 MB response of a Lambda function.
	referrersBytes = 4 << 20
	// referrersRead bounds the manifests that are read for one answer, in bytes. To read a
	// whole page of the largest manifests would take longer than API Gateway's timeout.
	referrersRead = 16 << 20
)

// Referrers lists the manifests whose subject is the given digest, whether or not that manifest
// exists. A non-empty artifactType selects only referrers of that type. from is the Next of an
// earlier page, or empty for the first page.
func (r *Registry) Referrers(ctx context.Context, repo string, subject oci.Digest, artifactType, from string) (Referrers, error) {
	after, err := base64.RawURLEncoding.DecodeString(from)
	if err != nil || len(after) > maxSortKey || !utf8.Valid(after) {
		return Referrers{}, oci.NewError(oci.PaginationNumberInvalid, "the position of the page is invalid: follow the Link header of the previous page")
	}
	q := Query{PK: referrerPartition(repo, subject), After: string(after), Limit: referrersPage}
	if artifactType != "" {
		q.Prefix = artifactTypePrefix(artifactType)
	}
	page, err := r.meta.Query(ctx, q)
	if err != nil {
		return Referrers{}, fmt.Errorf("list referrers: %w", err)
	}
	answer := Referrers{Index: oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{}}}
	size, read := 0, 0
	for i, row := range page.Rows {
		d, weight, n, err := r.referrer(ctx, repo, decode[referrerRow](row.Attrs))
		if err != nil {
			return Referrers{}, err
		}
		if size > 0 && size+weight > referrersBytes {
			answer.Next = nextReferrer(page.Rows[i-1])
			return answer, nil
		}
		if weight > 0 {
			answer.Index.Manifests = append(answer.Index.Manifests, d)
			size += weight
		}
		read += n
		last := i == len(page.Rows)-1
		if !last && read >= referrersRead || last && page.More {
			answer.Next = nextReferrer(row)
			return answer, nil
		}
	}
	return answer, nil
}

func nextReferrer(last Row) string { return base64.RawURLEncoding.EncodeToString([]byte(last.Key.SK)) }

// referrer returns the descriptor of a row, its weight, and the number of manifest bytes that
// it read to make the descriptor. The weight is the length of the descriptor in the answer, in
// bytes of JSON with a comma, or 0 if the manifest was deleted after the list was read.
func (r *Registry) referrer(ctx context.Context, repo string, row referrerRow) (d oci.Descriptor, weight, read int, err error) {
	if row.Bytes != nil {
		if err := json.Unmarshal(row.Bytes, &d); err != nil {
			return d, 0, 0, fmt.Errorf("decode referrer: %w", err)
		}
		return d, len(row.Bytes) + 1, 0, nil
	}
	m, err := r.FindManifest(ctx, repo, oci.Reference{Digest: row.Digest})
	if errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
		return d, 0, 0, nil
	}
	if err != nil {
		return d, 0, 0, err
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		parsed = oci.Manifest{MediaType: m.MediaType} // an earlier version of Pierless accepted the manifest
	}
	d, packed, err := describe(parsed, m.Digest, len(m.Content))
	return d, len(packed) + 1, len(m.Content), err
}

// referrerWrite returns the write that lists the manifest under its subject, with its
// descriptor. If the descriptor is larger than maxDescriptor, the row has none: each request
// then makes it from the manifest.
func referrerWrite(p manifestPush) Write {
	row := referrerRow{Digest: p.digest}
	if _, packed, err := describe(p.manifest, p.digest, len(p.Content)); err == nil && len(packed) <= maxDescriptor {
		row.Bytes = packed
	}
	key := referrerKey(p.repo, p.manifest.Subject, p.manifest.ArtifactType, p.digest)
	return Write{Key: key, Op: Put, Attrs: encode(row)}
}

// describe returns the descriptor of a manifest, also as JSON. If the descriptor is too large
// for any answer, describe omits the annotations, and an artifact type of more than
// maxArtifactTypeKey bytes.
func describe(m oci.Manifest, digest oci.Digest, size int) (d oci.Descriptor, packed []byte, err error) {
	d = oci.Descriptor{
		MediaType: m.MediaType, Digest: digest, Size: int64(size),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
	if packed, err = json.Marshal(d); err != nil || len(packed) < referrersBytes {
		return d, packed, err
	}
	d.Annotations = nil
	if len(d.ArtifactType) > maxArtifactTypeKey {
		d.ArtifactType = ""
	}
	packed, err = json.Marshal(d)
	return d, packed, err
}
