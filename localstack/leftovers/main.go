// Command leftovers says what a store holds that nobody will use, once the uploads that
// were broken off have had their time: it lets the registry expire them as if that time
// were over, and then looks at the bucket and the table past the registry. With -empty
// it removes all objects of a bucket instead: the end-to-end tests give disk space back.
//
// Only on LocalStack: it makes uploads that are under way expire.
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
)

func main() {
	name := flag.String("name", "", "of the bucket and of the table")
	later := flag.Duration("later", 48*time.Hour, "how much later it is")
	unrecorded := flag.Bool("unrecorded", false, "let parts be that only the bucket's lifecycle rule knows, which LocalStack does not apply")
	empty := flag.Bool("empty", false, "remove all objects of the bucket")
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
		return errors.New("AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB name no emulator: this is not for a real account")
	}
	s := store{clients: clients, name: name}
	if empty {
		return s.empty(ctx)
	}
	if err := s.expire(ctx, later); err != nil {
		return err
	}
	return s.report(ctx, unrecorded)
}

// store is a bucket and a table of one name.
type store struct {
	clients awsenv.Clients
	name    string
}

// expire has the registry end what would have expired by then.
func (s store) expire(ctx context.Context, later time.Duration) error {
	reg := registry.New(ddbmeta.New(s.clients.Dynamo, s.name), s3blobs.New(s.clients.S3, s.name, s3blobs.Options{}),
		registry.Options{Now: func() time.Time { return time.Now().Add(later) }})
	for {
		expired, err := reg.ExpireUploads(ctx, 1000)
		if err != nil {
			return err
		}
		fmt.Printf("expired: %+v\n", expired)
		if !expired.More {
			return nil
		}
	}
}

// report prints what is left, and fails if anything is: objects that are no blob's,
// uploads that are open, parts that nobody completes. What lies under tails/ is the
// bucket's lifecycle rule's.
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

// live reports whether the row of an object's key says that it is a blob's: the prefix
// and the names of rows are those of pkg/registry/s3blobs and pkg/registry.
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

// openUploads are the rows of uploads that did not end.
func (s store) openUploads(ctx context.Context) ([]string, error) {
	var left []string
	pages := dynamodb.NewScanPaginator(s.clients.Dynamo, &dynamodb.ScanInput{TableName: &s.name, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if pk := text(item["pk"]); strings.HasPrefix(pk, "K#") && state(item) == "open" || strings.HasPrefix(pk, "Q#U") {
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
