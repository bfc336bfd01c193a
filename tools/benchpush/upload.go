package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// uploadCommand is the word that makes this program the transfer manager's process.
const uploadCommand = "upload"

// upload sends files with the transfer manager, as it is without settings: parts of
// 8 MiB, five of a file at once, with a checksum.
func upload(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(uploadCommand, flag.ContinueOnError)
	bucket := flags.String("bucket", "", "where to")
	atOnce := flags.Int("at-once", 1, "files at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := newS3(ctx)
	if err != nil {
		return err
	}
	manager := transfermanager.New(client)
	var (
		errs = make([]error, flags.NArg())
		free = make(chan struct{}, *atOnce)
		all  sync.WaitGroup
	)
	for i, name := range flags.Args() {
		free <- struct{}{}
		all.Go(func() {
			errs[i] = uploadFile(ctx, manager, *bucket, name)
			<-free
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func uploadFile(ctx context.Context, manager *transfermanager.Client, bucket, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = manager.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &bucket, Key: aws.String(filepath.Base(name)), Body: file,
	})
	return err
}

// newS3 takes endpoint, region and credentials from the environment.
func newS3(ctx context.Context) (*s3.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), nil
}
