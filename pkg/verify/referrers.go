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

func referrerCases() []Case {
	return slices.Concat(subjectCases(), referrerListCases(), referrerPageCases())
}

const referrerReaders = "cosign, notation, oras discover and docker buildx find signatures and SBOMs by it"

func referrerListCases() []Case {
	return []Case{
		{
			"referrers-api", Discovery, Should, "Listing Referrers",
			"The referrers API is there: it answers 200 for a manifest of the repository.",
			"clients keep a list of their own in a tag, and lose entries when two push at once", referrersAPI,
		},
		{
			"referrers-empty", Discovery, Must, "Listing Referrers",
			"The referrers of a manifest that has none, or is not there, are an empty array.",
			"clients fail where they expect a list", referrersEmpty,
		},
		{
			"referrers-content-type", Discovery, Must, "Listing Referrers",
			"The referrers come with the Content-Type of an image index.",
			"clients that choose by it how to read the answer", referrersContentType,
		},
		{
			"referrers-form", Discovery, Must, "Listing Referrers",
			"The referrers are an image index: schemaVersion 2, and its mediaType.",
			referrerReaders, referrersForm,
		},
		{
			"referrers-image", Discovery, Must, "Listing Referrers",
			"An image manifest with a subject is listed with its mediaType, digest and size, and pulled by them.",
			referrerReaders, referrersImage,
		},
		{
			"referrers-index", Discovery, Must, "Listing Referrers",
			"An index with a subject is listed with its mediaType, digest and size.",
			"SBOMs for each platform", referrersIndex,
		},
		{
			"referrers-by-tag", Discovery, Must, "Listing Referrers",
			"A manifest with a subject that was pushed to a tag is listed too.",
			referrerReaders, referrersByTag,
		},
		{
			"referrers-artifact-type", Discovery, Must, "Listing Referrers",
			"A referrer with an artifactType is listed with it, an image as an index.",
			"clients choose by it: signature or SBOM", referrersArtifactType,
		},
		{
			"referrers-artifact-type-config", Discovery, Must, "Listing Referrers",
			"An image without artifactType is listed with the media type of its config as artifactType.",
			"artifacts of older clients are not found", referrersArtifactTypeConfig,
		},
		{
			"referrers-artifact-type-omitted", Discovery, Must, "Listing Referrers",
			"An index without artifactType is listed without one.",
			"clients that take an empty type for a type", referrersArtifactTypeOmitted,
		},
		{
			"referrers-annotations", Discovery, Must, "Listing Referrers",
			"A referrer is listed with all its annotations.",
			"clients choose by them, and pull every referrer where they are missing", referrersAnnotations,
		},
		{
			"referrers-before-subject", Discovery, Must, "Push",
			"A referrer that was pushed before its subject is listed, before and after the subject is pushed.",
			"builds that push signatures first", referrersBeforeSubject,
		},
		{
			"referrers-at-once", Discovery, Must, "Listing Referrers",
			"A referrer is listed as soon as its push is answered, where the list was asked for before.",
			"jobs that sign and verify", referrersAtOnce,
		},
		{
			"referrers-of-referrers", Discovery, Must, "Listing Referrers",
			"A referrer has referrers of its own, and each list has its own alone.",
			"signatures of SBOMs", referrersOfReferrers,
		},
		{
			"referrers-once", Discovery, Should, "Listing Referrers",
			"A referrer that is pushed several times, by digest and by tag, is listed once.",
			"signatures are counted twice", referrersOnce,
		},
		{
			"referrers-repositories-apart", Discovery, Must, "Listing Referrers",
			"A referrer is listed in the repository that it was pushed to and in no other.",
			"clients pull what is not there, and see what is not theirs", referrersRepositoriesApart,
		},
		{
			"referrers-after-delete", Discovery, Must, "Listing Referrers",
			"A referrer that was deleted is no longer listed, and all others are.",
			"clients pull what is gone", referrersAfterDelete,
		},
		{
			"referrers-sha512", Discovery, Should, "Listing Referrers",
			"The referrers of a subject with a sha512 digest are listed.",
			"images that are built with sha512", referrersSHA512,
		},
		{
			"referrers-invalid-digest", Discovery, Must, "Listing Referrers",
			"A digest that is none is refused with 400.",
			"clients take an empty list for the truth", referrersInvalidDigest,
		},
	}
}

// referrer is an artifact that refers to the subject. Its blobs are in the
// repository; itself it is not.
func (p *probe) referrer(repo repository, artifactType string, subject manifest) manifest {
	doc := p.newArtifact(repo, artifactType)
	return doc.about(subject).encode()
}

