package start_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// cloud runs all functions over one store. Tests call them with events.
type cloud struct {
	t         *testing.T
	token     string
	functions map[route.Family]*lambdahttp.Function
}

func newCloud(t *testing.T, meta registry.Metadata, blobs registry.Blobs) cloud {
	t.Helper()
	token, sum := access.NewToken()
	c := cloud{t, token, map[route.Family]*lambdahttp.Function{}}
	for family, constructor := range server.Families() {
		f, err := start.New(env.Config{AdminTokenSHA256: sum, ServeBlobs: true}, quiet(), meta, blobs, constructor)
		if err != nil {
			t.Fatal(err)
		}
		c.functions[family] = f
	}
	return c
}

// call sends a request to a function as API Gateway does: with a decoded path.
func (c cloud) call(ctx context.Context, family route.Family, r *http.Request) *http.Response {
	c.t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery, Headers: map[string]string{},
		Body: base64.StdEncoding.EncodeToString(body), IsBase64Encoded: true,
	}
	event.RequestContext.HTTP.Method, event.RequestContext.Stage = r.Method, "$default"
	for name, values := range r.Header {
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	payload, err := json.Marshal(event)
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := c.functions[family].Invoke(ctx, payload)
	if err != nil {
		c.t.Fatal(err)
	}
	var a events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(out, &a); err != nil {
		c.t.Fatal(err)
	}
	content := []byte(a.Body)
	if a.IsBase64Encoded {
		if content, err = base64.StdEncoding.DecodeString(a.Body); err != nil {
			c.t.Fatal(err)
		}
	}
	h := http.Header{}
	for name, value := range a.Headers {
		h.Set(name, value)
	}
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
		c.t.Errorf("%s %s: a browser may run scripts in this answer: %v", r.Method, r.URL, h)
	}
	return &http.Response{StatusCode: a.StatusCode, Header: h, Body: io.NopCloser(strings.NewReader(string(content)))}
}

func (c cloud) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL = &url.URL{Path: path}
	r.SetBasicAuth("admin", c.token)
	return r
}

// TestWrongFunction: a function refuses the paths of other functions.
func TestWrongFunction(t *testing.T) {
	meta, blobs := storetest.Open(t)
	c := newCloud(t, meta, blobs)
	d := string(oci.SHA256.FromBytes(nil))
	deep := strings.Repeat("x/", 20) + "x"
	for path, owner := range map[string]route.Family{
		"/v2/": route.FamilyBase, "/v2": route.FamilyBase, "/v2/_catalog": route.FamilyBase, "/v2/_pierless/token": route.FamilyBase,
		"/v2/a/tags/list": route.FamilyTags, "/v2/" + deep + "/tags/list": route.FamilyTags,
		"/v2/a/blobs/" + d: route.FamilyBlobs, "/v2/a/blobs/uploads/blobs/" + d: route.FamilyBlobs,
		"/v2/a/referrers/" + d: route.FamilyReferrers, "/v2/a/manifests/latest": route.FamilyManifests,
		"/v2/blobs/uploads/manifests/latest": route.FamilyManifests, "/v2/a/blobs/uploads/x/tags/list": route.FamilyTags,
		"/v2/" + deep + "/manifests/latest": route.FamilyManifests, "/v2/a/blobs/uploads/x": route.FamilyUploads,
		"/v2/manifests/tags/blobs/uploads/x": route.FamilyUploads, "/v2/a/manifests/b/blobs/" + d: route.FamilyBlobs,
		"/v2/a/_pierless/uploads": route.FamilyDirect, "/v2/a/_pierless/uploads/x": route.FamilyDirect,
		"/v2/" + deep + "/_pierless/parts/x": route.FamilyDirect, "/v2/blobs/uploads/_pierless/verifications/x": route.FamilyVerifications,
	} {
		for family := range server.Families() {
			resp := c.call(t.Context(), family, c.request("GET", path, ""))
			told := errorOf(resp)
			elsewhere := told.Code == oci.Unsupported && strings.Contains(told.Message, "wrong function")
			if family == owner && (elsewhere || told.Code == oci.Unauthorized || resp.StatusCode >= 500) {
				t.Errorf("%s does not serve %s: %d %v", family, path, resp.StatusCode, told)
			}
			if family != owner && (resp.StatusCode != http.StatusMethodNotAllowed || !elsewhere) {
				t.Errorf("%s answers %d %v to %s, which is %s's", family, resp.StatusCode, told, path, owner)
			}
		}
	}
}

