//go:build localstack

package ddbmeta_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/awsinit"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/registrytest"
)

// client returns a client of the endpoint under test, with middlewares.
func client(t *testing.T, layers ...func(*middleware.Stack) error) *dynamodb.Client {
	t.Helper()
	if os.Getenv("AWS_ENDPOINT_URL_DYNAMODB") == "" {
		t.Fatal("AWS_ENDPOINT_URL_DYNAMODB is not set: start LocalStack first (localstack/up.sh)")
	}
	clients, err := awsenv.Load(t.Context(), awsenv.Settings{Bucket: "none", Table: "none"})
	if err != nil {
		t.Fatal(err)
	}
	return dynamodb.New(clients.Dynamo.Options(), func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, layers...)
	})
}

// table makes a table that goes with the test.
func table(t *testing.T) string {
	t.Helper()
	name := "names-" + strings.ToLower(rand.Text())
	plain := client(t)
	if err := awsinit.CreateTable(t.Context(), plain, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := plain.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: aws.String(name)})
		if err != nil {
			t.Error(err)
		}
	})
	return name
}

func suite(t *testing.T, layers ...func(*middleware.Stack) error) {
	t.Helper()
	name := table(t)
	registrytest.Metadata(t, func(t *testing.T) registry.Metadata {
		t.Helper()
		return ddbmeta.New(client(t, layers...), name)
	})
}

func TestContract(t *testing.T) { suite(t) }

// Reads that are not strongly consistent may be as stale as they like: here they
// see an empty table.
func TestContractWithStaleReads(t *testing.T) {
	suite(t, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("stale", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (out middleware.InitializeOutput, metadata middleware.Metadata, err error) {
			switch input := in.Parameters.(type) {
			case *dynamodb.GetItemInput:
				if !aws.ToBool(input.ConsistentRead) {
					out.Result = &dynamodb.GetItemOutput{}
					return out, metadata, nil
				}
			case *dynamodb.QueryInput:
				if !aws.ToBool(input.ConsistentRead) {
					out.Result = &dynamodb.QueryOutput{}
					return out, metadata, nil
				}
			case *dynamodb.BatchGetItemInput:
				for _, keys := range input.RequestItems {
					if !aws.ToBool(keys.ConsistentRead) {
						out.Result = &dynamodb.BatchGetItemOutput{}
						return out, metadata, nil
					}
				}
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	})
}

// perAttempt runs f around each attempt of an operation, inside of the SDK's retries.
func perAttempt(f func(operation string, send func() error) error) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		layer := middleware.FinalizeMiddlewareFunc("perAttempt", func(
			ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
		) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
			err = f(middleware.GetOperationName(ctx), func() (err error) {
				out, metadata, err = next.HandleFinalize(ctx, in)
				return err
			})
			return out, metadata, err
		})
		return stack.Finalize.Insert(layer, "Retry", middleware.After)
	}
}

// Every third request to write meets another transaction.
func TestContractWithContention(t *testing.T) {
	var calls atomic.Int64
	suite(t, perAttempt(func(operation string, send func() error) error {
		switch operation {
		case "TransactWriteItems":
			if calls.Add(1)%3 == 0 {
				return &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{
					{Code: aws.String("ConditionalCheckFailed")}, {Code: aws.String("TransactionConflict")},
				}}
			}
		case "PutItem", "UpdateItem", "DeleteItem":
			if calls.Add(1)%3 == 0 {
				return &types.TransactionConflictException{}
			}
		}
		return send()
	}))
}

// lostAnswer is an error after which the SDK tries again.
type lostAnswer struct{}

func (lostAnswer) Error() string         { return "the answer got lost" }
func (lostAnswer) ConnectionError() bool { return true }

// losing loses the answer to every second write that was applied.
func losing(writes *atomic.Int64) func(*middleware.Stack) error {
	return perAttempt(func(operation string, send func() error) error {
		err := send()
		switch operation {
		case "TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem":
			if err == nil && writes.Add(1)%2 == 1 {
				return lostAnswer{}
			}
		}
		return err
	})
}

