//go:build localstack

package calls

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/registrytest"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// TestFreed: bucket and table are as before the first push when all garbage is collected.
func TestFreed(t *testing.T) {
	clients, name := storetest.Create(t)
	meta, blobs := ddbmeta.New(clients.Dynamo, name), s3blobs.New(clients.S3, name, s3blobs.Options{})
	registrytest.Freed(t, meta, blobs, func(t *testing.T) (all []string) {
		t.Helper()
		rows := dynamodb.NewScanPaginator(clients.Dynamo, &dynamodb.ScanInput{TableName: &name, ConsistentRead: aws.Bool(true)})
		for rows.HasMorePages() {
			page, err := rows.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Items {
				pk, _ := item["pk"].(*types.AttributeValueMemberS)
				if item["ttl"] == nil {
					all = append(all, pk.Value)
				}
			}
		}
		objects := s3.NewListObjectsV2Paginator(clients.S3, &s3.ListObjectsV2Input{Bucket: &name})
		for objects.HasMorePages() {
			page, err := objects.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range page.Contents {
				all = append(all, aws.ToString(object.Key))
			}
		}
		return all
	})
}
