//go:build localstack

package s3blobs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/awsinit"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/registrytest"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

const mib = 1 << 20

// client returns a client of the endpoint under test.
func client(t testing.TB, change ...func(*s3.Options)) *s3.Client {
	t.Helper()
	if os.Getenv("AWS_ENDPOINT_URL_S3") == "" {
		t.Fatal("AWS_ENDPOINT_URL_S3 is not set: start LocalStack first (localstack/up.sh)")
	}
	clients, err := awsenv.Load(context.Background(), awsenv.Settings{Bucket: "none", Table: "none"})
	if err != nil {
		t.Fatal(err)
	}
	return s3.New(clients.S3.Options(), change...)
}

// bucket makes a bucket that goes with the test.
func bucket(t testing.TB, client *s3.Client) string {
	t.Helper()
	name := "blobs-" + strings.ToLower(rand.Text())
	warnings, err := awsinit.CreateBucket(context.Background(), client, name, client.Options().Region)
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		t.Log(warning)
	}
	t.Cleanup(func() { empty(t, client, name) })
	return name
}

// empty removes a bucket with all that is in it.
func empty(t testing.TB, client *s3.Client, name string) {
	ctx := context.Background()
	objects, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &name})
	if err != nil {
		t.Error(err)
		return
	}
	for _, object := range objects.Contents {
		_, _ = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: object.Key})
	}
	for _, upload := range uploads(t, client, name) {
		_, _ = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket: &name, Key: aws.String(upload[0]), UploadId: aws.String(upload[1]),
		})
	}
	if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name}); err != nil {
		t.Error(err)
	}
}

func uploads(t testing.TB, client *s3.Client, name string) (found [][2]string) {
	t.Helper()
	out, err := client.ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &name})
	if err != nil {
		t.Fatal(err)
	}
	for _, upload := range out.Uploads {
		found = append(found, [2]string{*upload.Key, *upload.UploadId})
	}
	return found
}

func suite(t *testing.T, opts s3blobs.Options, change ...func(*s3.Options)) {
	t.Helper()
	c := client(t, change...)
	name := bucket(t, c)
	var one sync.Mutex
	registrytest.Blobs(t, func(*testing.T) registry.Blobs { return newStore(c, name, opts, &one) })
}

// store is what the contract runs on.
type store struct {
	oneComplete
	at func(now func() time.Time) registry.Blobs
}

func newStore(c *s3.Client, name string, opts s3blobs.Options, one *sync.Mutex) store {
	return store{
		oneComplete: oneComplete{s3blobs.New(c, name, opts), one},
		at: func(now func() time.Time) registry.Blobs {
			opts.Now = now
			return newStore(c, name, opts, one)
		},
	}
}

// At implements registrytest.Clock.
func (s store) At(now func() time.Time) registry.Blobs { return s.at(now) }

// oneComplete completes one upload at a time. S3 lets one of several that complete
// an upload at once win; LocalStack and versitygw let all of them, and may lose the
// content.
type oneComplete struct {
	registry.Blobs
	one *sync.Mutex
}

func (o oneComplete) Complete(ctx context.Context, key string, stored registry.Stored) error {
	o.one.Lock()
	defer o.one.Unlock()
	return o.Blobs.Complete(ctx, key, stored)
}

func (o oneComplete) CompleteParts(
	ctx context.Context, key string, stored registry.Stored, check func([]direct.Part) error,
) error {
	o.one.Lock()
	defer o.one.Unlock()
	return o.Blobs.CompleteParts(ctx, key, stored, check)
}

func TestContract(t *testing.T) { suite(t, s3blobs.Options{}) }

func TestContractOneUploadAtATime(t *testing.T) { suite(t, s3blobs.Options{Parallel: 1}) }