func TestLostAnswers(t *testing.T) {
	name := table(t)
	var writes atomic.Int64
	meta := ddbmeta.New(client(t, losing(&writes)), name)
	key := registry.Key{PK: "p", SK: "s"}
	absent := registry.Absent()
	add := registry.Write{Key: key, Add: map[string]int64{"n": 1}}

	// A token makes a transaction count once, whatever it does.
	for _, token := range []string{rand.Text(), ""} {
		writes.Store(0)
		if err := meta.Transact(t.Context(), token, add); err != nil {
			t.Fatal(err)
		}
	}
	if n := value(t, meta, key); n != 2 {
		t.Errorf("two transactions counted %d times", n)
	}
	// Without a token nothing tells a second time from the first: the caller must hear of it.
	writes.Store(0)
	if _, err := meta.Update(t.Context(), add); !errors.As(err, new(lostAnswer)) {
		t.Errorf("a lost addition: %v", err)
	}
	if n := value(t, meta, key); n != 3 {
		t.Errorf("the lost addition left %d", n)
	}
	// A condition that the write itself makes false lets the SDK try again, and its
	// conflict shows the write's own values.
	writes.Store(0)
	guarded := add
	guarded.If = registry.All(registry.Exists(), registry.Equal("n", int64(3)))
	var conflict *registry.Conflict
	if _, err := meta.Update(t.Context(), guarded); !errors.As(err, &conflict) {
		t.Errorf("a lost guarded addition: %v", err)
	} else if n := conflict.Old[0].Attrs["n"]; n != int64(4) {
		t.Errorf("the conflict shows %v", n)
	}
	// What is set twice is set.
	for _, w := range []registry.Write{
		{Key: key, Attrs: registry.Attrs{"n": int64(9)}},
		{Key: key, Op: registry.Put, Attrs: registry.Attrs{"n": int64(9)}},
		{Key: key, Op: registry.Delete},
	} {
		writes.Store(0)
		if _, err := meta.Update(t.Context(), w); err != nil {
			t.Errorf("operation %d: %v", w.Op, err)
		}
	}
	// A creation meets itself.
	writes.Store(0)
	if _, err := meta.Update(t.Context(), registry.Write{
		Key: key, Op: registry.Put, If: absent, Attrs: registry.Attrs{"by": "me"},
	}); !errors.As(err, &conflict) || conflict.Old[0].Attrs["by"] != "me" {
		t.Errorf("a lost creation: %v", err)
	}
}

func value(t *testing.T, meta *ddbmeta.Metadata, key registry.Key) int64 {
	t.Helper()
	rows, err := meta.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := rows[0].Attrs["n"].(int64)
	return n
}

// DynamoDB may leave keys of a batch unread.
func TestUnprocessedKeys(t *testing.T) {
	name := table(t)
	meta := ddbmeta.New(client(t), name)
	var keys []registry.Key
	for i := range 230 {
		key := registry.Key{PK: "p", SK: strings.Repeat("x", i+1)}
		if i%3 != 0 {
			if _, err := meta.Update(t.Context(), registry.Write{Key: key, Attrs: registry.Attrs{"n": int64(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		keys = append(keys, key)
	}
	var calls atomic.Int64
	lazy := func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("lazy", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			input, ok := in.Parameters.(*dynamodb.BatchGetItemInput)
			if !ok {
				return next.HandleInitialize(ctx, in)
			}
			calls.Add(1)
			some := *input
			all := input.RequestItems[name]
			cut := min(len(all.Keys), 40)
			some.RequestItems = map[string]types.KeysAndAttributes{name: {Keys: all.Keys[:cut], ConsistentRead: all.ConsistentRead}}
			in.Parameters = &some
			out, metadata, err := next.HandleInitialize(ctx, in)
			if result, ok := out.Result.(*dynamodb.BatchGetItemOutput); ok && cut < len(all.Keys) {
				result.UnprocessedKeys = map[string]types.KeysAndAttributes{name: {Keys: all.Keys[cut:]}}
			}
			return out, metadata, err
		}), middleware.After)
	}
	rows, err := ddbmeta.New(client(t, lazy), name).Get(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		if row.Key != keys[i] || (row.Attrs == nil) != (i%3 == 0) || row.Attrs != nil && row.Attrs["n"] != int64(i) {
			t.Errorf("row %d is %v", i, row.Attrs)
		}
	}
	if calls.Load() != 7 {
		t.Errorf("%d calls, want 3 + 3 + 1", calls.Load())
	}
}

// The token says that the transaction is the same: if it is not, that is a bug of
// the caller, which must show.
func TestTokenOfAnotherTransaction(t *testing.T) {
	meta := ddbmeta.New(client(t), table(t))
	token := rand.Text()
	write := registry.Write{Key: registry.Key{PK: "p", SK: "s"}, Attrs: registry.Attrs{"a": "b"}}
	if err := meta.Transact(t.Context(), token, write); err != nil {
		t.Fatal(err)
	}
	write.Attrs = registry.Attrs{"a": "c"}
	var mismatch *types.IdempotentParameterMismatchException
	if err := meta.Transact(t.Context(), token, write); !errors.As(err, &mismatch) {
		t.Errorf("error is %v", err)
	}
}
