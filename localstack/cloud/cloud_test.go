package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The test binary is also the bootstrap of every function: with a runtime API in its
// environment, it serves invocations.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		lambda.Start(function)
	}
	os.Exit(m.Run())
}

// function performs the action that the query selects.
func function(ctx context.Context, e events.APIGatewayV2HTTPRequest) (any, error) {
	if e.Version == "" { // no HTTP event: invoked by hand
		if e.RouteKey == "fail" {
			return nil, errors.New("as it was told")
		}
		return map[string]string{"name": os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), "route": e.RouteKey}, nil
	}
	ok := func(body string) events.APIGatewayV2HTTPResponse {
		return events.APIGatewayV2HTTPResponse{StatusCode: 200, Body: os.Getenv("AWS_LAMBDA_FUNCTION_NAME") + " " + body}
	}
	switch key := e.QueryStringParameters["key"]; e.QueryStringParameters["do"] {
	case "get", "presign":
		cfg, err := awsconfig.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, err
		}
		client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
		input := &s3.GetObjectInput{Bucket: aws.String(os.Getenv("PIERLESS_BUCKET")), Key: &key}
		if e.QueryStringParameters["do"] == "presign" {
			signed, err := s3.NewPresignClient(client).PresignGetObject(ctx, input)
			if err != nil {
				return nil, err
			}
			return events.APIGatewayV2HTTPResponse{StatusCode: 307, Headers: map[string]string{"Location": signed.URL}}, nil
		}
		out, err := client.GetObject(ctx, input)
		if err != nil {
			var status interface{ HTTPStatusCode() int }
			if errors.As(err, &status) {
				return events.APIGatewayV2HTTPResponse{StatusCode: status.HTTPStatusCode(), Body: err.Error()}, nil
			}
			return nil, err
		}
		content, err := io.ReadAll(out.Body)
		return ok(string(content)), err
	case "sleep":
		time.Sleep(20 * time.Second) // less than the default integration timeout
	case "exit":
		os.Exit(1)
	case "challenge":
		const value = `Basic realm="pierless"`
		return events.APIGatewayV2HTTPResponse{
			StatusCode: 401, Headers: map[string]string{"WWW-Authenticate": value, "X-Registry-Challenge": value},
		}, nil
	}
	return ok(e.RawPath), nil
}