// Stores other than S3 often need this setting.
func TestContractChecksumsWhenRequired(t *testing.T) {
	suite(t, s3blobs.Options{}, func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
}

func TestContractOtherRegion(t *testing.T) {
	suite(t, s3blobs.Options{}, func(o *s3.Options) { o.Region = "eu-central-1" })
}

func TestContractEncrypted(t *testing.T) { suite(t, s3blobs.Options{SSE: "AES256"}) }

func TestContractEncryptedKMS(t *testing.T) {
	suite(t, s3blobs.Options{SSE: "aws:kms"})
}

// The names of buckets in front of the host, as AWS has them.
func TestContractVirtualHosts(t *testing.T) {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_S3"))
	if err != nil || endpoint.Port() == "" {
		t.Skip("needs an endpoint with a port")
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, endpoint.Host)
	}
	virtual := func(o *s3.Options) {
		o.UsePathStyle = false
		o.BaseEndpoint = aws.String("http://s3.localhost.localstack.cloud:" + endpoint.Port())
		o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DialContext = dial })
	}
	// The suite fetches presigned URLs with the default client.
	transport := http.DefaultTransport.(*http.Transport)
	before := transport.DialContext
	transport.DialContext = dial
	t.Cleanup(func() { transport.DialContext = before })
	t.Run("suite", func(t *testing.T) { suite(t, s3blobs.Options{}, virtual) })
}

// counter counts the calls of S3, attempts apart.
type counter struct {
	mu    sync.Mutex
	calls []string
}

func (c *counter) layer(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("count", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			c.mu.Lock()
			c.calls = append(c.calls, middleware.GetOperationName(ctx))
			c.mu.Unlock()
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	})
}

// take returns the calls since the last take, sorted.
func (c *counter) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.calls)
	calls := strings.Join(c.calls, " ")
	c.calls = nil
	return calls
}

func key() string {
	var key [32]byte
	_, _ = rand.Read(key[:])
	return hex.EncodeToString(key[:])
}

func TestCalls(t *testing.T) {
	var count counter
	c := client(t, count.layer)
	blobs := s3blobs.New(c, bucket(t, c), s3blobs.Options{})
	count.take()
	const stitched = "GetObject UploadPart"
	for _, test := range []struct {
		sizes    []int
		appends  []string
		complete string
	}{
		{nil, nil, "PutObject"},
		{[]int{0}, []string{""}, "PutObject"},
		{[]int{4 * mib}, []string{"PutObject"}, "GetObject PutObject"},
		{
			[]int{4 * mib, 4 * mib, 4 * mib, 4 * mib, 4 * mib, 1000},
			[]string{
				"PutObject", "CreateMultipartUpload " + stitched, "PutObject UploadPart", stitched, "PutObject UploadPart",
				"GetObject PutObject",
			},
			"CompleteMultipartUpload GetObject UploadPart",
		},
		{
			[]int{4 * mib, 4 * mib, 4 * mib},
			[]string{"PutObject", "CreateMultipartUpload " + stitched, "PutObject UploadPart"},
			"CompleteMultipartUpload",
		},
		{
			[]int{4 * mib, 4 * mib, 4 * mib, 4 * mib},
			[]string{"PutObject", "CreateMultipartUpload " + stitched, "PutObject UploadPart", stitched},
			"CompleteMultipartUpload",
		},
		{
			[]int{31 * mib},
			[]string{"CreateMultipartUpload PutObject UploadPart UploadPart UploadPart UploadPart"},
			"CompleteMultipartUpload",
		},
		{
			[]int{30 * mib},
			[]string{"CreateMultipartUpload UploadPart UploadPart UploadPart"},
			"CompleteMultipartUpload",
		},
	} {
		k := key()
		var stored registry.Stored
		for i, size := range test.sizes {
			claim := registry.Claim{Nonce: rand.Text(), First: int64(2 * i), Count: 2}
			var err error
			if stored, err = blobs.Append(t.Context(), k, claim, stored, bytes.NewReader(make([]byte, size))); err != nil {
				t.Fatal(err)
			}
			if got := count.take(); got != test.appends[i] {
				t.Errorf("%v: append %d called %s, want %s", test.sizes, i, got, test.appends[i])
			}
		}
		if err := blobs.Complete(t.Context(), k, stored); err != nil {
			t.Error(err)
		}
		if got := count.take(); got != test.complete {
			t.Errorf("%v: complete called %s, want %s", test.sizes, got, test.complete)
		}
	}
}
