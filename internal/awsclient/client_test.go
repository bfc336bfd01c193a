package awsclient

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestPathStyle(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		set      *bool
		endpoint string
		want     bool
	}{
		{nil, "", false},
		{nil, "http://127.0.0.1:4566", true},
		{nil, "http://[::1]:4566", true},
		{nil, "http://localhost:4566", true},
		{nil, "http://LOCALHOST", true},
		{nil, "http://s3.localhost.localstack.cloud:4566", false},
		{nil, "https://s3.eu-central-1.amazonaws.com", false},
		{nil, "://", false},
		{&yes, "https://s3.example.org", true},
		{&no, "http://127.0.0.1:4566", false},
	} {
		if got := pathStyle(test.set, test.endpoint); got != test.want {
			t.Errorf("%s: path style is %v", test.endpoint, got)
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
