package awsenv

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestLoadReadsTheEnvironment(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.2:9")
	clients, err := Load(t.Context(), Settings{Bucket: "b", Table: "t"})
	if err != nil {
		t.Fatal(err)
	}
	s3, dynamo := clients.S3.Options(), clients.Dynamo.Options()
	if !s3.UsePathStyle || s3.Region != "eu-central-1" || aws.ToString(s3.BaseEndpoint) != "http://127.0.0.1:9" {
		t.Errorf("S3 is path style %v in %s at %s", s3.UsePathStyle, s3.Region, aws.ToString(s3.BaseEndpoint))
	}
	if dynamo.Region != "eu-central-1" || aws.ToString(dynamo.BaseEndpoint) != "http://127.0.0.2:9" {
		t.Errorf("DynamoDB is in %s at %s", dynamo.Region, aws.ToString(dynamo.BaseEndpoint))
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, test := range []struct {
		name, region string
		settings     Settings
		want         string
	}{
		{"no bucket", "x", Settings{Table: "t"}, "bucket"},
		{"no table", "x", Settings{Bucket: "b"}, "table"},
		{"unknown encryption", "x", Settings{Bucket: "b", Table: "t", SSE: "rot13"}, "rot13"},
		{"key without KMS", "x", Settings{Bucket: "b", Table: "t", SSE: "AES256", KMSKeyID: "k"}, "KMS"},
		{"no region", "", Settings{Bucket: "b", Table: "t"}, "AWS_REGION"},
	} {
		t.Run(test.name, func(t *testing.T) {
			isolate(t)
			t.Setenv("AWS_REGION", test.region)
			_, err := Load(t.Context(), test.settings)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// isolate hides the AWS settings of the machine's owner.
func isolate(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/config")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/credentials")
}
