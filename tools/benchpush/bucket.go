package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func newBucket(ctx context.Context) (string, error) {
	client, err := newS3(ctx)
	if err != nil {
		return "", err
	}
	name := newName()
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return "", fmt.Errorf("create a bucket: %w", err)
	}
	return name, nil
}

// emptyBucket gives the disk space back before the next one begins.
func emptyBucket(ctx context.Context, bucket string) error {
	client, err := newS3(ctx)
	if err != nil {
		return err
	}
	return eachObject(ctx, client, bucket, func(key string, _ int64) error {
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		return err
	})
}

// checkStored fails unless all bytes of the layers are in the bucket: what was not sent
// was not measured.
func checkStored(ctx context.Context, bucket string, total int64) error {
	client, err := newS3(ctx)
	if err != nil {
		return err
	}
	var stored int64
	err = eachObject(ctx, client, bucket, func(_ string, size int64) error {
		stored += size
		return nil
	})
	if err == nil && stored < total {
		err = fmt.Errorf("the bucket has %d bytes, the layers %d", stored, total)
	}
	return err
}

func eachObject(ctx context.Context, client *s3.Client, bucket string, do func(key string, size int64) error) error {
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list the bucket: %w", err)
		}
		for _, object := range page.Contents {
			if err := do(aws.ToString(object.Key), aws.ToInt64(object.Size)); err != nil {
				return err
			}
		}
	}
	return nil
}
