package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

func referrerPageCases() []Case {
	return []Case{
		{
			"referrers-pages", Discovery, Must, "Listing Referrers",
			"All of 120 referrers are listed, each once: in one answer, or on pages that a Link header leads to.",
			"signatures of images that are signed often", referrersPages,
		},
		{
			"referrers-filter", Discovery, Should, "Listing Referrers",
			"With artifactType, only the referrers of this type are listed.",
			"clients read through all referrers for one signature", referrersFilter,
		},
		{
			"referrers-filter-header", Discovery, Must, "Listing Referrers",
			"A list has OCI-Filters-Applied: artifactType where, and only where, it was filtered by it.",
			"clients filter again, or take other types for the one they asked for", referrersFilterHeader,
		},
		{
			"referrers-filter-none", Discovery, Must, "Listing Referrers",
			"A filter that matches nothing gives an empty list with 200.",
			"clients take anything else for an outage, or for a registry without the API", referrersFilterNone,
		},
		{
			"referrers-filter-exact", Discovery, Must, "Listing Referrers",
			"A filter matches the whole type: not types that begin like it, and with +, # and & in it.",
			"clients take other types for the one they asked for", referrersFilterExact,
		},
		{
			"referrers-filter-config", Discovery, Must, "Listing Referrers",
			"A filter finds images whose artifactType is that of their config.",
			"artifacts of older clients are not found", referrersFilterConfig,
		},
		{
			"referrers-filter-pages", Discovery, Must, "Listing Referrers",
			"A filter holds on every page: all of 120 referrers of the type are listed, and no other.",
			"signatures of images that are signed often", referrersFilterPages,
		},
	}
}

// ofType is the query of a filter.
func ofType(artifactType string) string {
	return "?" + url.Values{"artifactType": {artifactType}}.Encode()
}

// filtered asks for the referrers of a type, and ends the case where the registry
// does not filter.
func (p *probe) filtered(subject manifest, artifactType string, want ...manifest) {
	a := p.get(p.repo.referrers(subject.digest, ofType(artifactType))).is(http.StatusOK)
	if a.header.Get("OCI-Filters-Applied") == "" {
		p.notOffered(a, "lists are not filtered")
	}
	p.hasReferrers(p.repo, subject.digest, ofType(artifactType), want...)
}

// manyReferrers pushes n artifacts with annotations of some bytes.
func (p *probe) manyReferrers(subject manifest, n int, artifactType string, bytes int) []manifest {
	base := p.newArtifact(p.repo, artifactType).about(subject)
	many := make([]manifest, n)
	p.each(8, func(i int) {
		for j := i; j < n; j += 8 {
			doc := base
			doc.Annotations = map[string]string{"number": fmt.Sprint(j), "text": strings.Repeat("x", bytes)}
			many[j] = p.hasManifest(p.repo, "", doc.encode())
		}
	})
	return many
}

// referrersPages needs pages where answers have up to 100 entries, or 4 MiB.
func referrersPages(p *probe) {
	subject := p.offersReferrers(p.repo)
	many := p.manyReferrers(subject, 120, "application/vnd.example.signature", 36_000)
	p.hasReferrers(p.repo, subject.digest, "", many...)
}

func referrersFilter(p *probe) {
	subject := p.offersReferrers(p.repo)
	sbom := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	signature := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.signature", subject))
	p.hasReferrers(p.repo, subject.digest, ofType("application/vnd.example.sbom"), sbom)
	p.hasReferrers(p.repo, subject.digest, ofType("application/vnd.example.signature"), signature)
}

func referrersFilterHeader(p *probe) {
	subject := p.offersReferrers(p.repo)
	sbom := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.signature", subject))
	all, a := p.referrers(p.repo, subject.digest, "")
	a.want(a.header.Get("OCI-Filters-Applied") == "", "expected no header OCI-Filters-Applied, for nothing was filtered")
	some, a := p.referrers(p.repo, subject.digest, ofType("application/vnd.example.sbom"))
	if len(some) == len(all) && a.header.Get("OCI-Filters-Applied") == "" {
		p.notOffered(a, "lists are not filtered")
	}
	a.has("OCI-Filters-Applied", "artifactType")
	a.want(len(some) == 1 && some[0].Digest == sbom.digest, "expected the one referrer of the type")
}

func referrersFilterNone(p *probe) {
	subject := p.offersReferrers(p.repo)
	p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.filtered(subject, "application/vnd.example.nothing")
}

func referrersFilterExact(p *probe) {
	subject := p.offersReferrers(p.repo)
	types := []string{
		"application/vnd.example.sbom", "application/vnd.example.sbom.v1", "application/vnd.example.sbom+json",
		"application/vnd.example.sbom#json", "application/vnd.example.sbom&json",
	}
	pushed := make([]manifest, len(types))
	for i, t := range types {
		pushed[i] = p.hasManifest(p.repo, "", p.referrer(p.repo, t, subject))
	}
	for i, t := range types {
		p.filtered(subject, t, pushed[i])
	}
	p.filtered(subject, "application/vnd.example")
}

func referrersFilterConfig(p *probe) {
	const configType = "application/vnd.example.config.v1+json"
	subject := p.offersReferrers(p.repo)
	m := p.withConfigType(configType, subject)
	p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.sbom", subject))
	p.filtered(subject, configType, m)
}

func referrersFilterPages(p *probe) {
	subject := p.offersReferrers(p.repo)
	p.manyReferrers(subject, 8, "application/vnd.example.sbom", 0)
	many := p.manyReferrers(subject, 120, "application/vnd.example.signature", 0)
	p.manyReferrers(subject, 8, "application/vnd.example.zzz", 0)
	p.filtered(subject, "application/vnd.example.signature", many...)
}
