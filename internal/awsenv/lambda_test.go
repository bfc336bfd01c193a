package awsenv

import (
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/internal/awsclient"
)

// TestForLambda: in a function's environment the short way gives the clients that
// the SDK's own way gives.
func TestForLambda(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"as Lambda sets it": nil,
		"session":           {"AWS_SESSION_TOKEN": "token"},
		"one endpoint":      {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
		"endpoints":         {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.2:9"},
		"both":              {"AWS_ENDPOINT_URL": "http://127.0.0.3:9", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"} {
				t.Setenv(name, "")
				os.Unsetenv(name)
			}
			t.Setenv("AWS_REGION", "eu-central-1")
			t.Setenv("AWS_ACCESS_KEY_ID", "id")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			for name, value := range vars {
				t.Setenv(name, value)
			}
			settings := Settings{Bucket: "b", Table: "t"}
			want, err := Load(t.Context(), settings)
			if err != nil {
				t.Fatal(err)
			}
			got, err := awsclient.ForLambda(os.Getenv, settings)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(seen(t, want), seen(t, got)); diff != "" {
				t.Errorf("the SDK's way (-), the short way (+):\n%s", diff)
			}
		})
	}
}

// seen returns the settings that decide how the clients call AWS.
func seen(t *testing.T, c Clients) map[string]any {
	t.Helper()
	s3, dynamo := c.S3.Options(), c.Dynamo.Options()
	s3Credentials, err := s3.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dynamoCredentials, err := dynamo.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"s3 region": s3.Region, "s3 endpoint": aws.ToString(s3.BaseEndpoint), "s3 path style": s3.UsePathStyle,
		"s3 keys":      s3Credentials.AccessKeyID + s3Credentials.SecretAccessKey + s3Credentials.SessionToken,
		"s3 checksums": s3.RequestChecksumCalculation, "s3 validation": s3.ResponseChecksumValidation,
		"s3 retries": s3.RetryMode, "s3 attempts": s3.Retryer.MaxAttempts(), "s3 log": s3.ClientLogMode,
		"s3 defaults": s3.DefaultsMode, "s3 endpoint options": s3.EndpointOptions, "s3 regions": s3.UseARNRegion,
		"s3 multi-region": s3.DisableMultiRegionAccessPoints, "s3 express": aws.ToBool(s3.DisableS3ExpressSessionAuth),
		"region": dynamo.Region, "endpoint": aws.ToString(dynamo.BaseEndpoint), "retries": dynamo.RetryMode,
		"keys":     dynamoCredentials.AccessKeyID + dynamoCredentials.SecretAccessKey + dynamoCredentials.SessionToken,
		"attempts": dynamo.Retryer.MaxAttempts(), "accounts": dynamo.AccountIDEndpointMode, "defaults": dynamo.DefaultsMode,
		"endpoint options": dynamo.EndpointOptions, "gzip": dynamo.EnableAcceptEncodingGzip,
		"checksum": dynamo.DisableValidateResponseChecksum, "discovery": dynamo.EndpointDiscovery,
	}
}

func TestForLambdaRefuses(t *testing.T) {
	set := map[string]string{"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
	for missing := range set {
		get := func(name string) string {
			if name == missing {
				return ""
			}
			return set[name]
		}
		if _, err := awsclient.ForLambda(get, Settings{Bucket: "b", Table: "t"}); err == nil {
			t.Errorf("a function without %s starts", missing)
		}
	}
}