// TestNoRoute: every function refuses paths outside the grammar with an error in the spec's
// form.
func TestNoRoute(t *testing.T) {
	meta, blobs := storetest.Open(t)
	c := newCloud(t, meta, blobs)
	for path, want := range map[string]struct {
		status int
		code   oci.Code
	}{
		"/v2/a?x/manifests/x":    {400, oci.NameInvalid},
		"/v2/a#x/manifests/x":    {400, oci.NameInvalid},
		"/v2/a%41/manifests/x":   {400, oci.NameInvalid},
		"/v2/a%zz/manifests/x":   {400, oci.NameInvalid},
		"/v2/ä/tags/list":        {400, oci.NameInvalid},
		"/v2/a\x00/tags/list":    {400, oci.NameInvalid},
		"/v2/a\n/tags/list":      {400, oci.NameInvalid},
		"/v2//a/tags/list":       {400, oci.NameInvalid},
		"/v2/../a/tags/list":     {400, oci.NameInvalid},
		"/v2/a/manifests/+":      {400, oci.TagInvalid},
		"/v2/a/blobs/sha256:x":   {400, oci.DigestInvalid},
		"/v2/a/tags/list/":       {404, oci.Unsupported},
		"/v2/a/b":                {404, oci.Unsupported},
		"//v2/":                  {404, oci.Unsupported},
		"/":                      {404, oci.Unsupported},
		"/v2/a/blobs/uploads/%2": {400, oci.NameInvalid},
	} {
		for family := range server.Families() {
			resp := c.call(t.Context(), family, c.request("GET", path, ""))
			if code := errorCode(resp); resp.StatusCode != want.status || code != want.code {
				t.Errorf("%s answers %d %s to %q, want %d %s", family, resp.StatusCode, code, path, want.status, want.code)
			}
		}
	}
}

// TestSlashStripped: a gateway may remove the slash at the end of a path.
func TestSlashStripped(t *testing.T) {
	meta, blobs := storetest.Open(t)
	c := newCloud(t, meta, blobs)
	for _, path := range []string{"/v2/a/blobs/uploads/", "/v2/a/blobs/uploads"} {
		if resp := c.call(t.Context(), route.FamilyUploads, c.request("POST", path, "")); resp.StatusCode != http.StatusAccepted {
			t.Errorf("POST %s: %d", path, resp.StatusCode)
		}
	}
}

// TestBadBody: an error of the adapter has the spec's form too.
func TestBadBody(t *testing.T) {
	meta, blobs := storetest.Open(t)
	c := newCloud(t, meta, blobs)
	for payload, want := range map[string]oci.Code{
		`{"version":"2.0","rawPath":"/v2/","requestContext":{"http":{"method":"PUT"}},"body":"!","isBase64Encoded":true}`: oci.Unsupported,
		`{}`: oci.Unknown,
	} {
		out, err := c.functions[route.FamilyBase].Invoke(t.Context(), []byte(payload))
		if err != nil || !strings.Contains(string(out), string(want)) || !strings.Contains(string(out), "X-Request-Id") {
			t.Errorf("%s, %v", out, err)
		}
	}
}

func errorCode(resp *http.Response) oci.Code { return errorOf(resp).Code }

// errorOf is the first error of an answer, or an empty one.
func errorOf(resp *http.Response) *oci.Error {
	b, err := io.ReadAll(resp.Body)
	var errs oci.Errors
	if err != nil || json.Unmarshal(b, &errs) != nil || len(errs) == 0 {
		return &oci.Error{}
	}
	return errs[0]
}

// TestSilentStore: if S3 and DynamoDB do not respond, the client still gets an answer.
func TestSilentStore(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	vars := map[string]string{
		"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "http://" + listener.Addr().String(),
	}
	t.Setenv("AWS_ENDPOINT_URL", vars["AWS_ENDPOINT_URL"]) // the SDK looks whether it is set
	clients, err := awsclient.ForLambda(func(name string) string { return vars[name] }, awsclient.Settings{Bucket: "b", Table: "t"})
	if err != nil {
		t.Fatal(err)
	}
	c := newCloud(t, ddbmeta.New(clients.Dynamo, "t"), s3blobs.New(clients.S3, "b", s3blobs.Options{}))
	for family, r := range map[route.Family]*http.Request{
		route.FamilyManifests: c.request("GET", "/v2/a/manifests/latest", ""),
		route.FamilyUploads:   c.request("POST", "/v2/a/blobs/uploads/", ""),
		route.FamilyTags:      c.request("GET", "/v2/a/tags/list", ""),
	} {
		// pkg/server/lambdahttp keeps a part of it for the answer.
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		resp := c.call(ctx, family, r)
		if code := errorCode(resp); resp.StatusCode != http.StatusServiceUnavailable || code != oci.Unavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", family, resp.StatusCode, code)
		}
		cancel()
	}
}

