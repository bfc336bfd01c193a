package verify

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	octetStream    = "application/octet-stream"
	mediaConfig    = "application/vnd.oci.image.config.v1+json"
	mediaLayer     = "application/vnd.oci.image.layer.v1.tar"
	mediaSBOM      = "application/vnd.example.sbom"
	mediaSignature = "application/vnd.example.signature"
	mediaEmpty     = "application/vnd.oci.empty.v1+json"
	mediaManifest  = oci.MediaTypeImageManifest
	mediaIndex     = oci.MediaTypeImageIndex
	acceptedByMost = oci.MediaTypeImageManifest + ", " + oci.MediaTypeImageIndex + ", " + oci.MediaTypeDockerManifest + ", " + oci.MediaTypeDockerList
)

// repository is a repository name. Its methods return paths below it.
type repository string

func (r repository) blob(d oci.Digest) string   { return "/v2/" + string(r) + "/blobs/" + string(d) }
func (r repository) manifest(ref string) string { return "/v2/" + string(r) + "/manifests/" + ref }
func (r repository) uploads(query string) string {
	return "/v2/" + string(r) + "/blobs/uploads/" + query
}
func (r repository) tags(query string) string { return "/v2/" + string(r) + "/tags/list" + query }
func (r repository) referrers(d oci.Digest, query string) string {
	return "/v2/" + string(r) + "/referrers/" + string(d) + query
}

// mountFrom returns the query of a mount; from may be empty.
func mountFrom(d oci.Digest, from repository) string {
	q := url.Values{"mount": {string(d)}}
	if from != "" {
		q.Set("from", string(from))
	}
	return "?" + q.Encode()
}

// blob is content and its digest.
type blob struct {
	content []byte
	digest  oci.Digest
}

func blobOf(content []byte) blob { return blob{content, oci.SHA256.FromBytes(content)} }

// newBlob returns n random bytes: a blob that is new to the registry.
func (t *T) newBlob(n int) blob { return blobOf(t.rand.bytes(n)) }

// newBlobs returns k new blobs of n bytes.
func (t *T) newBlobs(k, n int) []blob {
	blobs := make([]blob, k)
	for i := range blobs {
		blobs[i] = t.newBlob(n)
	}
	return blobs
}

func (b blob) descriptor(mediaType string) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: b.digest, Size: int64(len(b.content))}
}

// document is a manifest or index before it is encoded. Unset fields are omitted.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *oci.Descriptor   `json:"config,omitempty"`
	Layers        []oci.Descriptor  `json:"layers,omitzero"`
	Manifests     []oci.Descriptor  `json:"manifests,omitzero"`
	Subject       *oci.Descriptor   `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// manifest is an encoded document.
type manifest struct {
	blob
	mediaType string
	doc       document
}

// encode writes the document with an indentation that no library uses, so that a registry
// that re-encodes it is detected.
func (d document) encode() manifest {
	b, err := json.MarshalIndent(d, " ", "   ")
	if err != nil {
		panic(err) // it contains only strings and numbers
	}
	return manifest{blobOf(b), d.MediaType, d}
}

func (m manifest) descriptor() oci.Descriptor {
	d := m.blob.descriptor(m.mediaType)
	d.ArtifactType = m.doc.ArtifactType
	return d
}

// annotated returns annotations that make documents differ.
func (t *T) annotated() map[string]string {
	return map[string]string{"land.pierless.verify": oci.SHA256.FromBytes(t.rand.bytes(16)).Encoded()[:16]}
}

// imageOf returns an image manifest over blobs; the first is the config.
func (t *T) imageOf(config blob, layers ...blob) document {
	c := config.descriptor(mediaConfig)
	d := document{SchemaVersion: 2, MediaType: mediaManifest, Config: &c, Layers: []oci.Descriptor{}, Annotations: t.annotated()}
	for _, l := range layers {
		d.Layers = append(d.Layers, l.descriptor(mediaLayer))
	}
	return d
}

func (t *T) indexOf(children ...manifest) document {
	d := document{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []oci.Descriptor{}, Annotations: t.annotated()}
	for _, c := range children {
		d.Manifests = append(d.Manifests, c.descriptor())
	}
	return d
}

// sha512Of returns content under its sha512 digest.
func sha512Of(content []byte) blob { return blob{content, oci.SHA512.FromBytes(content)} }

const mib = 1 << 20

// variant returns the same image with another digest.
func (t *T) variant(m manifest) manifest {
	d := m.doc
	d.Annotations = t.annotated()
	return d.encode()
}

// textManifest returns a manifest with this text.
func textManifest(mediaType, content string) manifest {
	return manifest{blob: blobOf([]byte(content)), mediaType: mediaType}
}

// edited returns the manifest with one piece of its text replaced.
func (m manifest) edited(from, to string) manifest {
	return textManifest(m.mediaType, strings.Replace(string(m.content), from, to, 1))
}

// about sets the subject.
func (d document) about(subject manifest) document {
	s := subject.blob.descriptor(subject.mediaType)
	d.Subject = &s
	return d
}

// referrer returns an artifact with this subject. Its blobs are in the repository, the
// artifact is not.
func (t *T) referrer(repo repository, artifactType string, subject manifest) manifest {
	doc := t.newArtifact(repo, artifactType)
	return doc.about(subject).encode()
}

// newArtifact returns an artifact with one layer. Its blobs are in the repository; an empty
// type is omitted.
func (t *T) newArtifact(repo repository, artifactType string) document {
	config, layer := blobOf([]byte("{}")), t.newBlob(100)
	t.seedBlob(repo, config)
	t.seedBlob(repo, layer)
	doc := t.imageOf(config, layer)
	doc.ArtifactType = artifactType
	doc.Config.MediaType, doc.Layers[0].MediaType = mediaEmpty, octetStream
	return doc
}

// referrersTo returns n manifests with this subject and its blobs. They are not in the
// registry.
func (t *T) referrersTo(subject manifest, n int) []manifest {
	ms := make([]manifest, n)
	for i := range ms {
		doc := subject.doc
		doc.ArtifactType, doc.Annotations = "application/vnd.pierless.verify", t.annotated()
		d := subject.descriptor()
		doc.Subject = &d
		ms[i] = doc.encode()
	}
	return ms
}

// newUUID returns an upload id in the format that most registries use.
func (t *T) newUUID() string {
	x := t.rand.bytes(16)
	x[6], x[8] = x[6]&0x0f|0x40, x[8]&0x3f|0x80 // version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
}

func illegalDigests() []string {
	return []string{
		"sha256:", "sha256:abc", "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("0", 65), "sha256:" + strings.Repeat("g", 64),
		"md5:d41d8cd98f00b204e9800998ecf8427e", "unheard:" + strings.Repeat("0", 64), ":" + strings.Repeat("0", 64), "sha512:" + strings.Repeat("0", 64),
		"sha256:" + strings.Repeat("0", 32) + ":" + strings.Repeat("0", 31), "sha256:%2e%2e%2f%2e%2e%2f" + strings.Repeat("0", 58),
	}
}
