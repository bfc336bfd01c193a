package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

// request is an event under construction.
type request map[string]any

func newRequest(method, rawPath, query string, headers map[string]string, body []byte) request {
	return request{
		"version": "2.0", "routeKey": "$default", "rawPath": rawPath, "rawQueryString": query, "headers": headers,
		"requestContext": map[string]any{
			"stage": "$default", "requestId": "JKJaXmPLvHcESHA=", "domainName": "id.execute-api.eu-central-1.amazonaws.com",
			"http": map[string]string{"method": method, "path": rawPath, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
		},
		"body": base64.StdEncoding.EncodeToString(body), "isBase64Encoded": true,
	}
}

func (r request) context() map[string]any { return r["requestContext"].(map[string]any) }

// reply is an answer with its body decoded.
type reply struct {
	events.APIGatewayV2HTTPResponse
	body []byte
}

// refuse answers a fault as plain text.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	var f *lambdahttp.Fault
	if errors.As(err, &f) {
		http.Error(w, f.Message, f.Status)
	}
}

// invoke calls the handler with an event, as Lambda does.
func invoke(t testing.TB, h http.Handler, writeError lambdahttp.WriteError, event any) reply {
	t.Helper()
	payload, ok := event.([]byte)
	if !ok {
		var err error
		if payload, err = json.Marshal(event); err != nil {
			t.Fatal(err)
		}
	}
	out, err := lambdahttp.New(h, writeError).Invoke(t.Context(), payload)
	if err != nil {
		t.Fatalf("the invocation failed: %v", err)
	}
	return parse(t, out)
}

func parse(t testing.TB, out []byte) reply {
	t.Helper()
	var r reply
	if err := json.Unmarshal(out, &r.APIGatewayV2HTTPResponse); err != nil {
		t.Fatalf("the answer is not JSON: %v: %.200s", err, out)
	}
	r.body = []byte(r.Body)
	if r.IsBase64Encoded {
		var err error
		if r.body, err = base64.StdEncoding.DecodeString(r.Body); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// see returns the request that the handler gets.
func see(t *testing.T, event any) (got *http.Request, body string) {
	t.Helper()
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, body = r, string(b)
	})
	if a := invoke(t, h, refuse, event); got == nil {
		t.Fatalf("the handler was not called: %d %s", a.StatusCode, a.body)
	}
	return got, body
}

