package verify

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// answer is the response to a case's request. Its methods fail the case unless the
// response is as expected, and return it for further checks.
type answer struct {
	*Reply
	t *T
}

// want fails the case unless ok.
func (a *answer) want(ok bool, format string, args ...any) *answer {
	if !ok {
		a.t.fail(a, format, args...)
	}
	return a
}

// wantStatus expects one of the statuses.
func (a *answer) wantStatus(statuses ...int) *answer {
	if slices.Contains(statuses, a.Status) {
		return a
	}
	var names []string
	for _, s := range statuses {
		names = append(names, strconv.Itoa(s)+" "+http.StatusText(s))
	}
	return a.want(false, "expected %s", strings.Join(names, " or "))
}

// wantHeader expects a header with exactly this value.
func (a *answer) wantHeader(name, value string) *answer {
	return a.want(a.Header.Get(name) == value, "expected the header %s: %s", name, value)
}

// wantBody expects exactly this body.
func (a *answer) wantBody(content []byte) *answer {
	return a.want(bytes.Equal(a.Body, content), "expected exactly the %d pushed bytes, got %d%s", len(content), len(a.Body), difference(a.Body, content))
}

func difference(got, want []byte) string {
	if len(got) != len(want) {
		return ""
	}
	for i := range got {
		if got[i] != want[i] {
			return ", different from byte " + strconv.Itoa(i) + " on"
		}
	}
	return ""
}

// wantLength expects a Content-Length of n bytes.
func (a *answer) wantLength(n int) *answer { return a.wantHeader("Content-Length", strconv.Itoa(n)) }

// errors returns the errors of a body in the spec's format, or nil if the body is not JSON:
// any other format is allowed (spec, "Error Codes").
func (a *answer) errors() []oci.Error {
	if !json.Valid(a.Body) {
		return nil
	}
	var got struct {
		Errors []oci.Error `json:"errors"`
	}
	err := json.Unmarshal(a.Body, &got)
	a.want(err == nil && len(got.Errors) > 0, "expected an errors array in a JSON body")
	return got.Errors
}

// wantError expects a status and an error with one of the codes. A body in another format
// fails too: use it if a client needs the code.
func (a *answer) wantError(status int, codes ...oci.Code) {
	a.wantStatus(status)
	known := func(e oci.Error) bool { return slices.Contains(codes, e.Code) }
	a.want(slices.ContainsFunc(a.errors(), known), "expected an error with the code %v", codes)
}

// wantRefused expects any 4xx status.
func (a *answer) wantRefused() *answer {
	return a.want(a.Status >= 400 && a.Status < 500, "expected a 4xx status")
}

// decode parses a JSON body.
func (a *answer) decode(v any) {
	err := json.Unmarshal(a.Body, v)
	a.want(err == nil, "expected a JSON body in the spec's format: %v", err)
}

// next returns the URL of a Link header with the relation "next" (RFC 5988), or empty.
func (a *answer) next() string {
	for _, header := range a.Header.Values("Link") {
		for link := range strings.SplitSeq(header, ",") {
			target, params, found := strings.Cut(strings.TrimSpace(link), ">")
			rel := strings.ReplaceAll(strings.ToLower(params), " ", "")
			if !found || !strings.HasPrefix(target, "<") || !strings.Contains(rel, `;rel="next"`) && !strings.Contains(rel, ";rel=next") {
				continue
			}
			u, err := a.URL.Parse(target[1:])
			a.want(err == nil, "expected a URL in the Link header")
			return u.String()
		}
	}
	return ""
}

// wantNo5xx expects that the request caused no fault. 501 means that the registry does not
// support the method (RFC 9110 15.6.2).
func (a *answer) wantNo5xx() *answer {
	return a.want(a.Status < 500 || a.Status == http.StatusNotImplemented, "expected no 5xx status")
}

// wantRefusedOr expects any 4xx status, or one of the statuses.
func (a *answer) wantRefusedOr(statuses ...int) *answer {
	known := slices.Contains(statuses, a.Status)
	return a.want(known || a.Status >= 400 && a.Status < 500, "expected a 4xx status or one of %v", statuses)
}

// wantNothingFound expects any 4xx status, or a redirect to the path without dots, which
// some servers send.
func (a *answer) wantNothingFound() {
	a.wantRefusedOr(http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther)
}

// wantCode expects one of the codes in an error, if the error is JSON: any other body is
// allowed.
func (a *answer) wantCode(codes ...oci.Code) {
	if !strings.HasPrefix(strings.TrimSpace(string(a.Body)), "{") {
		a.t.notOffered(a, "the error is not in JSON")
	}
	a.wantError(a.Status, codes...)
}

// contains reports whether the body contains the text.
func (a *answer) contains(text string) bool { return bytes.Contains(a.Body, []byte(text)) }

// notOfferedIf ends the case if the response has one of the statuses: they mean that the
// registry does not offer the feature, which the detail names.
func (a *answer) notOfferedIf(detail string, statuses ...int) *answer {
	if slices.Contains(statuses, a.Status) {
		a.t.notOffered(a, detail)
	}
	return a
}

// notOfferedIf4xx is notOfferedIf for any client error.
func (a *answer) notOfferedIf4xx(detail string) *answer {
	if a.isRefusal() {
		a.t.notOffered(a, detail)
	}
	return a
}

// isRefusal reports whether the response is a client error.
func (a *answer) isRefusal() bool { return a.Status/100 == 4 }
