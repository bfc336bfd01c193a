package s3blobs

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A presigned URL must ask its user for no header but Host, whatever the client's
// settings are.
func TestPresign(t *testing.T) {
	for _, validation := range []aws.ResponseChecksumValidation{
		aws.ResponseChecksumValidationWhenSupported, aws.ResponseChecksumValidationWhenRequired,
	} {
		client := s3.New(s3.Options{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "session"),
			ResponseChecksumValidation: validation,
		})
		blobs := New(client, "bucket", Options{})
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			text, err := blobs.Presign(t.Context(), method, "key")
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			query := parsed.Query()
			if parsed.Host != "bucket.s3.eu-central-1.amazonaws.com" || parsed.Path != "/blobs/key" {
				t.Errorf("%s is at %s%s", method, parsed.Host, parsed.Path)
			}
			if query.Get("X-Amz-SignedHeaders") != "host" || query.Get("X-Amz-Expires") != "1200" {
				t.Errorf("%s has %s", method, parsed.RawQuery)
			}
			if query.Get("response-content-type") != "application/octet-stream" || query.Get("response-content-disposition") != "attachment" ||
				query.Get("response-cache-control") != "private, max-age=31536000, immutable" {
				t.Errorf("%s does not override the headers of the PUT: %s", method, parsed.RawQuery)
			}
		}
		if _, err := blobs.Presign(t.Context(), http.MethodPut, "key"); err == nil {
			t.Error("there is a URL for PUT")
		}
	}
}
