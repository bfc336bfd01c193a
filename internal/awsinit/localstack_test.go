//go:build localstack

package awsinit_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/awsinit"
	"github.com/pierless/pierless/internal/storetest"
)

func TestCreateTable(t *testing.T) {
	clients, name := storetest.Create(t)
	plain := clients.Dynamo
	if err := awsinit.CreateTable(t.Context(), plain, name); err != nil {
		t.Errorf("once more: %v", err)
	}
	ttl, err := plain.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(name)})
	if err != nil || aws.ToString(ttl.TimeToLiveDescription.AttributeName) != "ttl" {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	other := aws.String(name + "-other")
	_, err = plain.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: other, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = plain.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: other})
	})
	if err := awsinit.CreateTable(t.Context(), plain, *other); err == nil || !strings.Contains(err.Error(), `"id"`) {
		t.Errorf("a table with other keys: %v", err)
	}
}

func TestCreateBucket(t *testing.T) {
	for _, region := range []string{"us-east-1", "eu-central-1"} {
		clients, name := storetest.Create(t)
		c := s3.New(clients.S3.Options(), func(o *s3.Options) { o.Region = region })
		name += "-" + region
		for range 2 {
			if _, err := awsinit.CreateBucket(t.Context(), c, name, region); err != nil {
				t.Errorf("%s: %v", region, err)
			}
		}
		rules, err := c.GetBucketLifecycleConfiguration(t.Context(), &s3.GetBucketLifecycleConfigurationInput{Bucket: &name})
		if err != nil {
			t.Log(err) // other S3 servers
			continue
		}
		if len(rules.Rules) != 2 {
			t.Errorf("%d rules", len(rules.Rules))
		}
	}
}
