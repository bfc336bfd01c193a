package lambdahttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// apiEvent is the adapter's type of an event.
type apiEvent = events.APIGatewayV2HTTPRequest

// event is a valid event.
type event struct {
	apiEvent
	path  string // decoded, without the stage
	query string // as it stands in a request line
}

// parseEvent parses an event. The error is a *Fault; the event then has the parts that
// could be parsed.
func parseEvent(payload []byte) (event, error) {
	e := event{path: "/"}
	if err := decode(payload, &e.apiEvent); err != nil {
		return e, badEvent(err)
	}
	if e.Version != "2.0" {
		return e, badEvent(fmt.Errorf("payload format version is %q", e.Version))
	}
	if !isToken(e.RequestContext.HTTP.Method) {
		return e, badEvent(errors.New("the method is missing or malformed"))
	}
	e.path = e.decodedPath()
	e.query = escapeQuery(e.RawQueryString)
	return e, nil
}

func badEvent(cause error) *Fault {
	return failed("the event is not an HTTP API event of payload format 2.0: check the integration of this route", cause)
}

// decode bypasses encoding/json for the body, which is most of an event: to decode a chunk
// of 4 MiB would take five times as long as all other work of this package.
func decode(payload []byte, e *apiEvent) error {
	rest, body, found := cutBody(payload)
	if !found {
		return json.Unmarshal(payload, e)
	}
	if err := json.Unmarshal(rest, e); err != nil {
		return err
	}
	e.Body = body
	return nil
}

// decodedPath returns the path, in which API Gateway has decoded percent escapes, without
// the stage, which precedes it unless it is $default.
func (e *event) decodedPath() string {
	path := e.RawPath
	if path == "" {
		path = e.RequestContext.HTTP.Path
	}
	if stage := e.RequestContext.Stage; stage != "" && stage != "$default" {
		if rest, found := strings.CutPrefix(path, "/"+stage); found && (rest == "" || rest[0] == '/') {
			path = rest
		}
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

// escapeQuery escapes characters that are not allowed in a query. The query is still
// encoded as the client sent it; '#' would end it.
func escapeQuery(query string) string {
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// guarded returns the event for the adapter: its path is escaped once, because the adapter
// decodes it, and it has no headers, which the adapter would split at commas.
func (e *event) guarded() apiEvent {
	g := apiEvent{
		RawPath:         (&url.URL{Path: e.path}).EscapedPath(),
		RawQueryString:  e.query,
		Body:            e.Body,
		IsBase64Encoded: e.IsBase64Encoded,
	}
	g.RequestContext.HTTP.Method = e.RequestContext.HTTP.Method
	return g
}

// restore completes the adapter's request with the parts that guarded left out.
func (e *event) restore(r *http.Request) {
	if isToken(e.RequestContext.HTTP.Method) {
		r.Method = e.RequestContext.HTTP.Method
	}
	r.URL = &url.URL{Path: e.path, RawQuery: e.query}
	r.RequestURI = r.URL.RequestURI()
	r.Header = e.header()
	r.Host = e.host()
	r.RemoteAddr = e.RequestContext.HTTP.SourceIP
	if r.ContentLength > 0 {
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	// API Gateway's id of the request, as in its access log, without the padding of the base64.
	if id := strings.TrimRight(e.RequestContext.RequestID, "="); id != "" {
		r.Header.Set("X-Request-Id", id)
	}
}

// header returns the client's headers. API Gateway has joined repeated headers with commas;
// they are not split. Headers of the connection, which ended at the gateway, are left out.
func (e *event) header() http.Header {
	h := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		key := textproto.CanonicalMIMEHeaderKey(name)
		switch key {
		case "Host", "Content-Length", "Transfer-Encoding", "Expect", "Connection", "Trailer", "Te", "Upgrade":
			continue
		}
		if value := strings.Trim(e.Headers[name], " \t"); isToken(name) && isValue(value) {
			h.Add(key, value)
		}
	}
	if cookies := strings.Join(e.Cookies, "; "); cookies != "" && isValue(cookies) {
		h.Set("Cookie", cookies)
	}
	return h
}

func (e *event) host() string {
	host := e.RequestContext.DomainName
	for name, value := range e.Headers {
		if strings.EqualFold(name, "host") {
			host = value
		}
	}
	if strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`/\?#@"<>`, c) }) {
		return ""
	}
	return host
}

// domainKey is the key of the API's domain name in the context of a request.
type domainKey struct{}

// Host returns the host for which API Gateway has accepted a request. A client can choose its
// Host header, so the header counts only if it names that host, with or without a port.
func Host(r *http.Request) string {
	domain, _ := r.Context().Value(domainKey{}).(string)
	named := (&url.URL{Host: r.Host}).Hostname()
	if domain == "" || strings.EqualFold(named, domain) {
		return r.Host
	}
	return domain
}

// isToken reports whether s is valid as a method or a header name (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}) < 0
}

// isValue reports whether s is valid as a header value (RFC 9110, 5.5).
func isValue(s string) bool {
	return !strings.ContainsFunc(s, isControl)
}

// isControl reports whether a header value must not contain a character.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
