package awsclient

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestPathStyle(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"": false, "http://127.0.0.1:4566": true, "http://[::1]:4566": true, "http://localhost:4566": true,
		"http://LOCALHOST": true, "http://s3.localhost.localstack.cloud:4566": false,
		"https://s3.eu-central-1.amazonaws.com": false, "://": false,
	} {
		if got := pathStyle(endpoint); got != want {
			t.Errorf("%s: path style is %v", endpoint, got)
		}
	}
}

// TestDualStack checks the host of presigned URLs.
func TestDualStack(t *testing.T) {
	for name, test := range map[string]struct {
		dualStack      bool
		endpoint, want string
	}{
		"default":         {false, "", "bucket.s3.eu-central-1.amazonaws.com"},
		"dual-stack":      {true, "", "bucket.s3.dualstack.eu-central-1.amazonaws.com"},
		"custom endpoint": {true, "http://127.0.0.1:4566", "127.0.0.1:4566"},
	} {
		vars := map[string]string{
			"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": test.endpoint,
		}
		clients, err := ForLambda(func(name string) string { return vars[name] }, Settings{Bucket: "bucket", Table: "t", DualStack: test.dualStack})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s3.NewPresignClient(clients.S3).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(signed.URL); err != nil || u.Host != test.want {
			t.Errorf("%s: %s, want host %s", name, signed.URL, test.want)
		}
	}
}
