package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ofType returns the query of a filter.
func ofType(artifactType string) string {
	return "?" + url.Values{"artifactType": {artifactType}}.Encode()
}

// filtered requests the referrers of a type, and ends the case if the registry does not
// filter.
func (t *T) filtered(subject manifest, artifactType string, want ...manifest) {
	a := t.get(t.repo.referrers(subject.digest, ofType(artifactType))).wantStatus(http.StatusOK)
	if a.Header.Get("OCI-Filters-Applied") == "" {
		t.notOffered(a, "lists are not filtered")
	}
	t.wantReferrers(t.repo, subject.digest, ofType(artifactType), want...)
}

// manyReferrers pushes n artifacts with annotations of this many bytes.
func (t *T) manyReferrers(subject manifest, n int, artifactType string, bytes int) []manifest {
	base := t.newArtifact(t.repo, artifactType).about(subject)
	many := make([]manifest, n)
	t.parallel(8, func(i int) {
		for j := i; j < n; j += 8 {
			doc := base
			doc.Annotations = map[string]string{"number": fmt.Sprint(j), "text": strings.Repeat("x", bytes)}
			many[j] = t.seedManifest(t.repo, "", doc.encode())
		}
	})
	return many
}

// referrersPages exceeds pages of 100 entries and of 4 MiB.
func referrersPages(t *T) {
	subject := t.offersReferrers(t.repo)
	many := t.manyReferrers(subject, 120, mediaSignature, 36_000)
	t.wantReferrers(t.repo, subject.digest, "", many...)
}

func referrersFilter(t *T) {
	subject, sbom := t.seedReferrer()
	signature := t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSignature, subject))
	t.wantReferrers(t.repo, subject.digest, ofType(mediaSBOM), sbom)
	t.wantReferrers(t.repo, subject.digest, ofType(mediaSignature), signature)
}

func referrersFilterHeader(t *T) {
	subject, sbom := t.seedReferrer()
	t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSignature, subject))
	all, a := t.referrers(t.repo, subject.digest, "")
	a.want(a.Header.Get("OCI-Filters-Applied") == "", "expected no header OCI-Filters-Applied: nothing was filtered")
	some, a := t.referrers(t.repo, subject.digest, ofType(mediaSBOM))
	if len(some) == len(all) && a.Header.Get("OCI-Filters-Applied") == "" {
		t.notOffered(a, "lists are not filtered")
	}
	a.wantHeader("OCI-Filters-Applied", "artifactType")
	a.want(len(some) == 1 && some[0].Digest == sbom.digest, "expected the one referrer of the type")
}

func referrersFilterNone(t *T) {
	subject, _ := t.seedReferrer()
	t.filtered(subject, "application/vnd.example.nothing")
}

func referrersFilterExact(t *T) {
	subject := t.offersReferrers(t.repo)
	types := []string{
		mediaSBOM, "application/vnd.example.sbom.v1", "application/vnd.example.sbom+json",
		"application/vnd.example.sbom#json", "application/vnd.example.sbom&json",
	}
	pushed := make([]manifest, len(types))
	for i, artifactType := range types {
		pushed[i] = t.seedManifest(t.repo, "", t.referrer(t.repo, artifactType, subject))
	}
	for i, artifactType := range types {
		t.filtered(subject, artifactType, pushed[i])
	}
	t.filtered(subject, "application/vnd.example")
}

func referrersFilterConfig(t *T) {
	const configType = "application/vnd.example.config.v1+json"
	subject := t.offersReferrers(t.repo)
	m := t.withConfigType(configType, subject)
	t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSBOM, subject))
	t.filtered(subject, configType, m)
}

func referrersFilterPages(t *T) {
	subject := t.offersReferrers(t.repo)
	t.manyReferrers(subject, 8, mediaSBOM, 0)
	many := t.manyReferrers(subject, 120, mediaSignature, 0)
	t.manyReferrers(subject, 8, "application/vnd.example.zzz", 0)
	t.filtered(subject, mediaSignature, many...)
}