// about sets the subject.
func (d document) about(subject manifest) document {
	s := subject.blob.descriptor(subject.mediaType)
	d.Subject = &s
	return d
}

func referrersAPI(p *probe) {
	subject := p.hasImage(p.repo, "")
	p.get(p.repo.referrers(subject.digest, "")).is(http.StatusOK)
}

// offersReferrers pushes a manifest, and ends the case where the registry answers
// 404 for its referrers: then it does not have the API.
func (p *probe) offersReferrers(repo repository) (subject manifest) {
	subject = p.hasImage(repo, "")
	p.needsReferrers(repo, subject.digest)
	return subject
}

// referrers follows a list to its end.
func (p *probe) referrers(repo repository, subject oci.Digest, query string) (listed []oci.Descriptor, last *answer) {
	a := p.get(repo.referrers(subject, query))
	for seen := map[string]bool{}; ; {
		var page oci.Index
		a.is(http.StatusOK).decode(&page)
		listed = append(listed, page.Manifests...)
		next := a.next()
		if next == "" {
			return listed, a
		}
		a.want(!seen[next] && len(seen) < 1000, "expected pages that end")
		seen[next] = true
		a = p.get(next)
	}
}

// hasReferrers expects exactly these, in any order, and returns the last answer.
func (p *probe) hasReferrers(repo repository, subject oci.Digest, query string, want ...manifest) *answer {
	listed, a := p.referrers(repo, subject, query)
	var got, digests []string
	for _, d := range listed {
		got = append(got, string(d.Digest))
	}
	for _, m := range want {
		digests = append(digests, string(m.digest))
	}
	slices.Sort(got)
	slices.Sort(digests)
	return a.want(slices.Equal(got, digests), "expected %d referrers, %v, got %d, %v", len(digests), short(digests), len(got), short(got))
}

// short cuts a list that is too long to be read.
func short(list []string) []string { return list[:min(len(list), 5)] }

// listed is the descriptor of a referrer, which must be there.
func (p *probe) listed(repo repository, subject oci.Digest, m manifest) (oci.Descriptor, *answer) {
	all, a := p.referrers(repo, subject, "")
	i := slices.IndexFunc(all, func(d oci.Descriptor) bool { return d.Digest == m.digest })
	a.want(i >= 0, "expected %s to be listed", m.digest)
	return all[i], a
}

func referrersEmpty(p *probe) {
	subject := p.offersReferrers(p.repo)
	for _, d := range []oci.Digest{subject.digest, p.newBlob(10).digest} {
		a := p.hasReferrers(p.repo, d, "")
		var raw struct{ Manifests json.RawMessage }
		a.decode(&raw)
		a.want(bytes.HasPrefix(raw.Manifests, []byte("[")), "expected an empty array of manifests")
	}
}

func referrersContentType(p *probe) {
	subject := p.offersReferrers(p.repo)
	p.get(p.repo.referrers(subject.digest, "")).is(http.StatusOK).has("Content-Type", mediaIndex)
	p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.get(p.repo.referrers(subject.digest, "")).is(http.StatusOK).has("Content-Type", mediaIndex)
}

func referrersForm(p *probe) {
	subject := p.offersReferrers(p.repo)
	p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	for _, d := range []oci.Digest{subject.digest, p.newBlob(10).digest} {
		a := p.get(p.repo.referrers(d, "")).is(http.StatusOK)
		var index oci.Index
		a.decode(&index)
		a.want(index.SchemaVersion == 2, "expected schemaVersion 2")
		a.want(index.MediaType == mediaIndex, "expected the mediaType %s", mediaIndex)
	}
}

// listsAs expects the referrer to be listed with what a client pulls it by.
func (p *probe) listsAs(subject, m manifest) {
	d, a := p.listed(p.repo, subject.digest, m)
	a.want(d.MediaType == m.mediaType, "expected the mediaType %s, got %q", m.mediaType, d.MediaType)
	a.want(d.Size == int64(len(m.content)), "expected the size %d, got %d", len(m.content), d.Size)
	p.pulls(p.repo, string(d.Digest), m)
}

