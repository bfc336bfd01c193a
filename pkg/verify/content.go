package verify

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	octetStream    = "application/octet-stream"
	mediaConfig    = "application/vnd.oci.image.config.v1+json"
	mediaLayer     = "application/vnd.oci.image.layer.v1.tar"
	mediaEmpty     = "application/vnd.oci.empty.v1+json"
	mediaManifest  = oci.MediaTypeImageManifest
	mediaIndex     = oci.MediaTypeImageIndex
	acceptedByMost = oci.MediaTypeImageManifest + ", " + oci.MediaTypeImageIndex + ", " + oci.MediaTypeDockerManifest + ", " + oci.MediaTypeDockerList
)

// repository is a name, and the paths below it.
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

// mountFrom is the query of a mount; from may be empty.
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

// newBlob is a blob of n random bytes, which the registry has never seen.
func (t *T) newBlob(n int) blob { return blobOf(t.rand.bytes(n)) }

func (b blob) descriptor(mediaType string) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: b.digest, Size: int64(len(b.content))}
}

// document is a manifest or index before it is written as JSON. Fields that are
// not set are left out.
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

// manifest is a document as it goes over the wire.
type manifest struct {
	blob
	mediaType string
	doc       document
}

// encode writes the document. The indentation is one that no library makes, so
// that a registry which writes it anew is seen.
func (d document) encode() manifest {
	b, err := json.MarshalIndent(d, " ", "   ")
	if err != nil {
		panic(err) // it has strings and numbers only
	}
	return manifest{blobOf(b), d.MediaType, d}
}

func (m manifest) descriptor() oci.Descriptor {
	d := m.blob.descriptor(m.mediaType)
	d.ArtifactType = m.doc.ArtifactType
	return d
}

// annotated makes documents differ.
func (t *T) annotated() map[string]string {
	return map[string]string{"land.pierless.verify": oci.SHA256.FromBytes(t.rand.bytes(16)).Encoded()[:16]}
}

// imageOf is an image manifest over blobs; the first is the config.
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

// The steps below prepare a case: where one fails, the case is skipped.

// seedBlob pushes a blob and returns the 201.
func (t *T) seedBlob(repo repository, b blob) (a *answer) {
	t.setup(func() { a = t.pushBlob(repo, b).wantStatus(http.StatusCreated) })
	return a
}

// newUpload opens an upload and returns its location.
func (t *T) newUpload(repo repository, query string) (location string) {
	t.setup(func() { location = t.post(repo.uploads(query)).wantStatus(http.StatusAccepted).location() })
	return location
}

// pushBlob uploads a blob with POST and PUT and returns the last answer.
func (t *T) pushBlob(repo repository, b blob) *answer {
	query := ""
	if a := b.digest.Algorithm(); a != oci.SHA256 {
		query = "?digest-algorithm=" + string(a)
	}
	loc := t.newUpload(repo, query)
	return t.finish(loc, b.digest, b.content)
}

// putManifest pushes a manifest to a tag or digest and returns the answer.
func (t *T) putManifest(repo repository, ref string, m manifest, opts ...option) *answer {
	return t.put(repo.manifest(ref), append([]option{withBody(m.content), withHeader("Content-Type", m.mediaType)}, opts...)...)
}

// seedManifest pushes a manifest; an empty ref stands for its digest.
func (t *T) seedManifest(repo repository, ref string, m manifest) manifest {
	if ref == "" {
		ref = string(m.digest)
	}
	t.setup(func() { t.putManifest(repo, ref, m).wantStatus(http.StatusCreated) })
	return m
}

// newImage is an image whose blobs are in the repository; itself it is not.
func (t *T) newImage(repo repository) manifest {
	config, layer := t.newBlob(200), t.newBlob(1000)
	t.seedBlob(repo, config)
	t.seedBlob(repo, layer)
	return t.imageOf(config, layer).encode()
}

// seedImage pushes an image; an empty ref stands for its digest.
func (t *T) seedImage(repo repository, ref string) manifest {
	return t.seedManifest(repo, ref, t.newImage(repo))
}

// headManifest asks whether a manifest is there, as clients do.
func (t *T) headManifest(repo repository, ref string) *answer {
	return t.head(repo.manifest(ref), withHeader("Accept", acceptedByMost))
}

// getManifest asks for a manifest as clients do.
func (t *T) getManifest(repo repository, ref string) *answer {
	return t.get(repo.manifest(ref), withHeader("Accept", acceptedByMost))
}
