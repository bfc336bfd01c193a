// Package awsenv builds the AWS clients: the one place that reads what AWS has to
// say in environment variables and profiles (AWS_REGION, AWS_PROFILE,
// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB, credentials, ...).
//
// It must not know what the clients are used for, or read any other configuration.
package awsenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	dialTimeout     = 5 * time.Second
	responseTimeout = 60 * time.Second // from the end of the request to the head of its response
	idleConnections = 64               // kept per host: S3 and DynamoDB see bursts
)

// Settings are what the caller's configuration says about AWS; the rest is the
// environment's.
type Settings struct {
	Bucket string
	Table  string
	// SSE is the encryption that objects ask for: "", AES256 or aws:kms.
	SSE string
	// KMSKeyID goes with aws:kms only; "" is the account's own key for S3.
	KMSKeyID string
	// PathStyle puts the bucket into the path of S3 URLs, not into the host. Nil:
	// only where the endpoint is an IP address or localhost.
	PathStyle *bool
}

// Clients share one HTTP transport. Both retry in the SDK's standard mode.
type Clients struct {
	S3     *s3.Client
	Dynamo *dynamodb.Client
}

// Load builds the clients without calling AWS, except for what the source of the
// credentials needs. It fails where settings contradict themselves or no region is
// set; missing credentials show at the first call.
func Load(ctx context.Context, settings Settings) (Clients, error) {
	if err := settings.check(); err != nil {
		return Clients{}, err
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRetryMode(aws.RetryModeStandard), config.WithHTTPClient(httpClient()))
	if err != nil {
		return Clients{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return Clients{}, errors.New("no AWS region: set AWS_REGION, or region in the AWS profile")
	}
	return Clients{
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.UsePathStyle = pathStyle(settings.PathStyle, aws.ToString(o.BaseEndpoint))
			// Large objects have no checksum that the SDK could check; saying so for
			// each of them fills the log.
			o.DisableLogOutputChecksumValidationSkipped = true
		}),
		Dynamo: dynamodb.NewFromConfig(cfg),
	}, nil
}

func (s Settings) check() error {
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

func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 2 * idleConnections
			t.MaxIdleConnsPerHost = idleConnections
			t.ResponseHeaderTimeout = responseTimeout
		})
}

// pathStyle decides by the endpoint where nothing is set: names cannot be put in
// front of an IP address, and in front of localhost they seldom resolve.
func pathStyle(set *bool, endpoint string) bool {
	if set != nil {
		return *set
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := strings.ToLower(parsed.Hostname())
	return host == "localhost" || net.ParseIP(host) != nil
}
