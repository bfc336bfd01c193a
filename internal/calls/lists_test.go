//go:build localstack

package calls

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/registrytest"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// TestLists: other objects in the bucket, also under blobs/, are not in the list.
func TestLists(t *testing.T) {
	clients, name := storetest.Create(t)
	for _, key := range []string{"blobs/", "blobs/readme", "tails/" + strings.Repeat("0", 64) + "/x", "zero"} {
		if _, err := clients.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &name, Key: aws.String(key)}); err != nil {
			t.Fatal(err)
		}
	}
	meta, blobs := ddbmeta.New(clients.Dynamo, name), s3blobs.New(clients.S3, name, s3blobs.Options{})
	registrytest.Lists(t, meta, blobs, blobs, meta)
}
