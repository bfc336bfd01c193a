package faultproxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// rig is a proxy in front of a server that counts calls, and clients without retries.
type rig struct {
	proxy   *Proxy
	s3      *s3.Client
	dynamo  *dynamodb.Client
	applied atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.ReadAll(req.Body); err != nil {
			return
		}
		r.applied.Add(1)
		if req.Header.Get("X-Amz-Target") != "" {
			_, _ = io.WriteString(w, `{"Item":{"pk":{"S":"T#r"}}}`)
		}
	}))
	t.Cleanup(store.Close)
	r.proxy = New(t, store.URL, store.URL, 1)
	cfg := aws.Config{Region: "x", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""), BaseEndpoint: &r.proxy.URL, Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	r.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	r.dynamo = dynamodb.NewFromConfig(cfg)
	return r
}

func (r *rig) get(t *testing.T) error {
	_, err := r.dynamo.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("t"), Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "T#r"}, "sk": &types.AttributeValueMemberS{Value: "v1"},
	}})
	return err
}

func (r *rig) delete(t *testing.T) error {
	_, err := r.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("blobs/k")})
	return err
}

// TestErrorsAreThoseOfAWS: the SDK decodes them to the types and codes of the services.
func TestErrorsAreThoseOfAWS(t *testing.T) {
	r := newRig(t)
	r.proxy.Break(Rule{Fault: Fault{Send: Never, Answer: Refusal, Status: 400, Code: "ProvisionedThroughputExceededException"}})
	var throttled *types.ProvisionedThroughputExceededException
	if err := r.get(t); !errors.As(err, &throttled) {
		t.Errorf("throttled: %v", err)
	}
	r.proxy.Break(Rule{Fault: Fault{Send: Never, Answer: Refusal, Status: 400, Code: "TransactionCanceledException", Reasons: []string{"None", "TransactionConflict"}}})
	_, err := r.dynamo.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{}})
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) || len(canceled.CancellationReasons) != 2 || aws.ToString(canceled.CancellationReasons[1].Code) != "TransactionConflict" {
		t.Errorf("canceled: %v", err)
	}
	r.proxy.Break(Rule{Fault: Fault{Send: Never, Answer: Refusal, Status: 503, Code: "SlowDown"}})
	var api smithy.APIError
	if err := r.delete(t); !errors.As(err, &api) || api.ErrorCode() != "SlowDown" {
		t.Errorf("S3: %v", err)
	}
	if n := r.applied.Load(); n > 0 {
		t.Errorf("%d calls reached the store", n)
	}
}

// TestSendAndAnswer: what reaches the store, and whether the caller gets an answer.
func TestSendAndAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		fault           Fault
		applied, always int64 // at the answer, and after Release
		ok              bool
	}{
		"none":       {Fault{}, 1, 1, true},
		"cut before": {Fault{Send: Never, Answer: Cut}, 0, 0, false},
		"cut after":  {Fault{Answer: Cut}, 1, 1, false},
		"short":      {Fault{Answer: Short}, 1, 1, false},
		"twice":      {Fault{Send: Twice}, 2, 2, true},
		"again":      {Fault{Send: Again}, 1, 2, true},
		"later":      {Fault{Send: Later, Answer: Cut}, 0, 1, false},
		"broken":     {Fault{Send: Broken}, 0, 0, false},
		"half":       {Fault{Send: Half}, 1, 1, true},
		"page":       {Fault{Send: Never, Answer: Page, Status: 502}, 0, 0, false},
		"late":       {Fault{Send: Slow, Delay: time.Millisecond}, 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.proxy.Break(Rule{Fault: test.fault})
			if err := r.get(t); (err == nil) != test.ok || r.applied.Load() != test.applied {
				t.Errorf("%v, %d calls reached the store", err, r.applied.Load())
			}
			r.proxy.Release()
			if n := r.applied.Load(); n != test.always {
				t.Errorf("%d calls reached the store in the end", n)
			}
		})
	}
}

// TestRules: operation, prefix, the number of a call, and probability.
func TestRules(t *testing.T) {
	r := newRig(t)
	cut := Fault{Send: Never, Answer: Cut}
	r.proxy.Break(Rule{Operation: "GetItem", Prefix: "T#", Skip: 1, Count: 1, Fault: cut}, Rule{Operation: "PutObject", Fault: cut}, Rule{Prefix: "tails/", Fault: cut})
	for i, want := range []bool{true, false, true} {
		if err := r.get(t); (err == nil) != want {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
	if err := r.delete(t); err != nil {
		t.Errorf("a call that no rule matches: %v", err)
	}
	calls := r.proxy.Calls()
	if len(calls) != 4 || calls[0] != (Call{Operation: "GetItem", Key: "T#r"}) || calls[3] != (Call{Operation: "DeleteObject", Key: "blobs/k"}) || r.proxy.Hits() != 1 {
		t.Errorf("calls %v, %d hits", calls, r.proxy.Hits())
	}
	r.proxy.Break(Rule{Probability: 0.5, Fault: cut})
	for range 100 {
		_ = r.get(t)
	}
	if n := r.proxy.Hits(); n < 25 || n > 75 {
		t.Errorf("%d hits of 100", n)
	}
}

// TestClock: AWS's checks of the times of requests.
func TestClock(t *testing.T) {
	for _, test := range []struct {
		ahead          time.Duration
		call, redirect bool
	}{
		{0, true, true},
		{14 * time.Minute, true, true},
		{16 * time.Minute, false, false}, // the URL was good for 15 minutes
		{-14 * time.Minute, true, true},
		{-16 * time.Minute, false, false},
	} {
		r := newRig(t) // the SDK remembers a difference
		presigned, err := s3.NewPresignClient(r.s3).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		r.proxy.SetClock(test.ahead)
		resp, err := http.Get(presigned.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if (resp.StatusCode == http.StatusOK) != test.redirect {
			t.Errorf("%s ahead: the URL gets %d", test.ahead, resp.StatusCode)
		}
		if err := r.delete(t); (err == nil) != test.call {
			t.Errorf("%s ahead: S3: %v", test.ahead, err)
		}
		if err := r.get(t); (err == nil) != test.call {
			t.Errorf("%s ahead: DynamoDB: %v", test.ahead, err)
		}
	}
}