// TestDifferential compares the answers of functions and of a server to the same requests.
func TestDifferential(t *testing.T) {
	meta, blobs := storetest.Open(t)
	c := newCloud(t, meta, blobs)
	otherNames, otherBlobs := storetest.Open(t)
	site := httptest.NewServer(server.All(registry.New(otherNames, otherBlobs, registry.Options{}), server.Options{Log: quiet(), ServeBlobs: true}))
	defer site.Close()
	locations := [2]string{}
	for _, step := range script() {
		var answers [2]map[string]string
		for i := range answers {
			path := strings.Replace(step.path, "LOCATION", locations[i], 1)
			r, err := http.NewRequestWithContext(t.Context(), step.method, site.URL+path, strings.NewReader(step.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(step.header); i += 2 {
				r.Header.Add(step.header[i], step.header[i+1])
			}
			r.SetBasicAuth("admin", c.token)
			var resp *http.Response
			if i == 0 {
				resp, err = http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
			} else {
				parsed, err := route.Parse(r.URL.Path)
				if err != nil {
					parsed.Kind = route.Base
				}
				resp = c.call(t.Context(), parsed.Kind.Family(), r)
			}
			if step.method == "POST" || step.method == "PATCH" {
				locations[i] = resp.Header.Get("Location")
			}
			answers[i] = flat(t, step.method, resp, locations[i])
		}
		if !maps.Equal(answers[0], answers[1]) {
			t.Errorf("%s %s\nserver:   %v\nfunction: %v", step.method, step.path, answers[0], answers[1])
		}
	}
}

// flat returns an answer without random and time-dependent parts.
func flat(t *testing.T, method string, resp *http.Response, location string) map[string]string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"status": http.StatusText(resp.StatusCode)}
	if method != http.MethodHead { // the gateway strips it
		all["body"] = string(body)
	}
	for name, values := range resp.Header {
		switch name {
		case "Date", "X-Request-Id":
		case "Docker-Upload-Uuid":
			all[name] = "an id"
		default:
			all[name] = strings.Join(values, ", ")
		}
	}
	if strings.Contains(location, "/uploads/") && all["Location"] == location {
		all["Location"] = "a session"
	}
	return all
}

type step struct {
	method, path, body string
	header             []string
}

