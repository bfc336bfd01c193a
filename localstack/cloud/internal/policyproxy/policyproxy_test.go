package policyproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

const tableARN = "arn:aws:dynamodb:us-east-1:000000000000:table/names"

// world is a proxy in front of a server that answers everything with 200, and SDK
// clients of the function F.
type world struct {
	*Proxy
	server *httptest.Server
	log    bytes.Buffer
	seen   *http.Request
	status int
	s3     *s3.Client
	dynamo *dynamodb.Client
}

func newWorld(t *testing.T, statements ...any) *world {
	t.Helper()
	w := &world{status: http.StatusOK}
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.seen = r
		if r.Header.Get("X-Amz-Target") != "" {
			rw.Header().Set("Content-Type", "application/x-amz-json-1.0")
			_, _ = io.WriteString(rw, "{}")
			return
		}
		rw.WriteHeader(w.status)
	}))
	t.Cleanup(upstream.Close)
	policy, err := iam.Parse(statements)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := url.Parse(upstream.URL)
	w.Proxy = New(address, Config{
		Region: "us-east-1", AccountID: "000000000000", HashKeys: map[string]string{"names": "pk"},
		Principals: map[string]Principal{"F": {Name: "F", Policy: policy}},
	}, slog.New(slog.NewTextHandler(&w.log, nil)))
	w.server = httptest.NewServer(w.Proxy)
	t.Cleanup(w.server.Close)
	w.as("F")
	return w
}

func (w *world) as(key string) {
	config := aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.server.URL, Credentials: credentials.NewStaticCredentialsProvider(key, "test", "token"),
		RetryMaxAttempts: 3,
	}
	w.s3 = s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
	w.dynamo = dynamodb.NewFromConfig(config)
}

func allow(action, resource string, keys ...any) any {
	m := map[string]any{"Effect": "Allow", "Action": action, "Resource": resource}
	if keys != nil {
		m["Condition"] = map[string]any{"ForAllValues:StringLike": map[string]any{iam.KeyLeadingKeys: keys}}
	}
	return m
}

func item(pk string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: "s"},
	}
}

var (
	bucket, object, names = aws.String("bytes"), aws.String("blobs/a b"), aws.String("names")
	uploadID              = aws.String("id")
)

// s3Operations and dynamoOperations have the permissions that each call of the SDK
// needs: actions on resources, and leading keys.
func s3Operations() map[string]func(context.Context, *s3.Client) error {
	drop := func(_ any, err error) error { return err }
	return map[string]func(context.Context, *s3.Client) error{
		"s3:GetObject bytes/blobs/a b": func(ctx context.Context, c *s3.Client) error {
			return drop(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: object}))
		},
		"s3:GetObject bytes/blobs/a b ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: object}))
		},
		"s3:PutObject bytes/blobs/a b": func(ctx context.Context, c *s3.Client) error {
			return drop(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: object, Body: strings.NewReader("x")}))
		},
		"s3:DeleteObject bytes/blobs/a b": func(ctx context.Context, c *s3.Client) error {
			return drop(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: object}))
		},
		"s3:DeleteObject bytes/blobs/a b ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &s3types.Delete{Objects: []s3types.ObjectIdentifier{{Key: object}}}}))
		},
		"s3:PutObject bytes/blobs/a b  ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: object}))
		},
		"s3:PutObject bytes/blobs/a b   ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: object, UploadId: uploadID, PartNumber: aws.Int32(1), Body: strings.NewReader("x")}))
		},
		"s3:PutObject bytes/blobs/a b    ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: object, UploadId: uploadID}))
		},
		"s3:AbortMultipartUpload bytes/blobs/a b": func(ctx context.Context, c *s3.Client) error {
			return drop(c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: object, UploadId: uploadID}))
		},
		"s3:ListMultipartUploadParts bytes/blobs/a b": func(ctx context.Context, c *s3.Client) error {
			return drop(c.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: object, UploadId: uploadID}))
		},
		"s3:ListBucket bytes": func(ctx context.Context, c *s3.Client) error {
			return drop(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket}))
		},
		"s3:ListBucket bytes ": func(ctx context.Context, c *s3.Client) error {
			return drop(c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}))
		},
		"s3:ListBucketMultipartUploads bytes": func(ctx context.Context, c *s3.Client) error {
			return drop(c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket}))
		},
	}
}

// TestS3: each operation succeeds with a policy for exactly its action and resource, and
// fails with a policy for everything else.
func TestS3(t *testing.T) {
	for needs, operation := range s3Operations() {
		action, resource, _ := strings.Cut(strings.TrimRight(needs, " "), " ")
		w := newWorld(t, allow(action, "arn:aws:s3:::"+resource))
		_ = operation(t.Context(), w.s3) // the response of the test server is irrelevant
		if s := w.Stats()["F"]; s.Denied != 0 || w.seen == nil || s.Calls[action] != 1 {
			t.Errorf("%s: refused with its permission: %s", needs, &w.log)
		}
		w = newWorld(t, allow("*", "*"), map[string]any{"Effect": "Deny", "Action": action, "Resource": "arn:aws:s3:::" + resource})
		err := operation(t.Context(), w.s3)
		var api smithy.APIError
		if w.seen != nil || !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" && api.ErrorCode() != "Forbidden" {
			t.Errorf("%s: not refused: %v", needs, err)
		}
		if want := "policy of F does not allow " + action + " on arn:aws:s3:::" + resource; !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, &w.log)
		}
	}
}

