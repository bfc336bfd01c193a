//go:build localstack

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// cloud is a registry on S3 and DynamoDB.
type cloud struct {
	t       *testing.T
	clients awsenv.Clients
	name    string
	reg     *registry.Registry
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	if os.Getenv("AWS_ENDPOINT_URL_S3") == "" {
		t.Fatal("AWS_ENDPOINT_URL_S3 is not set: start LocalStack first (localstack/up.sh)")
	}
	clients, name := storetest.Create(t)
	reg := registry.New(ddbmeta.New(clients.Dynamo, name), s3blobs.New(clients.S3, name, s3blobs.Options{}), registry.Options{})
	return cloud{t, clients, name, reg}
}

// scrub runs the command.
func (c cloud) scrub(args ...string) (r scrubReport, status int) {
	c.t.Helper()
	out, wait := startEnded(c.t, append([]string{"scrub", "--bucket", c.name, "--table", c.name, "--json"}, args...)...)
	err := wait()
	if err != nil {
		status = exitCode(err)
	}
	if unmarshalErr := json.Unmarshal([]byte(out.String()), &r); unmarshalErr != nil {
		c.t.Fatalf("%v, %v: %s", err, unmarshalErr, out)
	}
	return r, status
}

// push pushes an image as a client that asks for each blob first.
func (c cloud) push(ctx context.Context, repo, tag string, layers ...string) error {
	var descriptors []string
	for _, content := range append([]string{"config"}, layers...) {
		d := oci.SHA256.FromBytes([]byte(content))
		if _, err := c.reg.FindBlob(ctx, repo, d, true); err != nil {
			if err := c.reg.PushBlob(ctx, repo, d, int64(len(content)), strings.NewReader(content)); err != nil {
				return err
			}
		}
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, d, len(content)))
	}
	_, err := c.reg.PushManifest(ctx, repo, registry.ManifestPush{
		Tags: []string{tag}, ContentType: oci.MediaTypeImageManifest,
		Content: fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[%s]}`, descriptors[0], strings.Join(descriptors[1:], ",")),
	})
	return err
}

func (c cloud) mustPush(tag string, layers ...string) {
	c.t.Helper()
	if err := c.push(c.t.Context(), "app", tag, layers...); err != nil {
		c.t.Fatal(err)
	}
}

// object returns the name of the object with this content.
func (c cloud) object(content string) *string {
	c.t.Helper()
	out, err := c.clients.Dynamo.GetItem(c.t.Context(), &dynamodb.GetItemInput{TableName: &c.name, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "B#" + string(oci.SHA256.FromBytes([]byte(content)))}, "sk": &types.AttributeValueMemberS{Value: "B"},
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	key, _ := out.Item["k"].(*types.AttributeValueMemberS)
	return aws.String("blobs/" + key.Value)
}

func (c cloud) put(object *string, content string) {
	c.t.Helper()
	if _, err := c.clients.S3.PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: &c.name, Key: object, Body: strings.NewReader(content)}); err != nil {
		c.t.Fatal(err)
	}
}

func (c cloud) remove(object *string) {
	c.t.Helper()
	if _, err := c.clients.S3.DeleteObject(c.t.Context(), &s3.DeleteObjectInput{Bucket: &c.name, Key: object}); err != nil {
		c.t.Fatal(err)
	}
}

// TestScrubOnAWS: each fault of an object is found and mended.
func TestScrubOnAWS(t *testing.T) {
	c := newCloud(t)
	c.mustPush("v1", "lost", "cut", "flip", "fine")
	if r, status := c.scrub("--hash"); status != 0 || r.Objects != 5 || r.Hashed != 5 {
		t.Fatalf("clean: status %d, %+v", status, r)
	}
	c.remove(c.object("lost"))
	c.put(c.object("cut"), "cu")
	c.put(c.object("flip"), "flop")
	c.put(aws.String("blobs/"+strings.Repeat("0", 64)), "orphan")
	want := []registry.Problem{registry.Damaged, registry.Lost, registry.Orphan, registry.WrongSize}
	for _, args := range [][]string{{"--hash"}, {"--hash", "--repair"}} {
		r, status := c.scrub(args...)
		var problems []registry.Problem
		for _, f := range r.Findings {
			problems = append(problems, f.Problem)
		}
		slices.Sort(problems)
		if status != 1 || !slices.Equal(problems, want) || len(r.Images) != 1 || len(r.Images[0].Broken) != 3 {
			t.Errorf("%v: status %d, %+v", args, status, r)
		}
	}
	c.mustPush("v1", "lost", "cut", "flip", "fine")
	if r, _ := c.scrub("--hash"); len(r.Images) > 0 || len(r.Findings) != 1 || r.Findings[0].Problem != registry.Orphan {
		t.Errorf("after a push: %+v", r)
	}
}

// TestScrubBesidePushes: pushes, deletes and sweeps while it runs are no findings.
func TestScrubBesidePushes(t *testing.T) {
	c := newCloud(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var pushed atomic.Int64
	var group errgroup.Group
	for i := range 4 {
		group.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				repo, tag := fmt.Sprint("app", i%2), fmt.Sprint("v", i)
				if err := c.push(t.Context(), repo, tag, "shared", fmt.Sprint("layer ", i, n)); err != nil {
					return err
				}
				pushed.Add(1)
				m, err := c.reg.FindManifest(t.Context(), repo, oci.Reference{Tag: tag})
				if err == nil {
					err = c.reg.DeleteManifest(t.Context(), repo, m.Digest)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	scrubs := 0
	for ; ctx.Err() == nil; scrubs++ {
		if r, status := c.scrub("--hash", "--repair"); status != 0 || len(r.Findings) > 0 {
			t.Fatalf("status %d, %+v", status, r)
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if scrubs < 2 || pushed.Load() < 10 {
		t.Errorf("only %d scrubs beside %d pushes", scrubs, pushed.Load())
	}
}

// TestRestoreDrillOnAWS: a table with the rows of an earlier time, as a point-in-time recovery makes
// it, beside the bucket of today.
func TestRestoreDrillOnAWS(t *testing.T) {
	c := newCloud(t)
	c.mustPush("a", "shared", "only a")
	snapshot, err := c.clients.Dynamo.Scan(t.Context(), &dynamodb.ScanInput{TableName: &c.name, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	c.mustPush("b", "shared", "only b")
	c.remove(c.object("only a")) // as the sweep does after a delete of a
	later, err := c.clients.Dynamo.Scan(t.Context(), &dynamodb.ScanInput{TableName: &c.name, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range later.Items {
		key := map[string]types.AttributeValue{"pk": item["pk"], "sk": item["sk"]}
		if _, err := c.clients.Dynamo.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &c.name, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, item := range snapshot.Items {
		if _, err := c.clients.Dynamo.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &c.name, Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	r, status := c.scrub("--hash", "--repair")
	if status != 1 || len(r.Findings) != 2 || len(r.Images) != 1 || !slices.Equal(r.Images[0].Tags, []string{"a"}) {
		t.Fatalf("status %d, %+v", status, r)
	}
	c.mustPush("a", "shared", "only a")
	c.mustPush("b", "shared", "only b")
	r, _ = c.scrub("--hash", "--repair")
	if len(r.Images) > 0 || len(r.Findings) != 1 || r.Findings[0].Problem != registry.Orphan || r.Findings[0].Digest != oci.SHA256.FromBytes([]byte("only b")) {
		t.Errorf("after the pushes: %+v", r)
	}
}
