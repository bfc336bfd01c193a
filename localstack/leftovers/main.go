// Command leftovers finds garbage in a store: it sweeps as if the time of all garbage had come,
// and then lists the objects and rows of bucket and table that are still not in use. With -empty it deletes all objects of a bucket instead, with which the
// end-to-end tests free disk space.
//
// Use it on LocalStack only: it expires active uploads too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

func main() {
	name := flag.String("name", "", "name of the bucket and of the table")
	later := flag.Duration("later", 48*time.Hour, "offset of the clock, added to the current time")
	unrecorded := flag.Bool("unrecorded", false, "ignore parts without a row, which a lifecycle rule of the bucket deletes and LocalStack does not")
	empty := flag.Bool("empty", false, "delete all objects of the bucket")
	flag.Parse()
	if err := run(context.Background(), *name, *later, *unrecorded, *empty); err != nil {
		fmt.Fprintln(os.Stderr, "leftovers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, later time.Duration, unrecorded, empty bool) error {
	clients, err := awsenv.Load(ctx, awsenv.Settings{Bucket: name, Table: name})
	if err != nil {
		return err
	}
	if aws.ToString(clients.S3.Options().BaseEndpoint) == "" || aws.ToString(clients.Dynamo.Options().BaseEndpoint) == "" {
		return errors.New("AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB must be those of an emulator, not of AWS")
	}
	s := store{clients: clients, name: name}
	if empty {
		return s.empty(ctx)
	}
	if err := s.sweep(ctx, later); err != nil {
		return err
	}
	return s.report(ctx, unrecorded)
}

// store is a bucket and a table with the same name.
type store struct {
	clients awsenv.Clients
	name    string
}

// sweep sweeps as if the time had come, and the same time again: an expired upload is looked at
// twice, and a repository that loses its last manifest leaves the catalog one grace later.
func (s store) sweep(ctx context.Context, later time.Duration) error {
	for i := range 4 {
		reg := registry.New(ddbmeta.New(s.clients.Dynamo, s.name), s3blobs.New(s.clients.S3, s.name, s3blobs.Options{}),
			registry.Options{Now: func() time.Time { return time.Now().Add(time.Duration(i+1) * later) }})
		report, err := sweep.Run(ctx, reg, nil)
		if err != nil {
			return err
		}
		fmt.Printf("swept: %+v\n", report)
	}
	return nil
}

// report returns an error if there are objects without a blob, open uploads or multipart
// uploads. It ignores tails/, which a lifecycle rule of the bucket cleans.
func (s store) report(ctx context.Context, unrecorded bool) error {
	left, err := s.openUploads(ctx)
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
	parts, err := s.clients.S3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.name})
	if err != nil {
		return err
	}
	for _, upload := range parts.Uploads {
		if !unrecorded {
			left = append(left, "parts of "+aws.ToString(upload.Key))
		}
	}
	fmt.Printf("objects: %d, uploads in parts: %d\n", len(objects), len(parts.Uploads))
	if len(left) > 0 {
		return fmt.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// live reports whether an object belongs to a blob according to the row of its key. The
// prefix of keys and the keys of rows are those of pkg/registry/s3blobs and pkg/registry.
func (s store) live(ctx context.Context, object string) (bool, error) {
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
	return state(out.Item) == "live", nil
}

// openUploads lists the rows of uploads that have not ended.
func (s store) openUploads(ctx context.Context) ([]string, error) {
	var left []string
	pages := dynamodb.NewScanPaginator(s.clients.Dynamo, &dynamodb.ScanInput{TableName: &s.name, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if pk := text(item["pk"]); strings.HasPrefix(pk, "K#") && state(item) == "open" || strings.HasPrefix(pk, "Q#") {
				left = append(left, "row "+pk)
			}
		}
	}
	return left, nil
}

func state(item map[string]ddb.AttributeValue) string { return text(item["s"]) }

func text(v ddb.AttributeValue) string {
	if s, ok := v.(*ddb.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func (s store) objects(ctx context.Context) ([]string, error) {
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

func (s store) empty(ctx context.Context) error {
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
