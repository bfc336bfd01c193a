package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// cloud is a bucket and a table with the same name.
type cloud struct {
	clients awsenv.Clients
	name    string
}

func openCloud(ctx context.Context, name string) (cloud, error) {
	clients, err := awsenv.Load(ctx, awsenv.Settings{Bucket: name, Table: name})
	if err != nil {
		return cloud{}, err
	}
	if aws.ToString(clients.S3.Options().BaseEndpoint) == "" || aws.ToString(clients.Dynamo.Options().BaseEndpoint) == "" {
		return cloud{}, errors.New("AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB must be those of an emulator, not of AWS")
	}
	return cloud{clients: clients, name: name}, nil
}

func (s cloud) ports() (registry.Metadata, registry.Blobs) {
	return ddbmeta.New(s.clients.Dynamo, s.name), s3blobs.New(s.clients.S3, s.name, s3blobs.Options{})
}

func (s cloud) contents(ctx context.Context, unrecorded bool) ([]string, error) {
	all, err := s.rows(ctx, func(item map[string]ddb.AttributeValue) bool { return item["ttl"] == nil })
	if err != nil {
		return nil, err
	}
	objects, err := s.objects(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range objects {
		if !unrecorded || !strings.HasPrefix(key, "tails/") {
			all = append(all, "object "+key)
		}
	}
	parts, err := s.parts(ctx)
	if !unrecorded {
		all = append(all, parts...)
	}
	return all, err
}

// report returns an error if there are objects without a blob, open uploads or multipart
// uploads. It ignores tails/, which a lifecycle rule of the bucket cleans.
func (s cloud) report(ctx context.Context, unrecorded bool) error {
	left, err := s.rows(ctx, isOpen)
	if err != nil {
		return err
	}
	objects, err := s.objects(ctx)
	if err != nil {
		return err
	}
	for _, key := range objects {
		live, err := s.live(ctx, key)
		if err != nil {
			return err
		}
		if !live {
			left = append(left, "object "+key)
		}
	}
	parts, err := s.parts(ctx)
	if err != nil {
		return err
	}
	if !unrecorded {
		left = append(left, parts...)
	}
	fmt.Printf("objects: %d, uploads in parts: %d\n", len(objects), len(parts))
	return leftOver(left)
}

// live reports whether an object belongs to a blob according to the row of its key. The
// prefix of keys and the keys of rows are those of pkg/registry/s3blobs and pkg/registry.
func (s cloud) live(ctx context.Context, object string) (bool, error) {
	key, ok := strings.CutPrefix(object, "blobs/")
	if !ok {
		return strings.HasPrefix(object, "tails/"), nil
	}
	out, err := s.clients.Dynamo.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.name, Key: map[string]ddb.AttributeValue{
			"pk": &ddb.AttributeValueMemberS{Value: "K#" + key}, "sk": &ddb.AttributeValueMemberS{Value: "K"},
		},
	})
	if err != nil {
		return false, err
	}
	return text(out.Item["s"]) == "live", nil
}

// isOpen reports whether a row belongs to an upload that has not ended.
func isOpen(item map[string]ddb.AttributeValue) bool {
	pk := text(item["pk"])
	return strings.HasPrefix(pk, "K#") && text(item["s"]) == "open" || strings.HasPrefix(pk, "Q#")
}

// rows lists the keys of the rows that match.
func (s cloud) rows(ctx context.Context, match func(item map[string]ddb.AttributeValue) bool) ([]string, error) {
	var keys []string
	pages := dynamodb.NewScanPaginator(s.clients.Dynamo, &dynamodb.ScanInput{TableName: &s.name, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if match(item) {
				keys = append(keys, "row "+text(item["pk"])+" "+text(item["sk"]))
			}
		}
	}
	return keys, nil
}

func text(v ddb.AttributeValue) string {
	if s, ok := v.(*ddb.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func (s cloud) objects(ctx context.Context) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.clients.S3, &s3.ListObjectsV2Input{Bucket: &s.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			keys = append(keys, aws.ToString(object.Key))
		}
	}
	return keys, nil
}

// parts lists the multipart uploads.
func (s cloud) parts(ctx context.Context) ([]string, error) {
	out, err := s.clients.S3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.name})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, upload := range out.Uploads {
		all = append(all, "parts of "+aws.ToString(upload.Key))
	}
	return all, nil
}

func (s cloud) empty(ctx context.Context) error {
	keys, err := s.objects(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := s.clients.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.name, Key: &key}); err != nil {
			return err
		}
	}
	return nil
}
