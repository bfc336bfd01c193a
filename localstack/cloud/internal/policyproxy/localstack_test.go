//go:build localstack

package policyproxy

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// store is a bucket in LocalStack behind a proxy, for URLs that the function F signs.
type store struct {
	t      *testing.T
	proxy  *httptest.Server
	bucket string
	s3     *s3.Client // not through the proxy
}

func newStore(t *testing.T) *store {
	t.Helper()
	endpoint := os.Getenv("AWS_ENDPOINT_URL_S3")
	upstream, err := url.Parse(endpoint)
	if err != nil || upstream.Host == "" {
		t.Fatalf("AWS_ENDPOINT_URL_S3 is %q", endpoint)
	}
	policy, err := iam.Parse([]any{allow("*", "*")}) // only signatures cause errors
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, bucket: "test-" + strings.ToLower(rand.Text())}
	s.proxy = httptest.NewServer(New(upstream, Config{Principals: map[string]Principal{"F": {Name: "F", Policy: policy}}}, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.proxy.Close)
	s.s3 = s3.New(s3.Options{
		AppID:  os.Getenv("AWS_SDK_UA_APP_ID"), // see scripts/test.sh
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	if _, err := s.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &s.bucket}); err != nil {
		t.Fatal(err)
	}
	return s
}

// presign signs a PUT of content to a key.
func (s *store) presign(key string, content []byte, at time.Time, seconds string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.proxy.URL+"/"+s.bucket+"/"+key+"?X-Amz-Expires="+seconds, bytes.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	r.Header.Set("If-None-Match", "*")
	r.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting, o.DisableURIPathEscaping = true, true })
	// The access key names the function; all functions have the secret that LocalStack knows.
	who := aws.Credentials{AccessKeyID: "F", SecretAccessKey: "test", SessionToken: "local-F"}
	signed, _, err := signer.PresignHTTP(s.t.Context(), who, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", at)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.URL, err = url.Parse(signed); err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *store) send(r *http.Request) (status int, body string) {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func (s *store) has(key string) bool {
	_, err := s.s3.HeadObject(s.t.Context(), &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	return err == nil
}

// body replaces the body of the request.
func body(content []byte) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength, r.GetBody = io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
}

// TestPresignedPutIsVerified: a URL that was signed through the proxy stores only the
// signed content under the signed key, once, before it expires.
func TestPresignedPutIsVerified(t *testing.T) {
	s := newStore(t)
	content := []byte("what was announced")
	other := bytes.ToUpper(content)
	otherSum := sha256.Sum256(other)
	for name, c := range map[string]struct {
		age    time.Duration
		change func(*http.Request)
		want   int
	}{
		"as it was signed": {0, func(*http.Request) {}, http.StatusOK},
		"other bytes":      {0, body(other), http.StatusBadRequest},
		"other bytes with their checksum": {0, func(r *http.Request) {
			body(other)(r)
			header("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(otherSum[:]))(r)
		}, http.StatusForbidden},
		"more bytes":          {0, body(append(bytes.Clone(content), 'x')), http.StatusForbidden},
		"fewer bytes":         {0, body(content[1:]), http.StatusForbidden},
		"no checksum":         {0, header("X-Amz-Checksum-Sha256", ""), http.StatusForbidden},
		"no condition":        {0, header("If-None-Match", ""), http.StatusForbidden},
		"another key":         {0, func(r *http.Request) { r.URL.Path += "x" }, http.StatusForbidden},
		"another method":      {0, func(r *http.Request) { r.Method = http.MethodDelete }, http.StatusForbidden},
		"another host":        {0, func(r *http.Request) { r.Host = "localhost:1" }, http.StatusForbidden},
		"another signature":   {0, query("X-Amz-Signature", strings.Repeat("0", 64)), http.StatusForbidden},
		"a longer life":       {0, query("X-Amz-Expires", "900"), http.StatusForbidden},
		"after it expired":    {20 * time.Minute, func(*http.Request) {}, http.StatusForbidden},
		"one parameter more":  {0, query("digest", "sha256:x"), http.StatusForbidden},
		"another's key":       {0, query("X-Amz-Credential", "G/20250101/us-east-1/s3/aws4_request"), http.StatusForbidden},
		"another part number": {0, query("partNumber", "1"), http.StatusForbidden},
	} {
		key := "blobs/" + rand.Text()
		r := s.presign(key, content, time.Now().Add(-c.age), "600")
		c.change(r)
		status, answer := s.send(r)
		if status != c.want || s.has(key) != (c.want == http.StatusOK) || s.has(key+"x") {
			t.Errorf("%s: %d, want %d, stored is %v: %s", name, status, c.want, s.has(key), answer)
		}
		if c.want != http.StatusOK {
			continue
		}
		if status, answer = s.send(s.presign(key, content, time.Now(), "600")); status != http.StatusPreconditionFailed {
			t.Errorf("again: %d %s", status, answer)
		}
	}
}

func query(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		q := r.URL.Query()
		q.Set(name, value)
		r.URL.RawQuery = q.Encode()
	}
}