func script() []step {
	layer, config := strings.Repeat("layer \xff", 1000), "{}"
	layerDigest, configDigest := string(oci.SHA256.FromBytes([]byte(layer))), string(oci.SHA256.FromBytes([]byte(config)))
	manifest := `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageManifest + `","config":{"mediaType":"a/b","digest":"` + configDigest +
		`","size":2},"layers":[{"mediaType":"a/ä","digest":"` + layerDigest + `","size":7000}]}`
	digest := string(oci.SHA256.FromBytes([]byte(manifest)))
	image := []string{"Content-Type", oci.MediaTypeImageManifest}
	return []step{
		{method: "GET", path: "/v2/"},
		{method: "HEAD", path: "/v2/"},
		{method: "GET", path: "/v2"},
		{method: "PUT", path: "/v2/", body: "x"},
		{method: "get", path: "/v2/"},
		{method: "Delete", path: "/v2/a/manifests/none"},
		{method: "x-!", path: "/v2/a/tags/list"},
		{method: "GET", path: "/v2/_catalog?n=x"},
		{method: "GET", path: "/v2/UPPER/tags/list"},
		{method: "GET", path: "/v2/a%00b/tags/list"},
		{method: "GET", path: "/v2/a%3Fb/tags/list"},
		{method: "GET", path: "/v2/a%2523b/tags/list"},
		{method: "GET", path: "/v2/nothing"},
		{method: "POST", path: "/v2/a/blobs/uploads/?digest=" + configDigest, body: config},
		{method: "POST", path: "/v2/a/blobs/uploads/?digest=" + configDigest, body: "other"},
		{method: "POST", path: "/v2/a/blobs/uploads/"},
		{method: "PATCH", path: "LOCATION", body: layer[:500], header: []string{"Content-Range", "0-499"}},
		{method: "PATCH", path: "LOCATION", body: layer[900:], header: []string{"Content-Range", "900-6999"}},
		{method: "GET", path: "LOCATION"},
		{method: "PATCH", path: "LOCATION", body: layer[500:]},
		{method: "PUT", path: "LOCATION?digest=" + configDigest},
		{method: "PUT", path: "LOCATION?digest=" + strings.ReplaceAll(layerDigest, ":", "%3A")},
		{method: "POST", path: "/v2/b/blobs/uploads"},
		{method: "DELETE", path: "LOCATION"},
		{method: "GET", path: "LOCATION"},
		{method: "HEAD", path: "/v2/a/blobs/" + layerDigest},
		{method: "GET", path: "/v2/a/blobs/" + layerDigest},
		{method: "GET", path: "/v2/a/blobs/" + strings.Replace(layerDigest, ":", "%3A", 1)},
		{method: "GET", path: "/v2/a/blobs/" + layerDigest, header: []string{"Range", "bytes=1-10"}},
		{method: "GET", path: "/v2/a/blobs/" + layerDigest, header: []string{"Range", "bytes=0-1,5-6"}},
		{method: "GET", path: "/v2/a/blobs/" + layerDigest, header: []string{"Range", "bytes=9999-"}},
		{method: "GET", path: "/v2/a/blobs/" + layerDigest, header: []string{"If-None-Match", `"x", "` + layerDigest + `"`}},
		{method: "POST", path: "/v2/b/_pierless/uploads", body: `{"digest":"` + layerDigest + `","size":7000}`},
		{method: "PUT", path: "/v2/b/_pierless/uploads/x"},
		{method: "GET", path: "/v2/b/_pierless/parts/x"},
		{method: "POST", path: "/v2/b/_pierless/verifications/x"},
		{method: "GET", path: "/v2/b/blobs/" + layerDigest},
		{method: "HEAD", path: "/v2/b/blobs/" + layerDigest},
		{method: "PUT", path: "/v2/a/manifests/1", body: manifest, header: image},
		{method: "PUT", path: "/v2/a/manifests/" + digest + "?tag=2&tag=3", body: manifest, header: image},
		{method: "PUT", path: "/v2/b/manifests/1", body: manifest, header: image},
		{method: "PUT", path: "/v2/a/manifests/1", body: "{", header: image},
		{method: "GET", path: "/v2/a/manifests/1"},
		{method: "HEAD", path: "/v2/a/manifests/1"},
		{method: "GET", path: "/v2/a/manifests/" + digest},
		{method: "HEAD", path: "/v2/a/manifests/none"},
		{method: "GET", path: "/v2/a/manifests/none"},
		{method: "GET", path: "/v2/a/manifests/1", header: []string{"If-None-Match", `"` + digest + `"`}},
		{method: "GET", path: "/v2/a/tags/list?n=2"},
		{method: "GET", path: "/v2/a/tags/list?last=2"},
		{method: "GET", path: "/v2/_catalog?n=1"},
		{method: "GET", path: "/v2/a/referrers/" + digest},
		{method: "GET", path: "/v2/a/referrers/" + digest + "?artifactType=a%2Fb%2Bc"},
		{method: "DELETE", path: "/v2/a/manifests/2"},
		{method: "DELETE", path: "/v2/a/manifests/" + digest},
		{method: "DELETE", path: "/v2/a/blobs/" + layerDigest},
		{method: "DELETE", path: "/v2/a/manifests/" + digest},
		{method: "GET", path: "/v2/a/tags/list"},
	}
}

func TestFunctionNeedsAToken(t *testing.T) {
	for _, sum := range []string{"", "x", strings.Repeat("A", 64)} {
		_, err := start.New(env.Config{AdminTokenSHA256: sum}, quiet(), nil, nil, server.Base)
		if err == nil || !strings.Contains(err.Error(), "PIERLESS_ADMIN_TOKEN_SHA256") {
			t.Errorf("with %q: %v", sum, err)
		}
	}
}
