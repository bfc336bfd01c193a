package verify

import (
	"net/http"
)

func manifestSubjectMissing(t *T) {
	subject := t.newImage(t.repo)
	m := t.referrer(t.repo, mediaSBOM, subject)
	t.wantPushed(t.repo, string(m.digest), m)
}

func manifestSubjectHeader(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.referrer(t.repo, mediaSBOM, subject)
	for range 2 {
		t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated).wantHeader("OCI-Subject", string(subject.digest))
	}
	t.putManifest(t.repo, "v1", m).wantStatus(http.StatusCreated).wantHeader("OCI-Subject", string(subject.digest))
	missing := t.newImage(t.repo)
	m = t.referrer(t.repo, mediaSBOM, missing)
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated).wantHeader("OCI-Subject", string(missing.digest))
}

func manifestSubjectHeaderIndex(t *T) {
	subject := t.offersReferrers(t.repo)
	m := t.indexOf().about(subject).encode()
	t.putManifest(t.repo, string(m.digest), m).wantStatus(http.StatusCreated).wantHeader("OCI-Subject", string(subject.digest))
}
