package verify

import (
	"net/http"
)

func subjectCases() []Case {
	return []Case{
		{
			"manifest-subject-missing", Push, Must, "Push",
			"A manifest whose subject is not in the repository is accepted and pulled.",
			"signatures that are pushed before, or apart from, what they sign", manifestSubjectMissing,
		},
		{
			"manifest-subject-header", Push, Must, "Pushing Manifests with Subject",
			"The answer to a push of an image manifest with a subject has the subject's digest in OCI-Subject, each time.",
			"clients keep a list of their own in a tag, and lose entries there", manifestSubjectHeader,
		},
		{
			"manifest-subject-header-index", Push, Should, "Pushing Manifests with Subject",
			"The answer to a push of an index with a subject has the subject's digest in OCI-Subject.",
			"clients keep a list of their own in a tag, and lose entries there", manifestSubjectHeaderIndex,
		},
	}
}

func manifestSubjectMissing(p *probe) {
	subject := p.newImage(p.repo)
	m := p.referrer(p.repo, "application/vnd.example.sbom", subject)
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated)
	p.pulls(p.repo, string(m.digest), m)
}

func manifestSubjectHeader(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.referrer(p.repo, "application/vnd.example.sbom", subject)
	for range 2 {
		p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated).has("OCI-Subject", string(subject.digest))
	}
	p.putManifest(p.repo, "v1", m).is(http.StatusCreated).has("OCI-Subject", string(subject.digest))
	missing := p.newImage(p.repo)
	m = p.referrer(p.repo, "application/vnd.example.sbom", missing)
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated).has("OCI-Subject", string(missing.digest))
}

func manifestSubjectHeaderIndex(p *probe) {
	subject := p.offersReferrers(p.repo)
	m := p.indexOf().about(subject).encode()
	p.putManifest(p.repo, string(m.digest), m).is(http.StatusCreated).has("OCI-Subject", string(subject.digest))
}