type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// testConfig uses this binary for the functions and a server with one object for S3.
func testConfig(t testing.TB) settings {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	functions := t.TempDir()
	for _, family := range []string{"base", "blobs", "sweep"} {
		if err := os.Mkdir(filepath.Join(functions, family), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(self, filepath.Join(functions, family, "bootstrap")); err != nil {
			t.Fatal(err)
		}
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bytes/blobs/there" {
			_, _ = io.WriteString(w, "content")
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(upstream.Close)
	return settings{
		template: "testdata/template.yaml", functions: functions, listen: "127.0.0.1:0", awsListen: "127.0.0.1:0",
		upstream: upstream.URL, bucket: "bytes", table: "names", region: "us-east-1", account: "000000000000",
		concurrency: 5, idle: time.Minute, head: "computed", slash: "keep",
		parameters: map[string]string{"AdminTokenSha256": strings.Repeat("0", 64), "Timeout": "300"},
	}
}

func startCloud(t testing.TB, c settings) (*cloud, *output) {
	t.Helper()
	out := &output{}
	cl, err := start(t.Context(), c, out, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.stop)
	return cl, out
}

func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestCloud(t *testing.T) {
	c := testConfig(t)
	c.renameChallenge = true
	cl, out := startCloud(t, c)
	const blobs = "/v2/a/blobs/x"
	for path, want := range map[string]string{
		"/v2/":                                "200 BaseFunction /v2/",
		blobs:                                 "200 BlobsFunction " + blobs,
		"/forbidden":                          `500 {"message":"Internal Server Error"}`,
		blobs + "?do=exit":                    `500 {"message":"Internal Server Error"}`,
		blobs + "?do=get&key=blobs/there":     "200 BlobsFunction content",
		blobs + "?do=presign&key=blobs/there": "200 content",
		"/?do=challenge":                      "401 ",
	} {
		r, body := get(t, "http://"+cl.address+path)
		if got := r.Status[:4] + body; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if r.StatusCode == http.StatusUnauthorized && r.Header.Get("WWW-Authenticate") != `Basic realm="pierless"` {
			t.Errorf("the challenge did not survive: %v", r.Header)
		}
	}
	for key, action := range map[string]string{"/v2/?do=get&key=blobs/there": "BaseFunction", blobs + "?do=get&key=tails/x": "BlobsFunction"} {
		if r, body := get(t, "http://"+cl.address+key); r.StatusCode != http.StatusForbidden || !strings.Contains(body, "is not authorized to perform: s3:GetObject") {
			t.Errorf("%s: %s %s", key, r.Status, body)
		}
		if want := "policy of " + action + " does not allow s3:GetObject on arn:aws:s3:::bytes/"; !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if r, _ := get(t, "http://"+cl.address+blobs+"?do=get&key=blobs/missing"); r.StatusCode != http.StatusForbidden {
		t.Errorf("who may not list sees that an object is missing: %s", r.Status)
	}
	_, body := get(t, "http://"+cl.address+"/_cloud/stats")
	var s stats
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	f := s.Functions["BlobsFunction"]
	if s.Gateway.Requests != 10 || f.Lambda.ColdStarts < 2 || f.Lambda.BytesOut == 0 || f.AWS.Calls["s3:GetObject"] != 2 ||
		f.AWS.Presigned != 1 || f.AWS.Denied != 1 || s.Functions["BaseFunction"].AWS.Denied != 1 {
		t.Errorf("stats: %s", body)
	}
}

// TestTimeout: the integration's timeout limits the wait.
func TestTimeout(t *testing.T) {
	c := testConfig(t)
	c.template = edited(t, "timeoutInMillis: 30000", "timeoutInMillis: 50")
	cl, _ := startCloud(t, c)
	if r, body := get(t, "http://"+cl.address+"/v2/a/blobs/x?do=sleep"); r.StatusCode != http.StatusServiceUnavailable || body != `{"message":"Service Unavailable"}` {
		t.Errorf("%s: %s", r.Status, body)
	}
}

// edited returns the path of a copy of the template with one replacement.
func edited(t *testing.T, from, to string) (path string) {
	t.Helper()
	fixture, err := os.ReadFile("testdata/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(fixture), from) {
		t.Fatalf("the template does not contain %q", from)
	}
	path = filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(string(fixture), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInvokeByHand: a function without routes can be invoked with any event.
func TestInvokeByHand(t *testing.T) {
	cl, _ := startCloud(t, testConfig(t))
	post := func(method, id, event string) string {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+cl.address+"/_cloud/invoke/"+id, strings.NewReader(event))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status[:4] + strings.TrimSpace(string(body))
	}
	for _, c := range []struct{ method, id, event, want string }{
		{"POST", "SweepFunction", "", `200 {"name":"SweepFunction","route":""}`},
		{"POST", "SweepFunction", `{"routeKey":"x"}`, `200 {"name":"SweepFunction","route":"x"}`},
		{"POST", "SweepFunction", `{"routeKey":"fail"}`, "502 "},
		{"POST", "SweepFunction", strings.Repeat("x", 6291457), "400 "},
		{"POST", "OtherFunction", "", "404 "},
		{"GET", "SweepFunction", "", "405 "},
	} {
		if got := post(c.method, c.id, c.event); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s %.20s: %s, want %s", c.method, c.id, c.event, got, c.want)
		}
	}
	if s := cl.functions["SweepFunction"].Stats(); s.Invocations != 3 || s.Errors != 1 {
		t.Errorf("%+v", s)
	}
}

func TestStartFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*settings)
		edit   [2]string
		want   string
	}{
		"binary":     {func(c *settings) { c.functions = t.TempDir() }, [2]string{}, "BaseFunction has no binary"},
		"parameter":  {func(c *settings) { c.parameters = nil }, [2]string{}, "AdminTokenSha256"},
		"endpoint":   {func(c *settings) { c.upstream = "x" }, [2]string{}, "not a URL"},
		"dynamodb":   {func(c *settings) { c.dynamodb = "x" }, [2]string{}, "not a URL"},
		"head":       {func(c *settings) { c.head = "x" }, [2]string{}, "head"},
		"operator":   {nil, [2]string{"ForAllValues:StringLike", "ArnLike"}, "the policy of BlobsFunction: statement 3: the operator ArnLike"},
		"key":        {nil, [2]string{"dynamodb:LeadingKeys", "dynamodb:Attributes"}, "dynamodb:Attributes"},
		"wrong file": {func(c *settings) { c.template = "testdata/none.yaml" }, [2]string{}, "none.yaml"},
	} {
		cfg := testConfig(t)
		if c.edit[0] != "" {
			cfg.template = edited(t, c.edit[0], c.edit[1])
		}
		if c.change != nil {
			c.change(&cfg)
		}
		if cl, err := start(t.Context(), cfg, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			if cl != nil {
				cl.stop()
			}
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// BenchmarkRequest measures the overhead of gateway and runner.
func BenchmarkRequest(b *testing.B) {
	cl, _ := startCloud(b, testConfig(b))
	get(b, "http://"+cl.address+"/v2/")
	for b.Loop() {
		get(b, "http://"+cl.address+"/v2/")
	}
}

// TestPagesAreKeptOut: web pages cannot use the paths that need no credentials.
func TestPagesAreKeptOut(t *testing.T) {
	cl, _ := startCloud(t, testConfig(t))
	for _, c := range []struct {
		method, path, host, origin string
		status                     int
	}{
		{"GET", "/_cloud/stats", cl.address, "", 200},
		{"GET", "/_cloud/stats", "evil.example", "", 403},
		{"GET", "/_cloud/stats", cl.address, "http://evil.example", 403},
		{"POST", "/_cloud/invoke/SweepFunction", cl.address, "", 200},
		{"POST", "/_cloud/invoke/SweepFunction", "evil.example", "", 403},
		{"POST", "/_cloud/invoke/SweepFunction", cl.address, "http://evil.example", 403},
		{"GET", "/_cloud/other", cl.address, "", 404},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+cl.address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = c.host
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != c.status {
			t.Errorf("%s %s of %s from %q: %s, want %d", c.method, c.path, c.host, c.origin, r.Status, c.status)
		}
	}
	if s := cl.functions["SweepFunction"].Stats(); s.Invocations != 1 {
		t.Errorf("%+v", s)
	}
}
