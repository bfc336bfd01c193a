package server_test

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// trace lists the calls of the stores, which a request may make concurrently.
type trace struct {
	mu    sync.Mutex
	taken []string
}

func (c *trace) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = append(c.taken, fmt.Sprintf(format, args...))
}

type countedMetadata struct {
	registry.Metadata
	*trace
}

// Get implements registry.Metadata.
func (m countedMetadata) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	m.add("Get of %d", len(keys))
	return m.Metadata.Get(ctx, keys...)
}

// Query implements registry.Metadata.
func (m countedMetadata) Query(ctx context.Context, q registry.Query) (registry.Page, error) {
	m.add("Query of %d", q.Limit)
	return m.Metadata.Query(ctx, q)
}

// Update implements registry.Metadata.
func (m countedMetadata) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	m.add("Update")
	return m.Metadata.Update(ctx, w)
}

// Transact implements registry.Metadata.
func (m countedMetadata) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	m.add("Transact of %d", len(writes))
	return m.Metadata.Transact(ctx, token, writes...)
}

// countedBlobs embeds the calls that no request of TestHidden makes.
type countedBlobs struct {
	registry.Blobs
	*trace
}

// Put implements registry.Blobs.
func (b countedBlobs) Put(ctx context.Context, key string, content []byte) error {
	b.add("Put")
	return b.Blobs.Put(ctx, key, content)
}

// Append implements registry.Blobs.
func (b countedBlobs) Append(ctx context.Context, key string, claim registry.Claim, stored registry.Stored, body io.Reader) (registry.Stored, error) {
	b.add("Append")
	return b.Blobs.Append(ctx, key, claim, stored, body)
}

// Open implements registry.Blobs.
func (b countedBlobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.add("Open")
	return b.Blobs.Open(ctx, key, offset, length)
}

// Stat implements registry.Blobs.
func (b countedBlobs) Stat(ctx context.Context, key string, sum bool) (int64, oci.Digest, error) {
	b.add("Stat")
	return b.Blobs.Stat(ctx, key, sum)
}

// Discard implements registry.Blobs.
func (b countedBlobs) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	b.add("Discard")
	return b.Blobs.Discard(ctx, key, stored, keep)
}

// Delete implements registry.Blobs.
func (b countedBlobs) Delete(ctx context.Context, key string) error {
	b.add("Delete")
	return b.Blobs.Delete(ctx, key)
}

// StartParts implements registry.Blobs.
func (b countedBlobs) StartParts(ctx context.Context, key string) (registry.Stored, error) {
	b.add("StartParts")
	return b.Blobs.StartParts(ctx, key)
}
