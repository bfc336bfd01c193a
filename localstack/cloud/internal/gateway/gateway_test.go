package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata")

// api is a gateway whose functions are one Go function.
type api struct {
	*Gateway
	events   []map[string]any
	function func(event map[string]any) (string, error)
}

func newAPI(t *testing.T, change func(*Options), routes ...Route) *api {
	t.Helper()
	a := &api{function: func(map[string]any) (string, error) { return `{"statusCode":200,"body":"ok"}`, nil }}
	opts := Options{
		APIID: "api", AccountID: "000000000000", Region: "us-east-1", Head: HeadComputed, TrailingSlash: SlashKeep,
		Log: slog.New(slog.DiscardHandler),
		Invoke: func(ctx context.Context, function string, payload []byte) ([]byte, error) {
			var e map[string]any
			if err := json.Unmarshal(payload, &e); err != nil {
				t.Error(err)
			}
			e["function"] = function
			a.events = append(a.events, e)
			out, err := a.function(e)
			if out == "wait" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []byte(out), err
		},
	}
	if change != nil {
		change(&opts)
	}
	if len(routes) == 0 {
		routes = []Route{{Key: "$default", Function: "F"}}
	}
	for i := range routes {
		routes[i].Permitted = !strings.Contains(routes[i].Key, "forbidden")
		if routes[i].Timeout == 0 {
			routes[i].Timeout = time.Minute
		}
	}
	var err error
	if a.Gateway, err = New(routes, opts); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *api) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func TestRouting(t *testing.T) {
	var routes []Route
	for _, key := range []string{
		"$default", "ANY /{proxy+}", "GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /pets/dog/{id}",
		"ANY /v2/{n1}/blobs/uploads/{proxy+}", "ANY /v2/{n1}/blobs/{digest}", "ANY /v2/{n1}/{n2}/blobs/{digest}", "POST /exact", "ANY /only/{x}",
		"GET /full/{x+}", "GET /{y}/match",
	} {
		routes = append(routes, Route{Key: key, Function: key})
	}
	checkRouting(t, routes)
	slices.Reverse(routes) // the order must not matter
	checkRouting(t, routes)
	empty := newAPI(t, nil, Route{Key: "GET /a", Function: "F"}, Route{Key: "GET /forbidden", Function: "F"})
	for path, want := range map[string]string{"/b": `404 {"message":"Not Found"}`, "/forbidden": `500 {"message":"Internal Server Error"}`} {
		r := empty.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if got := r.Status[:4] + bodyOf(r); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func checkRouting(t *testing.T, routes []Route) {
	t.Helper()
	a := newAPI(t, nil, routes...)
	for request, want := range map[string]string{
		"GET /pets/dog/1":              "GET /pets/dog/1", // the examples of API Gateway's documentation
		"GET /pets/dog/2":              "GET /pets/dog/{id}",
		"GET /pets/cat/1":              "GET /pets/{proxy+}",
		"POST /test/5":                 "ANY /{proxy+}",
		"PUT /pets/dog/1":              "ANY /pets/dog/{id}",
		"GET /pets":                    "ANY /{proxy+}",
		"GET /pets/":                   "GET /pets/{proxy+}",
		"GET /v2/a/blobs/x":            "ANY /v2/{n1}/blobs/{digest}",
		"POST /v2/a/blobs/uploads/":    "ANY /v2/{n1}/blobs/uploads/{proxy+}",
		"PUT /v2/a/blobs/uploads/id":   "ANY /v2/{n1}/blobs/uploads/{proxy+}",
		"POST /v2/a/blobs/uploads":     "ANY /v2/{n1}/blobs/{digest}",
		"GET /v2/a/blobs/blobs/x":      "ANY /v2/{n1}/{n2}/blobs/{digest}",
		"GET /v2/a/blobs/uploads/x":    "ANY /v2/{n1}/blobs/uploads/{proxy+}",
		"GET /v2/a//blobs/x":           "ANY /{proxy+}", // a variable is not empty
		"GET /v2/a%2Fb/blobs/x":        "ANY /v2/{n1}/{n2}/blobs/{digest}",
		"GET /v2/a/blobs/sha256%3Aab":  "ANY /v2/{n1}/blobs/{digest}",
		"GET /exact":                   "ANY /{proxy+}",
		"POST /exact":                  "POST /exact",
		"GET /only/":                   "ANY /{proxy+}",
		"GET /full/match":              "GET /{y}/match",
		"GET /full/other":              "GET /full/{x+}",
		"GET /":                        "ANY /{proxy+}",
		"DELETE /v2/a/blobs/x/":        "ANY /{proxy+}",
		"GET /v2/a/blobs/x%3Fy=1/more": "ANY /v2/{n1}/blobs/{digest}", // truncated at the decoded question mark
	} {
		method, path, _ := strings.Cut(request, " ")
		a.do(httptest.NewRequestWithContext(t.Context(), method, path, nil))
		got := a.events[len(a.events)-1]
		if got["function"] != want || got["routeKey"] != want {
			t.Errorf("%s: %v, want %s", request, got["function"], want)
		}
	}
}

// TestEvent compares whole events with testdata/*.json. The values that change from
// request to request are replaced.
func TestEvent(t *testing.T) {
	for name, build := range map[string]func() *http.Request{
		"get": func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/a%20b/blobs/sha256%3Aab?n=1&last=x%2Fy&n=2&flag", nil)
			r.Header = http.Header{
				"Accept": {"a/b", "c/d"}, "Cookie": {"one=1; two=2"}, "User-Agent": {"test"}, "Range": {"bytes=0-1,5-6"},
				"Connection": {"keep-alive"}, "Expect": {"100-continue"}, "X-Forwarded-For": {"10.0.0.1"},
			}
			return r
		},
		"manifest": func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/a/blobs/x", strings.NewReader(`{"a":1}`))
			r.Header = http.Header{"Content-Type": {"application/vnd.oci.image.manifest.v1+json"}}
			return r
		},
		"text": func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/a/blobs/x", strings.NewReader("größe"))
			r.ContentLength = -1 // chunked
			return r
		},
	} {
		a := newAPI(t, nil, Route{Key: "ANY /v2/{name}/blobs/{digest}", Function: "F"})
		r := build()
		r.Host, r.RemoteAddr = "registry.example.com:5000", "127.0.0.2:4711"
		a.do(r)
		e := a.events[0]
		delete(e, "function")
		context := e["requestContext"].(map[string]any)
		for _, field := range []string{"requestId", "time", "timeEpoch"} {
			if context[field] == nil || context[field] == "" {
				t.Errorf("%s: no %s", name, field)
			}
			context[field] = "*"
		}
		e["headers"].(map[string]any)["x-amzn-trace-id"] = "*"
		got, _ := json.MarshalIndent(e, "", "  ")
		file := "testdata/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestBase64OfRequests(t *testing.T) {
	for kind, want := range map[string]bool{
		"": false, "text/plain": false, "application/json": false, "application/json; charset=utf-8": false, "application/xml": false,
		"application/octet-stream": true, "application/vnd.oci.image.index.v1+json": true, "application/x-www-form-urlencoded": true, "broken;;": true,
	} {
		a := newAPI(t, nil)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader("body"))
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		a.do(r)
		text := "body"
		if want {
			text = base64.StdEncoding.EncodeToString([]byte("body"))
		}
		if e := a.events[0]; e["isBase64Encoded"] != want || e["body"] != text {
			t.Errorf("%q: %v, %v", kind, e["isBase64Encoded"], e["body"])
		}
	}
	a := newAPI(t, nil)
	a.do(httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", bytes.NewReader([]byte{0xff})))
	if a.events[0]["isBase64Encoded"] != true {
		t.Error("what is not UTF-8 must be base64")
	}
}

