package oci

import (
	"fmt"
	"mime"
	"strings"
)

// Media types whose structure the registry knows. Of other manifests, it reads only the
// fields that all share.
const (
	MediaTypeImageManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeImageIndex     = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	mediaTypeDockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	nonDistributablePrefix  = "application/vnd.oci.image.layer.nondistributable."
	maxMediaTypeLength      = 255
)

// Descriptor describes content (image spec, "Content Descriptors"). It has the fields that
// the registry reads or writes.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// UnmarshalJSON decodes the fields by their exact names and checks digest and size. So the
// decoding of a list of millions of empty descriptors, which need many times their size in
// memory, ends at the first.
func (d *Descriptor) UnmarshalJSON(b []byte) error {
	*d = Descriptor{}
	err := decodeObject(b, map[string]any{
		"mediaType": &d.MediaType, "digest": &d.Digest, "size": &d.Size, "urls": &d.URLs,
		"annotations": &d.Annotations, "artifactType": &d.ArtifactType,
	})
	if err != nil {
		return err
	}
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return fmt.Errorf("a descriptor's digest is malformed: %w", err)
	}
	if d.Size < 0 {
		return fmt.Errorf("the size of %s is negative", d.Digest)
	}
	return nil
}

// NonDistributable reports whether a repository may reference the content without having
// it (image spec, "Non-Distributable Layers").
func (d Descriptor) NonDistributable() bool {
	return d.MediaType == mediaTypeDockerForeign || strings.HasPrefix(d.MediaType, nonDistributablePrefix)
}

// Index is the answer of the referrers API (spec, "Listing Referrers").
type Index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []Descriptor `json:"manifests"`
}

// Manifest holds the fields of a manifest that the registry needs.
type Manifest struct {
	MediaType string
	// Blobs are config and layers.
	Blobs []Descriptor
	// Manifests are the children of an index.
	Manifests []Descriptor
	// Subject is the digest that this manifest refers to, or empty.
	Subject Digest
	// ArtifactType is shown by the referrers API: that of the manifest, or else the media
	// type of its config.
	ArtifactType string
	Annotations  map[string]string
}

// wireManifest has the fields of images, indexes, Docker schema 2 and its lists.
type wireManifest struct {
	MediaType, ArtifactType string
	Config, Subject         *Descriptor
	Layers, Manifests       []Descriptor
	Annotations             map[string]string
}

func (w *wireManifest) decode(content []byte) error {
	return decodeObject(content, map[string]any{
		"mediaType": &w.MediaType, "artifactType": &w.ArtifactType, "config": &w.Config, "layers": &w.Layers,
		"manifests": &w.Manifests, "subject": &w.Subject, "annotations": &w.Annotations,
	})
}

// ParseManifest parses content that was pushed as contentType, whose parameters it ignores.
// If the type is empty or generic, the content's mediaType decides. For the same content,
// every accepted type gives the same Manifest except for MediaType. The error is
// MANIFEST_INVALID.
func ParseManifest(contentType string, content []byte) (Manifest, error) {
	var w wireManifest
	if err := w.decode(content); err != nil {
		return Manifest{}, NewError(ManifestInvalid, "the manifest is not a JSON object of the expected form: %v", err)
	}
	mediaType, err := manifestMediaType(contentType, w.MediaType)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{MediaType: mediaType, ArtifactType: w.ArtifactType, Annotations: w.Annotations}
	switch mediaType {
	case MediaTypeDockerSchema1, MediaTypeDockerSigned1:
		return Manifest{}, NewError(ManifestInvalid, "Docker schema 1 manifests are not accepted: push with a client of 2017 or later")
	case MediaTypeImageIndex, MediaTypeDockerList:
		if w.Config != nil || len(w.Layers) > 0 {
			return Manifest{}, errAmbiguous("an index", "config or layers")
		}
		m.Manifests = w.Manifests
	case MediaTypeImageManifest, MediaTypeDockerManifest:
		if w.Config == nil {
			return Manifest{}, NewError(ManifestInvalid, "an image manifest needs a config descriptor")
		}
		if len(w.Manifests) > 0 {
			return Manifest{}, errAmbiguous("an image manifest", "manifests")
		}
		fallthrough
	default:
		m.Manifests = w.Manifests
		if w.Config != nil {
			m.Blobs = append(m.Blobs, *w.Config)
			if m.ArtifactType == "" {
				m.ArtifactType = w.Config.MediaType
			}
		}
		m.Blobs = append(m.Blobs, w.Layers...)
	}
	if w.Subject != nil {
		m.Subject = w.Subject.Digest
	}
	return m, nil
}

// manifestMediaType returns the media type of a manifest. Content-Type and the mediaType
// field must agree if both are set.
func manifestMediaType(contentType, field string) (string, error) {
	header := contentType
	if t, _, err := mime.ParseMediaType(contentType); err == nil {
		header = t
	}
	generic := header == "" || header == "application/json" || header == "application/octet-stream" ||
		strings.HasPrefix(header, "text/plain")
	switch {
	case generic && field != "":
		header = field
	case generic:
		return "", NewError(ManifestInvalid, "the manifest's type is unknown: send a Content-Type, or a mediaType in the manifest")
	case field != "" && !strings.EqualFold(field, header):
		return "", NewError(ManifestInvalid, "Content-Type %q differs from the manifest's mediaType %q", clip(header), clip(field))
	}
	if !IsManifestType(header) {
		return "", NewError(ManifestInvalid, "media type %q is not accepted for manifests: "+
			"send application/..., or a type that ends in +json, as Content-Type and mediaType", clip(header))
	}
	if field != "" {
		return field, nil // in the manifest's spelling
	}
	return header, nil
}

// errAmbiguous rejects bytes that are an image under one type and an index under another
// (CVE-2021-41190).
func errAmbiguous(kind, fields string) error {
	return NewError(ManifestInvalid, "the media type is that of %s, which has no %s: push the manifest with the correct type", kind, fields)
}

// IsManifestType reports whether a registry may serve a manifest as mediaType: application/*, or *+json. Browsers run
// scripts in other types, for example text/html. The names are those of RFC 6838 (section 4.2), so there are no
// parameters, lists or wildcards.
func IsManifestType(mediaType string) bool {
	kind, subtype, _ := strings.Cut(mediaType, "/")
	if len(mediaType) > maxMediaTypeLength || !isRestrictedName(kind) || !isRestrictedName(subtype) {
		return false
	}
	return strings.EqualFold(kind, "application") || strings.HasSuffix(strings.ToLower(subtype), "+json")
}

func isRestrictedName(s string) bool {
	return s != "" && strings.Trim(s[:1], alphanumeric) == "" && strings.Trim(s, alphanumeric+"!#$&-^_.+") == ""
}
