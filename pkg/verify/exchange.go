package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// shownBody limits the part of a body that a report shows, in bytes.
const shownBody = 2048

// Exchange is a request and its response, as a report shows them. Secrets are
// blanked, and bodies truncated.
type Exchange struct {
	Method         string      `json:"method"`
	URL            string      `json:"url"`
	RequestHeader  http.Header `json:"requestHeader,omitempty"`
	RequestBody    string      `json:"requestBody,omitempty"`
	RequestLength  int64       `json:"requestLength"` // in bytes; -1: sent without Content-Length
	Status         int         `json:"status"`        // 0: no response
	ResponseHeader http.Header `json:"responseHeader,omitempty"`
	ResponseBody   string      `json:"responseBody,omitempty"`
	ResponseLength int64       `json:"responseLength"` // of the received body, in bytes
	// Redirects are the statuses and Locations of the redirects that were followed.
	Redirects []string `json:"redirects,omitempty"`
	Error     string   `json:"error,omitempty"` // why there is no response, or an incomplete one
}

// String formats the exchange like a network trace.
func (e Exchange) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "> %s %s\n", e.Method, e.URL)
	writeHeader(&b, "> ", e.RequestHeader)
	writeBody(&b, "> ", e.RequestBody, e.RequestLength)
	for _, hop := range e.Redirects {
		fmt.Fprintf(&b, "< %s\n", hop)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, "< %d %s\n", e.Status, http.StatusText(e.Status))
		writeHeader(&b, "< ", e.ResponseHeader)
		writeBody(&b, "< ", e.ResponseBody, e.ResponseLength)
	}
	if e.Error != "" {
		fmt.Fprintf(&b, "! %s\n", e.Error)
	}
	return b.String()
}

func writeHeader(b *strings.Builder, prefix string, h http.Header) {
	for _, k := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[k] {
			fmt.Fprintf(b, "%s%s: %s\n", prefix, k, v)
		}
	}
}

func writeBody(b *strings.Builder, prefix, body string, length int64) {
	switch {
	case length < 0:
		fmt.Fprintf(b, "%s(sent without Content-Length)\n", prefix)
	case body == "" && length > 0:
		fmt.Fprintf(b, "%s(%d bytes)\n", prefix, length)
	case body != "":
		fmt.Fprintf(b, "%s%s\n", prefix, strings.TrimRight(body, "\n"))
	}
}

// shown returns the part of a body that a report can print: text only, and not too long.
func shown(body []byte) string {
	n := min(len(body), shownBody)
	for range utf8.UTFMax - 1 {
		if n > 0 && n < len(body) && !utf8.RuneStart(body[n]) {
			n-- // not inside a character
		}
	}
	cut := body[:n]
	unprintable := func(r rune) bool { return r == utf8.RuneError || r < ' ' && !strings.ContainsRune("\n\t\r", r) }
	if len(body) == 0 || !json.Valid(body) && bytes.ContainsFunc(cut, unprintable) {
		return ""
	}
	if len(body) > len(cut) {
		return string(bytes.ToValidUTF8(cut, nil)) + " …"
	}
	return string(cut)
}

// redacted is a copy of a header without secrets.
func redacted(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Cookie", "Set-Cookie"} {
		if h.Get(name) != "" {
			h.Set(name, "(not shown)")
		}
	}
	return h
}

// exchangeOf records a request and its reply. Signed URLs lose their query.
func exchangeOf(r Request, reply *Reply) Exchange {
	e := Exchange{
		Method: r.Method, URL: r.Target, RequestHeader: redacted(r.Header),
		RequestBody: shown(r.Body), RequestLength: int64(len(r.Body)),
		Status: reply.Status, ResponseHeader: redacted(reply.Header),
		ResponseBody: shown(reply.Body), ResponseLength: int64(len(reply.Body)),
	}
	if r.Stream {
		e.RequestLength = -1
	}
	if u, err := url.Parse(r.Target); err == nil && u.Query().Has("X-Amz-Signature") {
		e.URL = withoutQuery(r.Target)
	}
	for _, h := range reply.hops {
		e.Redirects = append(e.Redirects, fmt.Sprintf("%d, Location: %s", h.status, withoutQuery(h.header.Get("Location"))))
	}
	if location := reply.Header.Get("Location"); location != "" && reply.Status/100 == 3 {
		e.ResponseHeader.Set("Location", withoutQuery(location))
	}
	if reply.Err != nil {
		e.Error = reply.Err.Error()
	}
	return e
}

// withoutQuery keeps the signature of a URL out of reports.
func withoutQuery(location string) string {
	before, _, found := strings.Cut(location, "?")
	if found {
		before += "?…"
	}
	return before
}
