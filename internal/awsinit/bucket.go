// Package awsinit creates the bucket and the table of a registry, as 'pierless init' does.
// The template creates the same for the functions, which have no permission to: its tests
// compare the two.
//
// It must not know the meaning of objects and rows.
package awsinit

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const (
	// garbageDays is how long unfinished uploads and tails stay: longer than any session.
	garbageDays = 7
	// noConstraint is the one region that S3 wants left out.
	noConstraint = "us-east-1"
	ruleTails    = "pierless-tails"
	ruleUploads  = "pierless-uploads"
)

// CreateBucket creates the bucket, blocks public access and adds lifecycle rules that
// remove the garbage of crashed uploads. It may be repeated, and keeps rules of others.
// Warnings name the features that the server, if it is not AWS, does not implement.
func CreateBucket(ctx context.Context, client *s3.Client, bucket, region string) (warnings []string, err error) {
	input := &s3.CreateBucketInput{Bucket: aws.String(bucket)}
	if region != noConstraint && region != "" {
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(region),
		}
	}
	var own *types.BucketAlreadyOwnedByYou
	if _, err := client.CreateBucket(ctx, input); err != nil && !errors.As(err, &own) {
		return nil, fmt.Errorf("creating bucket %s: %w", bucket, err)
	}
	for _, step := range []struct {
		what string
		do   func(context.Context, *s3.Client, string) error
	}{
		{"closing it to the public", blockPublic},
		{"setting its lifecycle rules", setLifecycle},
	} {
		err := step.do(ctx, client, bucket)
		if notImplemented(err) {
			warnings = append(warnings, fmt.Sprintf("bucket %s: %s: the server cannot do this", bucket, step.what))
			continue
		}
		if err != nil {
			return warnings, fmt.Errorf("bucket %s: %s: %w", bucket, step.what, err)
		}
	}
	return warnings, nil
}

func notImplemented(err error) bool {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		status := response.HTTPStatusCode()
		return status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed
	}
	return false
}

func blockPublic(ctx context.Context, client *s3.Client, bucket string) error {
	_, err := client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
		Bucket: aws.String(bucket),
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true),
			IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
		},
	})
	return err
}

// setLifecycle adds our rules to those that are there: S3 only replaces all of them.
func setLifecycle(ctx context.Context, client *s3.Client, bucket string) error {
	out, err := client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{
		Bucket: aws.String(bucket),
	})
	var api smithy.APIError
	if err != nil && (!errors.As(err, &api) || api.ErrorCode() != "NoSuchLifecycleConfiguration") {
		return err
	}
	rules := ourRules()
	if out != nil {
		for _, rule := range out.Rules {
			if id := aws.ToString(rule.ID); id != ruleTails && id != ruleUploads {
				rules = append(rules, rule)
			}
		}
	}
	_, err = client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
		Bucket:                 aws.String(bucket),
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: rules},
	})
	return err
}

func ourRules() []types.LifecycleRule {
	return []types.LifecycleRule{{
		ID: aws.String(ruleTails), Status: types.ExpirationStatusEnabled,
		Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("tails/")},
		Expiration: &types.LifecycleExpiration{Days: aws.Int32(garbageDays)},
	}, {
		ID: aws.String(ruleUploads), Status: types.ExpirationStatusEnabled,
		Filter: &types.LifecycleRuleFilter{Prefix: aws.String("blobs/")},
		AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{
			DaysAfterInitiation: aws.Int32(garbageDays),
		},
	}}
}
