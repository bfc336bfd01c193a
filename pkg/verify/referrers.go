package verify

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func referrersAPI(t *T) {
	subject := t.seedImage(t.repo, "")
	t.get(t.repo.referrers(subject.digest, "")).wantStatus(http.StatusOK)
}

// listed returns the descriptor of a referrer, and expects that it is listed.
func (t *T) listed(repo repository, subject oci.Digest, m manifest) (oci.Descriptor, *answer) {
	all, a := t.referrers(repo, subject, "")
	i := slices.IndexFunc(all, func(d oci.Descriptor) bool { return d.Digest == m.digest })
	a.want(i >= 0, "expected %s to be listed", m.digest)
	return all[i], a
}

func referrersEmpty(t *T) {
	subject := t.offersReferrers(t.repo)
	for _, d := range []oci.Digest{subject.digest, t.newBlob(10).digest} {
		a := t.wantReferrers(t.repo, d, "")
		var raw struct{ Manifests json.RawMessage }
		a.decode(&raw)
		a.want(bytes.HasPrefix(raw.Manifests, []byte("[")), "expected an empty array of manifests")
	}
}

func referrersContentType(t *T) {
	subject := t.offersReferrers(t.repo)
	t.get(t.repo.referrers(subject.digest, "")).wantStatus(http.StatusOK).wantHeader("Content-Type", mediaIndex)
	t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject))
	t.get(t.repo.referrers(subject.digest, "")).wantStatus(http.StatusOK).wantHeader("Content-Type", mediaIndex)
}

func referrersForm(t *T) {
	subject, _ := t.seedReferrer()
	for _, d := range []oci.Digest{subject.digest, t.newBlob(10).digest} {
		a := t.get(t.repo.referrers(d, "")).wantStatus(http.StatusOK)
		var index oci.Index
		a.decode(&index)
		a.want(index.SchemaVersion == 2, "expected schemaVersion 2")
		a.want(index.MediaType == mediaIndex, "expected the mediaType %s", mediaIndex)
	}
}

// wantListed expects that the referrer is listed with the fields that clients pull it by.
func (t *T) wantListed(subject, m manifest) {
	d, a := t.listed(t.repo, subject.digest, m)
	a.want(d.MediaType == m.mediaType, "expected the mediaType %s, got %q", m.mediaType, d.MediaType)
	a.want(d.Size == int64(len(m.content)), "expected the size %d, got %d", len(m.content), d.Size)
	t.wantManifest(t.repo, string(d.Digest), m)
}

func referrersImage(t *T) {
	subject, m := t.seedReferrer()
	t.wantListed(subject, m)
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersIndex(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.seedManifest(t.repo, "", t.indexOf(t.seedImage(t.repo, "")).about(subject).encode())
	t.wantListed(subject, m)
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersByTag(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.seedManifest(t.repo, "sbom", t.referrer(t.repo, mediaSBOM, subject))
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersArtifactType(t *T) {
	subject := t.offersReferrers(t.repo)
	image := t.seedManifest(t.repo, "", t.referrer(t.repo, "application/vnd.example.sbom+json", subject))
	doc := t.indexOf().about(subject)
	doc.ArtifactType = "application/vnd.example.index"
	index := t.seedManifest(t.repo, "", doc.encode())
	for _, m := range []manifest{image, index} {
		d, a := t.listed(t.repo, subject.digest, m)
		a.want(d.ArtifactType == m.doc.ArtifactType, "expected the artifactType %s, got %q", m.doc.ArtifactType, d.ArtifactType)
	}
}

// withConfigType pushes a referrer without artifactType.
func (t *T) withConfigType(configType string, subject manifest) manifest {
	doc := t.newArtifact(t.repo, "").about(subject)
	doc.Config.MediaType = configType
	return t.seedManifest(t.repo, "", doc.encode())
}

func referrersArtifactTypeConfig(t *T) {
	const configType = "application/vnd.example.config.v1+json"
	subject := t.offersReferrers(t.repo)
	d, a := t.listed(t.repo, subject.digest, t.withConfigType(configType, subject))
	a.want(d.ArtifactType == configType, "expected the artifactType %s, got %q", configType, d.ArtifactType)
}

func referrersArtifactTypeOmitted(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.seedManifest(t.repo, "", t.indexOf().about(subject).encode())
	_, a := t.listed(t.repo, subject.digest, m)
	a.want(!a.contains(`"artifactType"`), "expected no artifactType")
}

func referrersAnnotations(t *T) {
	subject := t.offersReferrers(t.repo)
	doc := t.newArtifact(t.repo, mediaSBOM).about(subject)
	maps.Copy(doc.Annotations, map[string]string{
		"org.opencontainers.image.created": "2026-01-01T14:42:55Z", "empty": "", "text": "größer 日本 <&>", "long": strings.Repeat("x", 2000),
	})
	index := t.indexOf().about(subject)
	for _, doc := range []document{doc, index} {
		m := t.seedManifest(t.repo, "", doc.encode())
		d, a := t.listed(t.repo, subject.digest, m)
		a.want(maps.Equal(d.Annotations, doc.Annotations), "expected all annotations of the manifest")
	}
}

func referrersBeforeSubject(t *T) {
	t.offersReferrers(t.repo)
	subject := t.newImage(t.repo)
	m := t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject))
	t.wantReferrers(t.repo, subject.digest, "", m)
	t.seedManifest(t.repo, "v1", subject)
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersAtOnce(t *T) {
	subject := t.offersReferrers(t.repo)
	var pushed []manifest
	for range 3 {
		t.wantReferrers(t.repo, subject.digest, "", pushed...)
		pushed = append(pushed, t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject)))
	}
	t.wantReferrers(t.repo, subject.digest, "", pushed...)
}

func referrersOfReferrers(t *T) {
	subject, sbom := t.seedReferrer()
	signature := t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSignature, sbom))
	t.wantReferrers(t.repo, subject.digest, "", sbom)
	t.wantReferrers(t.repo, sbom.digest, "", signature)
	t.wantReferrers(t.repo, signature.digest, "")
}

func referrersOnce(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.referrer(t.repo, mediaSBOM, subject)
	for _, ref := range []string{"", "", "v1", "v2"} {
		t.seedManifest(t.repo, ref, m)
	}
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersRepositoriesApart(t *T) {
	subject, m := t.seedReferrer()
	o := t.seedManifest(t.other, "", t.referrer(t.other, mediaSBOM, subject))
	t.wantReferrers(t.repo, subject.digest, "", m)
	t.wantReferrers(t.other, subject.digest, "", o)
}

func referrersAfterDelete(t *T) {
	subject, gone := t.seedReferrer()
	left := t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject))
	t.setup(func() { t.wantDeleted(t.repo.manifest(string(gone.digest))) })
	t.wantReferrers(t.repo, subject.digest, "", left)
}

func referrersSHA512(t *T) {
	t.offersReferrers(t.repo)
	subject := t.newImage(t.repo)
	subject.blob = sha512Of(subject.content)
	m := t.referrer(t.repo, mediaSBOM, subject)
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated)
	t.wantReferrers(t.repo, subject.digest, "", m)
}

func referrersInvalidDigest(t *T) {
	t.offersReferrers(t.repo)
	for _, d := range []oci.Digest{"sha256:abc", "latest", "sha256:", oci.Digest("sha256:" + strings.Repeat("z", 64))} {
		t.get(t.repo.referrers(d, "")).wantStatus(http.StatusBadRequest)
	}
}
