//go:build localstack

package storetest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/awsinit"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// Embedded says which store Open opens.
const Embedded = false

// Open returns a bucket and a table of the test's own, at the endpoints that
// AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_DYNAMODB name.
func Open(t *testing.T) (registry.Metadata, registry.Blobs) {
	t.Helper()
	clients, name := Create(t)
	return ddbmeta.New(clients.Dynamo, name), s3blobs.New(clients.S3, name, s3blobs.Options{})
}

// OpenDirect is Open: S3 has direct uploads.
func OpenDirect(t *testing.T) (registry.Metadata, registry.Blobs) {
	t.Helper()
	return Open(t)
}

// Create makes the bucket and the table, of one name, for tests that need the
// clients themselves.
func Create(t *testing.T) (clients awsenv.Clients, name string) {
	t.Helper()
	name = "test-" + strings.ToLower(rand.Text())
	clients, err := awsenv.Load(t.Context(), awsenv.Settings{Bucket: name, Table: name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsinit.CreateBucket(t.Context(), clients.S3, name, clients.S3.Options().Region); err != nil {
		t.Fatal(err)
	}
	if err := awsinit.CreateTable(t.Context(), clients.Dynamo, name); err != nil {
		t.Fatal(err)
	}
	return clients, name
}
