package verify

import (
	_ "embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Level is the strength of a requirement (RFC 2119).
type Level string

// The levels. Only a failed Must fails the verification. A requirement of a client is a
// Must if a common client fails without it, a Should if one gets slower or shows less.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
	May    Level = "MAY"
)

// Group is a set of cases that can be run separately. The first four are the
// categories of the spec (section "Requirements").
type Group string

// The groups, in the order in which they are reported.
const (
	Pull        Group = "pull"
	Push        Group = "push"
	Discovery   Group = "discovery"
	Management  Group = "management"
	Clients     Group = "clients"     // requirements of real clients, beyond the spec
	Hostile     Group = "hostile"     // invalid and malicious input
	Concurrency Group = "concurrency" // simultaneous requests
)

// Groups lists all groups.
func Groups() []Group {
	return []Group{Pull, Push, Discovery, Management, Clients, Hostile, Concurrency}
}

// Case is one requirement on a registry. The JSON names are older than those of the
// fields: programs read them.
type Case struct {
	// ID names the case: stable, lower case, words joined by '-'.
	ID    string `json:"id"`
	Group Group  `json:"group"`
	Level Level  `json:"level"`
	// Section is a section of the spec, another document ("RFC 9110 14.2",
	// "image-spec Considerations"), or the clients that have this requirement
	// ("docker, podman").
	Section string `json:"section"`
	// Requirement is one sentence about the registry.
	Requirement string `json:"rule"`
	// Impact says who is affected if the requirement is not met, and how.
	Impact string `json:"breaks"`
}

//go:embed cases.txt
var casesTable string

// Cases lists every case, in the order of Groups.
func Cases() []Case {
	var cases []Case
	var group Group
	for _, row := range Table(casesTable) {
		if len(row) == 1 {
			group = Group(strings.Trim(row[0], "[]"))
			continue
		}
		cases = append(cases, Case{row[0], group, Level(row[1]), row[2], row[3], row[4]})
	}
	return cases
}

// Table splits text into rows of cells separated by " | ". It skips empty lines and
// those that begin with '#'.
func Table(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			rows = append(rows, strings.Split(line, " | "))
		}
	}
	return rows
}

// ErrNoMatch is returned if an ID or pattern matches no case.
var ErrNoMatch = errors.New("no ID matches")

// Select returns the cases that match one of the patterns (IDs, or as in path.Match);
// without patterns, all. The error is ErrNoMatch if a pattern matches none.
func Select(cases []Case, patterns []string) ([]Case, error) {
	matched := make([]bool, len(patterns))
	cases = slices.DeleteFunc(slices.Clone(cases), func(c Case) bool {
		matches := len(patterns) == 0
		for i, pattern := range patterns {
			if ok, _ := path.Match(pattern, c.ID); ok {
				matched[i], matches = true, true
			}
		}
		return !matches
	})
	if i := slices.Index(matched, false); i >= 0 {
		return nil, fmt.Errorf("%w %q", ErrNoMatch, patterns[i])
	}
	return cases, nil
}

// specSections are the sections of the spec that cases refer to. Reports link to them.
func specSections() []string {
	return []string{
		"Pulling manifests", "Pulling blobs", "Checking if content exists in the registry",
		"Push", "Pushing blobs", "POST then PUT", "Single POST", "Pushing a blob in chunks", "Cancel a blob upload",
		"Mounting a blob from another repository", "Pushing Manifests", "Pushing Manifests with Subject",
		"Listing Tags", "Listing Referrers", "Content Management", "Deleting tags", "Deleting Manifests", "Deleting Blobs",
		"Enabling the Referrers API", "API", "Determining Support", "Endpoints", "Error Codes", "Warnings",
		"Definitions", "Use Cases",
	}
}

// SpecURL is the URL of the case's section on the main branch of the spec, or empty if
// the requirement is not from the spec.
func (c Case) SpecURL() string {
	if !slices.Contains(specSections(), c.Section) {
		return ""
	}
	anchor := strings.ReplaceAll(strings.ToLower(c.Section), " ", "-")
	return "https://github.com/opencontainers/distribution-spec/blob/main/spec.md#" + anchor
}