func TestS3Copy(t *testing.T) {
	w := newWorld(t, allow("s3:PutObject", "*"), allow("s3:GetObject", "arn:aws:s3:::bytes/tails/*"))
	for source, allowed := range map[string]bool{"bytes/tails/x": true, "bytes/blobs/x": false} {
		w.seen = nil
		_, _ = w.s3.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: bucket, Key: object, CopySource: &source})
		if (w.seen != nil) != allowed {
			t.Errorf("copy from %s: passed on is %v", source, w.seen != nil)
		}
	}
}

func TestUnknownCallsAreRefused(t *testing.T) {
	w := newWorld(t, allow("*", "*"))
	_, err := w.s3.PutObjectAcl(t.Context(), &s3.PutObjectAclInput{Bucket: bucket, Key: object})
	if err == nil || w.seen != nil {
		t.Errorf("PutObjectAcl: %v", err)
	}
	_, err = w.dynamo.ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err == nil || w.seen != nil {
		t.Errorf("ListTables: %v", err)
	}
	w.as("G")
	_, err = w.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: object})
	if err == nil || w.seen != nil || !strings.Contains(w.log.String(), "key=G") {
		t.Errorf("another access key: %v", err)
	}
}

func TestMissingObjects(t *testing.T) {
	for _, list := range []bool{false, true} {
		w := newWorld(t, allow("s3:GetObject", "*"), allow("s3:ListBucket", map[bool]string{true: "arn:aws:s3:::bytes", false: "arn:aws:s3:::other"}[list]))
		w.status = http.StatusNotFound
		_, err := w.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: object})
		var response interface{ HTTPStatusCode() int }
		want := map[bool]int{true: 404, false: 403}[list]
		if !errors.As(err, &response) || response.HTTPStatusCode() != want {
			t.Errorf("who may list is %v: %v, want %d", list, err, want)
		}
	}
}

func TestPresignedURLs(t *testing.T) {
	w := newWorld(t, allow("s3:GetObject", "arn:aws:s3:::bytes/blobs/*"))
	for key, want := range map[string]int{"blobs/a b": http.StatusOK, "tails/x": http.StatusForbidden} {
		w.seen = nil
		signed, err := s3.NewPresignClient(w.s3).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, signed.URL, nil)
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %s", key, r.Status)
		}
		if w.seen != nil && (w.seen.Host != strings.TrimPrefix(w.server.URL, "http://") || w.seen.URL.RequestURI() != strings.TrimPrefix(signed.URL, w.server.URL)) {
			t.Errorf("what is signed was changed: %s %s", w.seen.Host, w.seen.URL)
		}
	}
	if s := w.Stats()["F"]; s.Presigned != 1 || s.Denied != 1 || len(s.Calls) != 0 {
		t.Errorf("%+v", s)
	}
}

func dynamoOperations() map[string]func(context.Context, *dynamodb.Client) error {
	drop := func(_ any, err error) error { return err }
	key := item("T#a")
	transact := func(items ...types.TransactWriteItem) func(context.Context, *dynamodb.Client) error {
		return func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items}))
		}
	}
	expression := aws.String("attribute_exists(pk)")
	return map[string]func(context.Context, *dynamodb.Client) error{
		"GetItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.GetItem(ctx, &dynamodb.GetItemInput{TableName: names, Key: key}))
		},
		"PutItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.PutItem(ctx, &dynamodb.PutItemInput{TableName: names, Item: key}))
		},
		"UpdateItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: names, Key: key}))
		},
		"DeleteItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: names, Key: key}))
		},
		"BatchGetItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"names": {Keys: []map[string]types.AttributeValue{key}}}}))
		},
		"BatchWriteItem": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"names": {{PutRequest: &types.PutRequest{Item: key}}}}}))
		},
		"Query": func(ctx context.Context, c *dynamodb.Client) error {
			return drop(c.Query(ctx, &dynamodb.QueryInput{
				TableName: names, KeyConditionExpression: aws.String("begins_with(#1, :1) AND #0 = :0"),
				ExpressionAttributeNames: map[string]string{"#0": "pk", "#1": "sk"},
				ExpressionAttributeValues: map[string]types.AttributeValue{
					":0": &types.AttributeValueMemberS{Value: "T#a"}, ":1": &types.AttributeValueMemberS{Value: "s"},
				},
			}))
		},
		"ConditionCheckItem": transact(types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: names, Key: key, ConditionExpression: expression}}),
		"PutItem ":           transact(types.TransactWriteItem{Put: &types.Put{TableName: names, Item: key}}),
		"UpdateItem ":        transact(types.TransactWriteItem{Update: &types.Update{TableName: names, Key: key, UpdateExpression: expression}}),
		"DeleteItem ":        transact(types.TransactWriteItem{Delete: &types.Delete{TableName: names, Key: key}}),
	}
}

