package ddbmeta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/registry"
)

const (
	// batchSize is the number of keys that one BatchGetItem may ask for.
	batchSize = 100
	// batchParallel bounds the requests of one Get that are in flight.
	batchParallel = 4
	// batchTries is how often a batch may make no progress before Get gives up, after two to
	// three seconds.
	batchTries = 6
)

// Get reads rows by key, each strongly. It takes one request for one key, and one per 100
// keys for several.
func (n *Metadata) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	rows := make([]registry.Row, len(keys))
	switch len(keys) {
	case 0:
		return rows, nil
	case 1:
		row, err := n.getOne(ctx, keys[0])
		rows[0] = row
		return rows, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(batchParallel)
	for from := 0; from < len(keys); from += batchSize {
		to := min(from+batchSize, len(keys))
		group.Go(func() error { return n.getBatch(ctx, keys[from:to], rows[from:to]) })
	}
	return rows, group.Wait()
}

func (n *Metadata) getOne(ctx context.Context, key registry.Key) (registry.Row, error) {
	encoded, err := encodeKey(key)
	if err != nil {
		return registry.Row{}, err
	}
	out, err := n.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: n.table, Key: encoded, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return registry.Row{}, failure(err)
	}
	return decodeFound(key, out.Item)
}

// getBatch reads at most batchSize rows. DynamoDB leaves keys unprocessed because 16 MB
// were full, or because it is overloaded; the latter is met with a growing pause.
func (n *Metadata) getBatch(ctx context.Context, keys []registry.Key, rows []registry.Row) error {
	index := make(map[registry.Key]int, len(keys))
	left := make([]map[string]types.AttributeValue, len(keys))
	for i, key := range keys {
		encoded, err := encodeKey(key)
		if err != nil {
			return err
		}
		index[key], left[i], rows[i] = i, encoded, registry.Row{Key: key}
	}
	for idle := 0; len(left) > 0; idle++ {
		out, err := n.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
			RequestItems: map[string]types.KeysAndAttributes{
				*n.table: {Keys: left, ConsistentRead: aws.Bool(true)},
			},
		})
		if err != nil {
			return failure(err)
		}
		// The map has one entry, under the table's name or, if that is an ARN, possibly its name.
		for _, items := range out.Responses {
			for _, item := range items {
				row, err := decodeRow(item)
				if err != nil {
					return err
				}
				if i, asked := index[row.Key]; asked {
					rows[i] = row
				}
			}
		}
		before := len(left)
		left = nil
		for _, unread := range out.UnprocessedKeys {
			left = append(left, unread.Keys...)
		}
		if len(left) < before {
			idle = 0
		}
		if len(left) > 0 {
			if idle == batchTries {
				return fmt.Errorf("%w: %w: rows stay unread", registry.ErrContended, registry.ErrUnavailable)
			}
			if err := pause(ctx, idle); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause waits 25 ms to 3.2 s, longer with each try, jittered, unless ctx ends.
func pause(ctx context.Context, try int) error {
	longest := 50 * time.Millisecond << min(try, 6)
	return registry.Sleep(ctx, longest/2+rand.N(longest/2)) // spreads load, hides nothing
}