func referrersImage(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.listsAs(subject, m)
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersIndex(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.hasManifest(p.repo, "", p.indexOf(p.hasImage(p.repo, "")).about(subject).encode())
	p.listsAs(subject, m)
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersByTag(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.hasManifest(p.repo, "sbom", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersArtifactType(p *probe) {
	subject := p.offersReferrers(p.repo)
	image := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom+json", subject))
	doc := p.indexOf().about(subject)
	doc.ArtifactType = "application/vnd.example.index"
	index := p.hasManifest(p.repo, "", doc.encode())
	for _, m := range []manifest{image, index} {
		d, a := p.listed(p.repo, subject.digest, m)
		a.want(d.ArtifactType == m.doc.ArtifactType, "expected the artifactType %s, got %q", m.doc.ArtifactType, d.ArtifactType)
	}
}

// withConfigType refers to the subject without an artifactType of its own.
func (p *probe) withConfigType(configType string, subject manifest) manifest {
	doc := p.newArtifact(p.repo, "").about(subject)
	doc.Config.MediaType = configType
	return p.hasManifest(p.repo, "", doc.encode())
}

func referrersArtifactTypeConfig(p *probe) {
	const configType = "application/vnd.example.config.v1+json"
	subject := p.offersReferrers(p.repo)
	d, a := p.listed(p.repo, subject.digest, p.withConfigType(configType, subject))
	a.want(d.ArtifactType == configType, "expected the artifactType %s, got %q", configType, d.ArtifactType)
}

func referrersArtifactTypeOmitted(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.hasManifest(p.repo, "", p.indexOf().about(subject).encode())
	_, a := p.listed(p.repo, subject.digest, m)
	a.want(!a.names(`"artifactType"`), "expected no artifactType")
}

func referrersAnnotations(p *probe) {
	subject := p.offersReferrers(p.repo)
	doc := p.newArtifact(p.repo, "application/vnd.example.sbom").about(subject)
	maps.Copy(doc.Annotations, map[string]string{
		"org.opencontainers.image.created": "2026-01-01T14:42:55Z", "empty": "", "text": "größer 日本 <&>", "long": strings.Repeat("x", 2000),
	})
	index := p.indexOf().about(subject)
	for _, doc := range []document{doc, index} {
		m := p.hasManifest(p.repo, "", doc.encode())
		d, a := p.listed(p.repo, subject.digest, m)
		a.want(maps.Equal(d.Annotations, doc.Annotations), "expected all annotations of the manifest")
	}
}

func referrersBeforeSubject(p *probe) {
	p.offersReferrers(p.repo)
	subject := p.newImage(p.repo)
	m := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.hasReferrers(p.repo, subject.digest, "", m)
	p.hasManifest(p.repo, "v1", subject)
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersAtOnce(p *probe) {
	subject := p.offersReferrers(p.repo)
	var pushed []manifest
	for range 3 {
		p.hasReferrers(p.repo, subject.digest, "", pushed...)
		pushed = append(pushed, p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject)))
	}
	p.hasReferrers(p.repo, subject.digest, "", pushed...)
}

func referrersOfReferrers(p *probe) {
	subject := p.offersReferrers(p.repo)
	sbom := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	signature := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.signature", sbom))
	p.hasReferrers(p.repo, subject.digest, "", sbom)
	p.hasReferrers(p.repo, sbom.digest, "", signature)
	p.hasReferrers(p.repo, signature.digest, "")
}

func referrersOnce(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.referrer(p.repo, "application/vnd.example.sbom", subject)
	for _, ref := range []string{"", "", "v1", "v2"} {
		p.hasManifest(p.repo, ref, m)
	}
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersRepositoriesApart(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	o := p.hasManifest(p.other, "", p.referrer(p.other, "application/vnd.example.sbom", subject))
	p.hasReferrers(p.repo, subject.digest, "", m)
	p.hasReferrers(p.other, subject.digest, "", o)
}

func referrersAfterDelete(p *probe) {
	subject := p.offersReferrers(p.repo)
	gone := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	left := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.given(func() { p.deletes(p.repo.manifest(string(gone.digest))) })
	p.hasReferrers(p.repo, subject.digest, "", left)
}

func referrersSHA512(p *probe) {
	p.offersReferrers(p.repo)
	subject := p.newImage(p.repo)
	subject.blob = sha512Of(subject.content)
	m := p.referrer(p.repo, "application/vnd.example.sbom", subject)
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.hasReferrers(p.repo, subject.digest, "", m)
}

func referrersInvalidDigest(p *probe) {
	p.offersReferrers(p.repo)
	for _, d := range []oci.Digest{"sha256:abc", "latest", "sha256:", oci.Digest("sha256:" + strings.Repeat("z", 64))} {
		p.get(p.repo.referrers(d, "")).is(http.StatusBadRequest)
	}
}