func TestResponses(t *testing.T) {
	for name, c := range map[string]struct {
		out     string
		status  int
		body    string
		headers map[string]string
	}{
		"plain":           {`{"statusCode":201,"headers":{"location":"/x","link":"<a>,<b>"},"body":"b"}`, 201, "b", map[string]string{"Location": "/x", "Link": "<a>,<b>", "Content-Type": "text/plain; charset=utf-8", "Content-Length": "1"}},
		"base64":          {`{"statusCode":200,"headers":{"Content-Type":"a/b"},"body":"/w==","isBase64Encoded":true}`, 200, "\xff", map[string]string{"Content-Type": "a/b", "Content-Length": "1"}},
		"bad base64":      {`{"statusCode":200,"body":"?","isBase64Encoded":true}`, 500, `{"message":"Internal Server Error"}`, nil},
		"multi values":    {`{"statusCode":200,"multiValueHeaders":{"X-A":["1"]}}`, 200, "", map[string]string{"X-A": ""}},
		"cookies":         {`{"statusCode":200,"cookies":["a=1"]}`, 200, "", map[string]string{"Set-Cookie": "a=1"}},
		"no status":       {`{"hello":"world"}`, 200, `{"hello":"world"}`, map[string]string{"Content-Type": "application/json"}},
		"not JSON":        {`hello`, 200, `hello`, map[string]string{"Content-Type": "application/json"}},
		"text":            {`"hello"`, 200, `hello`, nil},
		"status as text":  {`{"statusCode":"204"}`, 204, "", map[string]string{"Content-Length": ""}},
		"no such status":  {`{"statusCode":42}`, 500, `{"message":"Internal Server Error"}`, nil},
		"body of no text": {`{"statusCode":200,"body":{}}`, 500, `{"message":"Internal Server Error"}`, nil},
		"header of none":  {`{"statusCode":200,"headers":{"a":[]}}`, 500, `{"message":"Internal Server Error"}`, nil},
		"own headers":     {`{"statusCode":200,"headers":{"connection":"close","transfer-encoding":"x","content-length":"77"},"body":"b"}`, 200, "b", map[string]string{"Connection": "", "Transfer-Encoding": "", "Content-Length": "1"}},
	} {
		a := newAPI(t, nil)
		a.function = func(map[string]any) (string, error) { return c.out, nil }
		r := a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if got := bodyOf(r); r.StatusCode != c.status || got != c.body {
			t.Errorf("%s: %d %q, want %d %q", name, r.StatusCode, got, c.status, c.body)
		}
		for header, want := range c.headers {
			if got := strings.Join(r.Header.Values(header), "|"); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		if r.Header.Get("Apigw-Requestid") == "" {
			t.Errorf("%s: no request id", name)
		}
	}
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		out     string
		err     error
		timeout time.Duration
		want    string
	}{
		"function":  {"", errors.New("it broke"), 0, `500 {"message":"Internal Server Error"}`},
		"throttled": {"", ErrThrottled, 0, `503 {"message":"Service Unavailable"}`},
		"too large": {"", ErrTooLarge, 0, `413 {"message":"Request Entity Too Large"}`},
		"timeout":   {"wait", nil, 50 * time.Millisecond, `503 {"message":"Service Unavailable"}`},
	} {
		a := newAPI(t, nil, Route{Key: "$default", Function: "F", Timeout: c.timeout})
		a.function = func(map[string]any) (string, error) { return c.out, c.err }
		r := a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if got := r.Status[:4] + bodyOf(r); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRenamedChallenge(t *testing.T) {
	const challenge = `Basic realm="pierless"`
	mapping := map[string]map[string]string{"401": {"overwrite:header.www-authenticate": "$response.header.x-registry-challenge"}}
	for name, c := range map[string]struct {
		rename         bool
		mapping        map[string]map[string]string
		want, remapped string
	}{
		"passed":            {false, nil, challenge, ""},
		"renamed":           {true, nil, "", challenge},
		"mapped back":       {true, mapping, challenge, challenge},
		"mapped for naught": {false, mapping, challenge, ""},
	} {
		a := newAPI(t, func(o *Options) { o.RenameChallenge = c.rename }, Route{Key: "$default", Function: "F", Mapping: c.mapping})
		a.function = func(map[string]any) (string, error) {
			return `{"statusCode":401,"headers":{"www-authenticate":"Basic realm=\"pierless\"","x-registry-challenge":"Basic realm=\"pierless\""}}`, nil
		}
		r := a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if r.Header.Get("Www-Authenticate") != c.want || r.Header.Get("X-Amzn-Remapped-Www-Authenticate") != c.remapped {
			t.Errorf("%s: %v", name, r.Header)
		}
	}
}

func TestHead(t *testing.T) {
	for mode, outs := range map[string]map[string]string{
		HeadComputed: {`{"statusCode":200,"headers":{"content-length":"1234"}}`: "0", `{"statusCode":200,"body":"body"}`: "4"},
		HeadHandler:  {`{"statusCode":200,"headers":{"content-length":"1234"}}`: "1234", `{"statusCode":200,"body":"body"}`: "4"},
	} {
		for out, want := range outs {
			a := newAPI(t, func(o *Options) { o.Head = mode })
			a.function = func(map[string]any) (string, error) { return out, nil }
			server := httptest.NewServer(a)
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL, nil)
			r, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Header.Get("Content-Length"); got != want || bodyOf(r) != "" {
				t.Errorf("%s, %s: Content-Length %q, want %s", mode, out, got, want)
			}
			server.Close()
		}
	}
}

func TestTrailingSlash(t *testing.T) {
	for mode, want := range map[string]string{SlashKeep: "/v2/", SlashStrip: "/v2"} {
		a := newAPI(t, func(o *Options) { o.TrailingSlash = mode }, Route{Key: "$default", Function: "F"}, Route{Key: "GET /v2", Function: "V2"})
		a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil))
		a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if a.events[0]["rawPath"] != want || (a.events[0]["function"] == "V2") != (mode == SlashStrip) || a.events[1]["rawPath"] != "/" {
			t.Errorf("%s: %v", mode, a.events)
		}
	}
}

func TestMappings(t *testing.T) {
	parameters := map[string]map[string]string{"200": {
		"overwrite:header.a": "$response.header.b", "append:header.c": "text", "remove:header.d": "''", "overwrite:header.e": "$response.header.none",
	}}
	a := newAPI(t, nil, Route{Key: "$default", Function: "F", Mapping: parameters})
	a.function = func(map[string]any) (string, error) {
		return `{"statusCode":200,"headers":{"a":"1","b":"2","c":"3","d":"4","e":"5"}}`, nil
	}
	r := a.do(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	for header, want := range map[string]string{"A": "2", "B": "2", "C": "3,text", "D": "", "E": "5"} {
		if got := r.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	for _, bad := range []map[string]map[string]string{
		{"401": {"overwrite:header.connection": "x"}},
		{"401": {"overwrite:header.x-amzn-remapped-www-authenticate": "x"}},
		{"401": {"overwrite:statuscode": "200"}},
		{"401": {"overwrite:header.a": "$context.requestId"}},
		{"4xx": {"overwrite:header.a": "x"}},
	} {
		if _, err := newRouter([]Route{{Key: "$default", Mapping: bad}}); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}
