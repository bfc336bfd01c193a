package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/awsinit"
	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/local"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// store is the storage of a registry: the embedded one, or S3 and DynamoDB.
type store struct {
	meta  registry.Metadata
	blobs registry.Blobs
	// objects and rows list the store, for scrub.
	objects registry.ObjectLister
	rows    registry.RowScanner
	// check makes one read of each port. Its error is for the operator, not for clients.
	check func(context.Context) error
	close func() error
}

// checkIn calls check with a timeout.
func (s store) checkIn(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.check(ctx)
}

func openStore(ctx context.Context, c env.Config) (store, error) {
	if !c.OnAWS() {
		s, err := local.Open(c.Data)
		if err != nil {
			return store{}, fmt.Errorf("open the embedded store: %w", err)
		}
		return store{
			meta: s.Metadata(), blobs: s.Blobs(), objects: s.Objects(), rows: s.Rows(), check: s.Check, close: s.Close,
		}, nil
	}
	clients, err := awsenv.Load(ctx, settings(c))
	if err != nil {
		return store{}, err
	}
	meta := ddbmeta.New(clients.Dynamo, c.Table)
	blobs := s3blobs.New(clients.S3, c.Bucket, s3blobs.Options{SSE: c.SSE, KMSKeyID: c.KMSKey})
	check := func(ctx context.Context) error {
		if err := awsenv.CheckCredentials(ctx, clients); err != nil {
			return err
		}
		if err := meta.Check(ctx); err != nil {
			return err
		}
		return blobs.Check(ctx)
	}
	return store{
		meta: meta, blobs: blobs, objects: blobs, rows: meta, check: check, close: func() error { return nil },
	}, nil
}

// createStore creates the bucket and the table. The warnings name settings that the endpoint
// does not support.
func createStore(ctx context.Context, c env.Config) (warnings []string, err error) {
	clients, err := awsenv.Load(ctx, settings(c))
	if err != nil {
		return nil, err
	}
	warnings, err = awsinit.CreateBucket(ctx, clients.S3, c.Bucket, clients.S3.Options().Region)
	if err != nil {
		return nil, err
	}
	return warnings, awsinit.CreateTable(ctx, clients.Dynamo, c.Table)
}

func settings(c env.Config) awsenv.Settings {
	return awsenv.Settings{Bucket: c.Bucket, Table: c.Table, SSE: c.SSE, KMSKeyID: c.KMSKey, DualStack: c.DualStack}
}
