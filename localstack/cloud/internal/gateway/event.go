package gateway

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// event is a request in payload format 2.0.
type event struct {
	Version               string            `json:"version"`
	RouteKey              string            `json:"routeKey"`
	RawPath               string            `json:"rawPath"`
	RawQueryString        string            `json:"rawQueryString"`
	Cookies               []string          `json:"cookies,omitempty"`
	Headers               map[string]string `json:"headers"`
	QueryStringParameters map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext        requestContext    `json:"requestContext"`
	PathParameters        map[string]string `json:"pathParameters,omitempty"`
	Body                  string            `json:"body,omitempty"`
	IsBase64Encoded       bool              `json:"isBase64Encoded"`
}

type requestContext struct {
	AccountID    string      `json:"accountId"`
	APIID        string      `json:"apiId"`
	DomainName   string      `json:"domainName"`
	DomainPrefix string      `json:"domainPrefix"`
	HTTP         httpContext `json:"http"`
	RequestID    string      `json:"requestId"`
	RouteKey     string      `json:"routeKey"`
	Stage        string      `json:"stage"`
	Time         string      `json:"time"`
	TimeEpoch    int64       `json:"timeEpoch"`
}

type httpContext struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// notPassed lists the hop-by-hop headers, which API Gateway removes, and cookies, which
// have their own field.
var notPassed = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Cookie"}

// rawPath returns the path that functions see: decoded, and truncated at an escaped
// question mark.
func rawPath(r *http.Request, slash string) string {
	path, _, _ := strings.Cut(r.URL.Path, "?")
	if slash == SlashStrip && len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// newEvent returns the event of a request as JSON.
func (g *Gateway) newEvent(r *http.Request, route *compiled, path string, variables map[string]string, body []byte, id string, now time.Time) ([]byte, error) {
	host, _, _ := strings.Cut(r.Host, ":")
	prefix, _, _ := strings.Cut(host, ".")
	e := event{
		Version: "2.0", RouteKey: route.Key, RawPath: path, RawQueryString: r.URL.RawQuery,
		Cookies: cookies(r.Header), Headers: headers(r, len(body), id),
		QueryStringParameters: parameters(r.URL.RawQuery), PathParameters: variables,
		RequestContext: requestContext{
			AccountID: g.options.AccountID, APIID: g.options.APIID, DomainName: host, DomainPrefix: prefix,
			HTTP: httpContext{
				Method: r.Method, Path: path, Protocol: r.Proto, SourceIP: sourceIP(r), UserAgent: r.UserAgent(),
			},
			RequestID: id, RouteKey: route.Key, Stage: "$default",
			Time: now.UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
		},
	}
	if len(body) > 0 && !isText(r.Header, body) {
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	} else {
		e.Body = string(body)
	}
	return json.Marshal(e)
}

func headers(r *http.Request, length int, id string) map[string]string {
	out := make(map[string]string, len(r.Header)+6)
	for name, values := range r.Header {
		if !slices.Contains(notPassed, name) {
			out[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	out["host"] = r.Host
	out["content-length"] = strconv.Itoa(length)
	if out["content-type"] == "" {
		out["content-type"] = "text/plain; charset=utf-8"
	}
	if forwarded := out["x-forwarded-for"]; forwarded != "" {
		out["x-forwarded-for"] = forwarded + ", " + sourceIP(r)
	} else {
		out["x-forwarded-for"] = sourceIP(r)
	}
	// API Gateway is reached over TLS only; the local cloud is not.
	out["x-forwarded-proto"] = "http"
	out["x-forwarded-port"] = "80"
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		out["x-forwarded-port"] = port
	}
	if out["x-amzn-trace-id"] == "" {
		out["x-amzn-trace-id"] = "Root=" + id
	}
	return out
}

func cookies(h http.Header) []string {
	var out []string
	for _, line := range h.Values("Cookie") {
		for _, cookie := range strings.Split(line, ";") {
			if cookie = strings.TrimSpace(cookie); cookie != "" {
				out = append(out, cookie)
			}
		}
	}
	return out
}

// parameters joins the values of a repeated parameter with commas. Text that cannot be
// decoded is passed unchanged.
func parameters(query string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Split(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescaped(name), unescaped(value)
		if before, twice := out[name]; twice {
			value = before + "," + value
		}
		out[name] = value
	}
	return out
}

func unescaped(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// isText reports whether the event has the body as text, not in base64. API Gateway
// treats types such as application/vnd.oci.image.manifest.v1+json as binary.
func isText(h http.Header, body []byte) bool {
	if !utf8.Valid(body) || h.Get("Content-Encoding") != "" {
		return false
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if h.Get("Content-Type") == "" {
		return true
	}
	return err == nil && (strings.HasPrefix(kind, "text/") ||
		slices.Contains([]string{"application/json", "application/javascript", "application/xml"}, kind))
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
