package verify

import (
	"net/http"
	"slices"
	"strings"
)

const (
	outage    = "one request that makes a fault is a way to take the registry down"
	elsewhere = "whoever sends it reads or writes what is not theirs"
)

// wantNo5xx expects any answer that is not a fault of the registry. 501 says that
// something is not there on purpose (RFC 9110 15.6.2).
func (a *answer) wantNo5xx() *answer {
	return a.want(a.Status < 500 || a.Status == http.StatusNotImplemented, "expected no 5xx status")
}

// wantRefusedOr expects a client error, or one of the statuses.
func (a *answer) wantRefusedOr(statuses ...int) *answer {
	known := slices.Contains(statuses, a.Status)
	return a.want(known || a.Status >= 400 && a.Status < 500, "expected a 4xx status or one of %v", statuses)
}

// wantNothingFound expects a client error. A redirect to the path without dots, which
// some servers send, does nothing either.
func (a *answer) wantNothingFound() {
	a.wantRefusedOr(http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther)
}

// wantUnharmed expects that the registry works as before: what was there is there.
func (t *T) wantUnharmed(m manifest) {
	t.getManifest(t.repo, "v1").wantStatus(http.StatusOK).wantBody(m.content)
}

// wantTags expects the tag list of the case's repository.
func (t *T) wantTags(want ...string) {
	list, a := t.tags(t.repo, "")
	a.want(slices.Equal(list.Tags, want), "expected the tags %s and no others", strings.Join(want, ", "))
}