// TestDynamoDB: each operation succeeds with a policy for exactly its action and key, and
// fails with a policy for another action, table or key.
func TestDynamoDB(t *testing.T) {
	for name, operation := range dynamoOperations() {
		action := "dynamodb:" + strings.TrimSpace(name)
		w := newWorld(t, allow(action, tableARN, "T#*"))
		if err := operation(t.Context(), w.dynamo); err != nil || w.seen == nil {
			t.Errorf("%s: %v", name, err)
		}
		for why, statement := range map[string]any{
			"key": allow(action, tableARN, "M#*"), "table": allow(action, tableARN+"2"), "action": allow("dynamodb:Other", tableARN),
		} {
			w := newWorld(t, statement)
			err := operation(t.Context(), w.dynamo)
			var api smithy.APIError
			if w.seen != nil || !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" {
				t.Errorf("%s, another %s: %v", name, why, err)
			}
			if want := fmt.Sprintf("policy of F does not allow %s on %s", action, tableARN); !strings.Contains(w.log.String(), want) {
				t.Errorf("the log lacks %q: %s", want, &w.log)
			}
		}
	}
}

// TestEveryItemCounts: one key or action that is not allowed fails the whole request.
func TestEveryItemCounts(t *testing.T) {
	w := newWorld(t, allow("dynamodb:*", tableARN, "T#*"))
	keys := []map[string]types.AttributeValue{item("T#a"), item("T#b"), item("M#a")}
	_, err := w.dynamo.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"names": {Keys: keys}}})
	if err == nil || w.seen != nil {
		t.Errorf("batch: %v", err)
	}
	w = newWorld(t, allow("dynamodb:PutItem", tableARN))
	_, err = w.dynamo.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: names, Item: item("T#a")}}, {Delete: &types.Delete{TableName: names, Key: item("T#b")}},
	}})
	if err == nil || w.seen != nil {
		t.Errorf("transaction: %v", err)
	}
}

// TestTransactionsHoldUnderBothReadings: a policy that allows each item, but none of
// whose statements allows the keys of the whole transaction, is not enough.
func TestTransactionsHoldUnderBothReadings(t *testing.T) {
	items := &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: names, Item: item("T#a")}}, {Delete: &types.Delete{TableName: names, Key: item("M#b")}},
	}}
	w := newWorld(t, allow("dynamodb:PutItem", tableARN, "T#*"), allow("dynamodb:DeleteItem", tableARN, "M#*"))
	if _, err := w.dynamo.TransactWriteItems(t.Context(), items); err == nil || w.seen != nil {
		t.Errorf("one statement for each item: %v", err)
	}
	w = newWorld(t, allow("dynamodb:*", tableARN, "T#*", "M#*"))
	if _, err := w.dynamo.TransactWriteItems(t.Context(), items); err != nil || w.seen == nil {
		t.Errorf("one statement for all items: %v", err)
	}
}

func TestMalformedCallsAreRefused(t *testing.T) {
	c := Config{Region: "us-east-1", AccountID: "000000000000", HashKeys: map[string]string{"names": "pk"}}
	for target, body := range map[string]string{
		"X.GetItem":            `{"TableName":"names","Key":{"sk":{"S":"x"}}}`,
		"X.PutItem":            `{"TableName":"others","Item":{"pk":{"S":"x"}}}`,
		"X.Query":              `{"TableName":"names","KeyConditionExpression":"sk = :x","ExpressionAttributeValues":{":x":{"S":"x"}}}`,
		"X.Query ":             `{"TableName":"names","IndexName":"i","KeyConditionExpression":"pk = :x","ExpressionAttributeValues":{":x":{"S":"x"}}}`,
		"X.TransactWriteItems": `{"TransactItems":[]}`,
		"X.BatchGetItem":       `{}`,
		"X.ExecuteStatement":   `{}`,
		"GetItem":              `{}`,
		"X.DeleteItem":         `no JSON`,
	} {
		if calls, err := c.dynamoCalls(strings.TrimSpace(target), []byte(body)); !errors.Is(err, errUnknownCall) {
			t.Errorf("%s %s: %v, %v", target, body, calls, err)
		}
	}
	calls, err := c.dynamoCalls("X.TransactGetItems", []byte(`{"TransactItems":[{"Get":{"TableName":"`+tableARN+`","Key":{"pk":{"B":"eA=="}}}}]}`))
	get := iam.Call{Action: "dynamodb:GetItem", Resource: tableARN, Context: map[string][]string{iam.KeyLeadingKeys: {"eA=="}}}
	want := []iam.Call{get, get} // for the item and for the transaction
	if diff := cmp.Diff(want, calls); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
