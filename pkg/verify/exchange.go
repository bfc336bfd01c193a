package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// shownBody is how much of a body a report shows, in bytes.
const shownBody = 2048

// Exchange is a request and its answer, as a report shows them. Secrets are
// blanked, and bodies cut.
type Exchange struct {
	Method         string      `json:"method"`
	URL            string      `json:"url"`
	RequestHeader  http.Header `json:"requestHeader,omitempty"`
	RequestBody    string      `json:"requestBody,omitempty"`
	RequestLength  int64       `json:"requestLength"` // in bytes; -1: streamed without a length
	Status         int         `json:"status"`        // 0: there was no answer
	ResponseHeader http.Header `json:"responseHeader,omitempty"`
	ResponseBody   string      `json:"responseBody,omitempty"`
	ResponseLength int64       `json:"responseLength"` // of the body that arrived, in bytes
	// Redirects are the statuses and places of the answers before this one.
	Redirects []string `json:"redirects,omitempty"`
	Error     string   `json:"error,omitempty"` // why there was no answer, or no whole one
}

// String shows the exchange as it would stand in a network trace.
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
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		for _, v := range h[k] {
			fmt.Fprintf(b, "%s%s: %s\n", prefix, k, v)
		}
	}
}

func writeBody(b *strings.Builder, prefix, body string, length int64) {
	switch {
	case length < 0:
		fmt.Fprintf(b, "%s(a stream without Content-Length)\n", prefix)
	case body == "" && length > 0:
		fmt.Fprintf(b, "%s(%d bytes)\n", prefix, length)
	case body != "":
		fmt.Fprintf(b, "%s%s\n", prefix, strings.TrimRight(body, "\n"))
	}
}

// shown is a body as a report can print it: text only, and not too long.
func shown(body []byte) string {
	n := min(len(body), shownBody)
	for range utf8.UTFMax - 1 {
		if n > 0 && n < len(body) && !utf8.RuneStart(body[n]) {
			n-- // not in the middle of a character
		}
	}
	cut := body[:n]
	if len(body) == 0 || !json.Valid(body) && bytes.ContainsFunc(cut, func(r rune) bool { return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' && r != '\r' }) {
		return ""
	}
	if len(body) > len(cut) {
		return string(bytes.ToValidUTF8(cut, nil)) + " …"
	}
	return string(cut)
}

// redacted is a copy of a header without what must not get into a report.
func redacted(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Cookie", "Set-Cookie"} {
		if h.Get(name) != "" {
			h.Set(name, "(not shown)")
		}
	}
	return h
}
