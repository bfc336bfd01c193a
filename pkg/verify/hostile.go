package verify

import (
	"net/http"
	"slices"
	"strings"
)

// hostileCases are about input that is wrong or malicious: it gets a refusal in
// finite time, does nothing, and the registry goes on working.
func hostileCases() []Case {
	return slices.Concat(hostilePathCases(), hostileUploadCases(), hostileManifestCases(), hostileHeaderCases(), hostileErrorCases())
}

const (
	outage    = "one request that makes a fault is a way to take the registry down"
	elsewhere = "whoever sends it reads or writes what is not theirs"
)

// noFault expects any answer that is not a fault of the registry. 501 says that
// something is not there on purpose (RFC 9110 15.6.2).
func (a *answer) noFault() *answer {
	return a.want(a.status < 500 || a.status == http.StatusNotImplemented, "expected no 5xx status")
}

// refusedOr expects a client error, or one of the statuses.
func (a *answer) refusedOr(statuses ...int) *answer {
	known := slices.Contains(statuses, a.status)
	return a.want(known || a.status >= 400 && a.status < 500, "expected a 4xx status or one of %v", statuses)
}

// findsNothing expects a client error. A redirect to the path without dots, which
// some servers send, does nothing either.
func (a *answer) findsNothing() {
	a.refusedOr(http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther)
}

// goesOn expects that the registry works as before: what was there is there.
func (p *probe) goesOn(m manifest) {
	p.getManifest(p.repo, "v1").is(http.StatusOK).hasBody(m.content)
}

// hasTags expects the tag list of the case's repository.
func (p *probe) hasTags(want ...string) {
	list, a := p.tags(p.repo, "")
	a.want(slices.Equal(list.Tags, want), "expected the tags %s and no others", strings.Join(want, ", "))
}
