// Package awsclient builds the AWS clients from a configuration, and a configuration from
// the environment variables of a Lambda function.
//
// It must not know the use of the clients, nor link aws-sdk-go-v2/config: its profiles, SSO
// and metadata services make a function 1.8 MB larger and its start a fifth longer.
// internal/awsenv is for programs that people run.
package awsclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

const (
	dialTimeout     = 3 * time.Second
	responseTimeout = 60 * time.Second // from the end of the request to the head of its response
	idleConnections = 64               // kept per host: S3 and DynamoDB see bursts
	// maxBackoff is the longest pause between the SDK's three tries. Callers retry on their
	// part, and clients wait meanwhile.
	maxBackoff = 500 * time.Millisecond
)

// Settings are the AWS settings of Pierless itself; the environment has the others.
type Settings struct {
	Bucket string
	Table  string
	// SSE is the encryption of new objects: "", AES256 or aws:kms.
	SSE string
	// KMSKeyID requires aws:kms; "" is the account's own key for S3.
	KMSKeyID string
	// DualStack sends requests, and the clients that use presigned URLs, to S3's dual-stack
	// endpoint (IPv4 and IPv6). It has no effect on a custom endpoint.
	DualStack bool
}

// Clients share one HTTP transport. Both retry in the SDK's standard mode.
type Clients struct {
	S3     *s3.Client
	Dynamo *dynamodb.Client
}

// New builds the clients without calling AWS. cfg may carry endpoints in BaseEndpoint or in
// its sources. It fails if no region is set.
func New(cfg aws.Config, settings Settings) (Clients, error) {
	if cfg.Region == "" {
		return Clients{}, errors.New("no AWS region: set AWS_REGION, or region in the AWS profile")
	}
	return Clients{
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.UsePathStyle = pathStyle(aws.ToString(o.BaseEndpoint))
			o.Retryer, o.Logger = newRetryer(), logging.Nop{}
			// The SDK refuses to combine it with a custom endpoint.
			if settings.DualStack && o.BaseEndpoint == nil {
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
			}
		}),
		Dynamo: dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
			// The SDK logs a wrong checksum for each condition that does not hold
			// (aws-sdk-go-v2#3545). Its other warnings repeat the returned errors.
			o.Retryer, o.Logger = newRetryer(), logging.Nop{}
		}),
	}, nil
}

func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff, o.Retryables = maxBackoff, retryables() })
}

// Check reports missing and contradictory settings.
func (s Settings) Check() error {
	switch {
	case s.Bucket == "":
		return errors.New("no bucket is set")
	case s.Table == "":
		return errors.New("no table is set")
	case s.SSE != "" && s.SSE != "AES256" && s.SSE != "aws:kms":
		return fmt.Errorf("encryption is %q: it can be AES256 or aws:kms", s.SSE)
	case s.KMSKeyID != "" && s.SSE != "aws:kms":
		return errors.New("a KMS key is set, but the encryption is not aws:kms")
	}
	return nil
}

// HTTPClient is the transport of both clients: the SDK's, with tighter limits.
func HTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 2 * idleConnections
			t.MaxIdleConnsPerHost = idleConnections
			t.ResponseHeaderTimeout = responseTimeout
		})
}

// pathStyle reports whether the bucket stands in the path of S3 URLs, not in the host: an IP
// address cannot have a subdomain, and subdomains of localhost seldom resolve.
func pathStyle(endpoint string) bool {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := strings.ToLower(parsed.Hostname())
	return host == "localhost" || net.ParseIP(host) != nil
}