// TestGolden: the requests that a handler gets for the events in testdata, which have the
// form of API Gateway's.
func TestGolden(t *testing.T) {
	for name, want := range map[string]struct{ line, body string }{
		"ping":                   {"GET /v2/", ""},
		"ping-slash-stripped":    {"GET /v2", ""},
		"head-manifest":          {"HEAD /v2/team/app/manifests/latest", ""},
		"put-manifest-base64":    {"PUT /v2/team/app/manifests/1.0", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`},
		"put-manifest-text":      {"PUT /v2/team/app/manifests/1.0", `{"a":"ä \" \\"}`},
		"put-manifest-tags":      {"PUT /v2/a/manifests/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855?tag=1&tag=1.0&tag=latest", "{}"},
		"patch-chunk":            {"PATCH /v2/team/app/blobs/uploads/abc-_", "\x00\x01\xfe\xff"},
		"put-blob":               {"PUT /v2/a/blobs/uploads/abc?digest=sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ""},
		"post-slash-stripped":    {"POST /v2/a/blobs/uploads", ""},
		"delete":                 {"DELETE /v2/a/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ""},
		"decoded-question-mark":  {"GET /v2/a%3Fx/manifests/x", ""},
		"decoded-hash":           {"GET /v2/a%23x/manifests/x", ""},
		"decoded-percent":        {"GET /v2/a%2541/manifests/x", ""},
		"broken-percent":         {"GET /v2/a%25zz/manifests/x", ""},
		"unicode":                {"GET /v2/%C3%A4/tags/list", ""},
		"named-stage":            {"GET /v2/a/tags/list?n=2", ""},
		"stage-v2":               {"GET /v2/a/tags/list", ""},
		"path-only-in-context":   {"GET /v2/", ""},
		"query-only-as-a-map":    {"GET /v2/_catalog", ""},
		"odd-query":              {"GET /v2/_catalog?last=a%20b%23c%C3%A4&n=1", ""},
		"double-slash":           {"GET //v2//a/tags/list", ""},
		"custom-domain-and-more": {"GET /v2/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			r, body := see(t, event)
			if got := r.Method + " " + r.RequestURI; got != want.line || body != want.body || r.ContentLength != int64(len(body)) {
				t.Errorf("%s with %d bytes %q; want %s with %q", got, r.ContentLength, body, want.line, want.body)
			}
			if path, _, _ := strings.Cut(r.RequestURI, "?"); r.URL.EscapedPath() != path {
				t.Errorf("the path is %q in the URL", r.URL.EscapedPath())
			}
		})
	}
}

// TestAnswers: the responses to Lambda for the answers of a handler.
func TestAnswers(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 5<<20)
	for name, c := range map[string]struct {
		method string
		handle http.HandlerFunc
		status int
		body   string
		base64 bool
		header string // "Name: value"
	}{
		"nothing":           {"GET", func(http.ResponseWriter, *http.Request) {}, 200, "", false, ""},
		"99 is no status":   {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) }, 500, "the registry failed\n", true, ""},
		"100 is none yet":   {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(100); w.WriteHeader(404) }, 404, "", false, ""},
		"199 is none yet":   {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(199); w.WriteHeader(404) }, 404, "", false, ""},
		"200 is final":      {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.WriteHeader(404) }, 200, "", false, ""},
		"599":               {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) }, 599, "", false, ""},
		"600 is no status":  {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(600) }, 500, "the registry failed\n", true, ""},
		"status, body":      {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); io.WriteString(w, "x") }, 404, "x", true, ""},
		"first status":      {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); w.WriteHeader(500) }, 202, "", false, ""},
		"103 is not final":  {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(404) }, 404, "", false, ""},
		"no status 0":       {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(0) }, 500, "the registry failed\n", true, ""},
		"late header":       {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.Header().Set("Late", "x") }, 200, "", false, "Late: "},
		"header after body": {"GET", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x"); w.Header().Set("Late", "x") }, 200, "x", true, "Late: "},
		"json is text":      {"GET", write("application/json", `{"a":"ä"}`), 200, `{"a":"ä"}`, false, "Content-Length: 10"},
		"with an ETag":      {"GET", write("application/json", "{}", "ETag", `"x"`), 200, "{}", true, ""},
		"other text":        {"GET", write("application/vnd.oci.image.index.v1+json", "{}"), 200, "{}", true, ""},
		"bytes":             {"GET", write("application/json", "\xff\xfe"), 200, "\xff\xfe", true, ""},
		"no type":           {"GET", write("", "plain"), 200, "plain", true, "Content-Type: text/plain; charset=utf-8"},
		"HEAD with body":    {"HEAD", write("x/y", "abc", "Content-Length", "3"), 200, "abc", true, "Content-Length: 3"},
		"HEAD without":      {"HEAD", write("x/y", "", "Content-Length", "123456789"), 200, "", false, "Content-Length: 123456789"},
		"204":               {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); io.WriteString(w, "x") }, 204, "", false, ""},
		"304":               {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); io.WriteString(w, "x") }, 304, "", false, ""},
		"panic":             {"GET", func(http.ResponseWriter, *http.Request) { panic("secret") }, 500, "the registry failed\n", true, ""},
		"abort":             {"GET", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x"); panic(http.ErrAbortHandler) }, 500, "the registry failed\n", true, ""},
		"several values":    {"GET", write("", "", "Link", "<a>", "Link", "<b>"), 200, "", false, "Link: <a>, <b>"},
		"line breaks":       {"GET", write("", "", "X", "a\r\nb: c"), 200, "", false, "X: a  b: c"},
		"no line breaks":    {"GET", write("", "", "X", " a\t~ \x1f\x7f b\x1f"), 200, "", false, "X: a\t~    b"},
		"announced":         {"GET", write("", "abc", "Content-Length", "3"), 200, "abc", true, "Content-Length: 3"},
		"announced none":    {"GET", write("", "", "Content-Length", "0"), 200, "", false, "Content-Length: 0"},
		"of type text":      {"GET", write("text/plain", "abc"), 200, "abc", true, "Content-Type: text/plain"},
		"empty json":        {"GET", write("application/json", "", "ETag", "x"), 200, "", false, "Content-Type: application/json"},
		"bad name":          {"GET", write("", "", "a b", "c", "d\n", "e"), 200, "", false, "a b: "},
		"broke off":         {"GET", write("", "abc", "Content-Length", "4"), 500, "the answer is incomplete\n", true, ""},
		"4 MiB":             {"GET", write("x/y", string(big[:4<<20])), 200, string(big[:4<<20]), true, "Content-Length: 4194304"},
		"too long":          {"GET", write("", string(big)), 500, "the answer is larger than this registry can send\n", true, ""},
		"much too long": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				_, _ = w.Write(big)
			}
		}, 500, "the answer is larger than this registry can send\n", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			slog.SetDefault(slog.New(slog.DiscardHandler))
			a := invoke(t, c.handle, refuse, newRequest(c.method, "/", "", nil, nil))
			if a.StatusCode != c.status || string(a.body) != c.body || a.IsBase64Encoded != c.base64 {
				t.Errorf("%d %.80q base64 %v, want %d %.80q %v", a.StatusCode, a.body, a.IsBase64Encoded, c.status, c.body, c.base64)
			}
			if name, want, found := strings.Cut(c.header, ": "); found && a.Headers[name] != want {
				t.Errorf("%s is %q, want %q", name, a.Headers[name], want)
			}
		})
	}
	a := invoke(t, write("", "", "Set-Cookie", "a=1", "Set-Cookie", "b=2"), refuse, newRequest("GET", "/", "", nil, nil))
	if len(a.Cookies) != 2 || a.Headers["Set-Cookie"] != "" {
		t.Errorf("cookies %q beside headers %v", a.Cookies, a.Headers)
	}
}

// TestLargest: an answer may be as large as Lambda's limit, and no byte larger.
func TestLargest(t *testing.T) {
	const limit = 6 << 20 // of an answer, encoded
	payload, err := json.Marshal(newRequest("GET", "/v2/", "", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(n int) []byte {
		h := write("application/json", strings.Repeat("x", n), "Content-Length", strconv.Itoa(n))
		out, err := lambdahttp.New(h, func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(418) }).Invoke(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const guess = 6_000_000 // as many digits as the largest
	most := limit - (len(answer(guess)) - guess)
	if got := answer(most); len(got) != limit || parse(t, got).StatusCode != http.StatusOK {
		t.Errorf("an answer of %d bytes is %d with status %d", limit, len(got), parse(t, got).StatusCode)
	}
	if got := parse(t, answer(most+1)); got.StatusCode != 418 {
		t.Errorf("an answer of one byte more has status %d", got.StatusCode)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n, err := w.Write(make([]byte, limit)); n != limit || err != nil {
			t.Errorf("%d bytes written: %v", n, err)
		}
		if n, err := w.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("%d bytes written behind the limit: %v", n, err)
		}
	})
	invoke(t, h, func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(418) }, payload)
}

// TestRefusals: the writer of a fault gets the parts of the request that could be parsed, and
// an answer comes even if it fails.
func TestRefusals(t *testing.T) {
	event := newRequest("PUT", "/v2/", "", nil, nil)
	event["body"] = "!"
	a := invoke(t, http.NotFoundHandler(), func(w http.ResponseWriter, r *http.Request, _ error) {
		w.Header().Set("Seen", r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Request-Id"))
		w.WriteHeader(418)
	}, event)
	if got := a.Headers["Seen"]; got != "PUT /v2/ JKJaXmPLvHcESHA" || a.StatusCode != 418 {
		t.Errorf("refused with %d, having seen %q", a.StatusCode, got)
	}
	a = invoke(t, http.NotFoundHandler(), func(w http.ResponseWriter, r *http.Request, _ error) {
		w.Header().Set("Seen", r.Method+" "+r.URL.Path)
	}, []byte("{}"))
	if got := a.Headers["Seen"]; got != "GET /" {
		t.Errorf("of an empty event %q is seen", got)
	}
	a = invoke(t, http.NotFoundHandler(), func(w http.ResponseWriter, _ *http.Request, _ error) {
		_, _ = w.Write(make([]byte, 6<<20))
	}, []byte("{}"))
	if a.StatusCode != http.StatusInternalServerError || len(a.body) != 0 {
		t.Errorf("a refusal that is too long becomes %d with %d bytes", a.StatusCode, len(a.body))
	}
	for want, f := range map[string]*lambdahttp.Fault{
		"no": {Message: "no"}, "no: why": {Message: "no", Cause: errors.New("why")},
	} {
		if f.Error() != want || !errors.Is(f, f.Cause) && f.Cause != nil {
			t.Errorf("the error is %q, want %q", f.Error(), want)
		}
	}
}

// TestNoBody: answers without a body have no Content-Length.
func TestNoBody(t *testing.T) {
	for status, header := range map[int]map[string]string{
		http.StatusNoContent: {"Content-Type": "a/b"}, http.StatusNotModified: {},
	} {
		a := invoke(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(status)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("%d: a body is written: %v", status, err)
			}
		}), refuse, newRequest("GET", "/", "", nil, nil))
		if a.StatusCode != status || a.Body != "" || !maps.Equal(a.Headers, header) {
			t.Errorf("%d with %q and headers %v, want %v", a.StatusCode, a.Body, a.Headers, header)
		}
	}
}

func write(contentType, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

// TestBadEvents: malformed events do not reach the handler, and get an answer.
func TestBadEvents(t *testing.T) {
	never := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
	change := func(f func(request)) request {
		r := newRequest("GET", "/v2/", "", nil, nil)
		f(r)
		return r
	}
	for name, c := range map[string]struct {
		event  any
		status int
	}{
		"not JSON":     {[]byte("{"), 500},
		"empty":        {[]byte(""), 500},
		"null":         {[]byte("null"), 500},
		"a list":       {[]byte("[]"), 500},
		"no fields":    {[]byte("{}"), 500},
		"format 1.0":   {change(func(r request) { r["version"] = "1.0" }), 500},
		"no method":    {change(func(r request) { r.context()["http"] = map[string]string{} }), 500},
		"no token":     {change(func(r request) { r.context()["http"] = map[string]string{"method": "GE T"} }), 500},
		"wrong type":   {change(func(r request) { r["rawPath"] = 7 }), 500},
		"not base64":   {change(func(r request) { r["body"] = "!" }), 400},
		"short base64": {change(func(r request) { r["body"] = "QUJ" }), 400},
	} {
		t.Run(name, func(t *testing.T) {
			var told error
			record := func(w http.ResponseWriter, _ *http.Request, err error) {
				told = err
				w.WriteHeader(418)
			}
			if a := invoke(t, never, record, c.event); a.StatusCode != 418 {
				t.Errorf("answered %d", a.StatusCode)
			}
			var fault *lambdahttp.Fault
			if !errors.As(told, &fault) || fault.Status != c.status || fault.Message == "" {
				t.Errorf("refused with %v, want status %d", told, c.status)
			}
		})
	}
}

// TestDeadline: the handler's context ends early enough for an answer.
func TestDeadline(t *testing.T) {
	payload, err := json.Marshal(newRequest("GET", "/v2/", "", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	synctest.Test(t, func(t *testing.T) {
		deadline := time.Now().Add(10 * time.Second)
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		defer cancel()
		out, err := lambdahttp.New(h, refuse).Invoke(ctx, payload)
		if left := time.Until(deadline); left != 500*time.Millisecond {
			t.Errorf("%v are left to answer", left)
		}
		if a := parse(t, out); err != nil || a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d, %v", a.StatusCode, err)
		}
	})
}
