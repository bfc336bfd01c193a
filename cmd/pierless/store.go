package main

import (
	"context"
	"fmt"

	"github.com/pierless/pierless/pkg/awsenv"
	"github.com/pierless/pierless/pkg/ddbnames"
	"github.com/pierless/pierless/pkg/env"
	"github.com/pierless/pierless/pkg/local"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/s3blobs"
)

// openStore returns the ports that the configuration asks for.
func openStore(ctx context.Context, c env.Config) (registry.Names, registry.Blobs, func() error, error) {
	if !c.OnAWS() {
		store, err := local.Open(c.Data)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("open the embedded store: %w", err)
		}
		return store.Names(), store.Blobs(), store.Close, nil
	}
	clients, err := awsenv.Load(ctx, settings(c))
	if err != nil {
		return nil, nil, nil, err
	}
	names := ddbnames.New(clients.Dynamo, c.Table)
	blobs := s3blobs.New(clients.S3, c.Bucket, s3blobs.Options{SSE: c.SSE, KMSKeyID: c.KMSKey})
	return names, blobs, func() error { return nil }, nil
}

// createStore creates bucket and table. It returns what the endpoint could not do.
func createStore(ctx context.Context, c env.Config) (warnings []string, err error) {
	clients, err := awsenv.Load(ctx, settings(c))
	if err != nil {
		return nil, err
	}
	warnings, err = s3blobs.CreateBucket(ctx, clients.S3, c.Bucket, clients.S3.Options().Region)
	if err != nil {
		return nil, err
	}
	return warnings, ddbnames.CreateTable(ctx, clients.Dynamo, c.Table)
}

func settings(c env.Config) awsenv.Settings {
	return awsenv.Settings{Bucket: c.Bucket, Table: c.Table, SSE: c.SSE, KMSKeyID: c.KMSKey}
}
