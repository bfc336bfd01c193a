package verify

import (
	"slices"
	"strings"
)

// Level is how strongly a rule binds (RFC 2119).
type Level string

// The levels. Only a failed Must fails the verification. Rules that come from
// clients are Must where a common client fails without them, Should where one gets
// slower or shows less.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
	May    Level = "MAY"
)

// Group is a set of cases that can be run by itself. The first four are the
// categories of the spec (section "Requirements").
type Group string

// The groups, in the order in which they are reported.
const (
	Pull        Group = "pull"
	Push        Group = "push"
	Discovery   Group = "discovery"
	Management  Group = "management"
	Clients     Group = "clients"     // what real clients rely on, beyond the spec
	Hostile     Group = "hostile"     // input that is wrong or malicious
	Concurrency Group = "concurrency" // many requests at once
)

// Groups lists all groups.
func Groups() []Group {
	return []Group{Pull, Push, Discovery, Management, Clients, Hostile, Concurrency}
}

// Case is one rule and the way to see whether a registry keeps it.
type Case struct {
	// ID names the case: stable, lower case, words joined by '-'.
	ID    string `json:"id"`
	Group Group  `json:"group"`
	Level Level  `json:"level"`
	// Section is the section of the spec that the rule is in, another document's
	// ("RFC 9110 14.2",
	// "image-spec Considerations"), or the clients that it comes from ("docker, podman").
	Section string `json:"section"`
	// Rule says in one sentence what the registry does.
	Rule string `json:"rule"`
	// Breaks says what goes wrong for whom where it does not.
	Breaks string `json:"breaks"`

	run func(*probe)
}

// Cases lists every case, by group.
func Cases() []Case {
	return slices.Concat(
		pullCases(), rangeCases(),
		pushCases(), chunkCases(), manifestCases(),
		tagCases(), referrerCases(), managementCases(),
		clientCases(), hostileCases(), concurrencyCases(),
	)
}

// specSections are the sections of the spec that cases name, so that a report can
// link to them.
func specSections() []string {
	return []string{
		"Pulling manifests", "Pulling blobs", "Checking if content exists in the registry",
		"Push", "Pushing blobs", "POST then PUT", "Single POST", "Pushing a blob in chunks", "Cancel a blob upload",
		"Mounting a blob from another repository", "Pushing Manifests", "Pushing Manifests with Subject",
		"Listing Tags", "Listing Referrers", "Content Management", "Deleting tags", "Deleting Manifests", "Deleting Blobs",
		"Enabling the Referrers API", "API", "Determining Support", "Endpoints", "Error Codes", "Warnings", "Definitions", "Use Cases",
	}
}

// SpecURL is where the case's section is on the main branch of the spec, or empty
// where the rule is not the spec's.
func (c Case) SpecURL() string {
	if !slices.Contains(specSections(), c.Section) {
		return ""
	}
	anchor := strings.ReplaceAll(strings.ToLower(c.Section), " ", "-")
	return "https://github.com/opencontainers/distribution-spec/blob/main/spec.md#" + anchor
}
