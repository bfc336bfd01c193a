package awsclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

var errDown = errors.New("down")

// connect returns clients of a server, and the log that the SDK was configured with.
func connect(t *testing.T, url string) (Clients, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	clients, err := New(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		Logger: logging.NewStandardLogger(log),
	}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	mark := MarkUnavailable(errDown)
	clients.S3 = s3.New(clients.S3.Options(), func(o *s3.Options) { o.APIOptions = append(o.APIOptions, mark) })
	clients.Dynamo = dynamodb.New(clients.Dynamo.Options(), func(o *dynamodb.Options) { o.APIOptions = append(o.APIOptions, mark) })
	return clients, log
}

func getObject(ctx context.Context, c Clients) error {
	_, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	return err
}

// TestMarkUnavailable: a call that a service does not answer, or fails by its own fault, is
// marked after the last try; refusals are not, nor is a caller that gave up.
func TestMarkUnavailable(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		marked bool
	}{
		{500, "InternalError", true},
		{503, "SlowDown", true},
		{400, "RequestTimeout", true},
		{404, "NoSuchKey", false},
		{404, "NoSuchBucket", false},
		{403, "AccessDenied", false},
		{412, "PreconditionFailed", false},
	} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.WriteHeader(tt.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", tt.code)
		}))
		clients, _ := connect(t, server.URL)
		err := getObject(t.Context(), clients)
		if err == nil || errors.Is(err, errDown) != tt.marked || tt.marked != (asked > 1) {
			t.Errorf("%d %s, asked %d times: %v, want it marked: %v", tt.status, tt.code, asked, err, tt.marked)
		}
		server.Close()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := getObject(ended, clients); err == nil || errors.Is(err, errDown) {
			t.Errorf("a caller that gave up: %v", err)
		}
	}
	clients, _ := connect(t, "http://127.0.0.1:1")
	if err := getObject(t.Context(), clients); !errors.Is(err, errDown) {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestAnswersThatEndEarly: the SDK takes an answer that ends early for a malformed one. It is
// retried, and marked, whether it is a success or an error.
func TestAnswersThatEndEarly(t *testing.T) {
	item, errorBody := `{"Item":{"pk":{"S":"x"}}}`, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"x"}`
	for _, tt := range []struct {
		status int
		body   string
		cuts   int
	}{{http.StatusOK, item, 1}, {http.StatusOK, item, 9}, {http.StatusBadRequest, errorBody, 9}} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			body := tt.body
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			if asked <= tt.cuts {
				body = body[:len(body)/2]
			}
			w.WriteHeader(tt.status)
			fmt.Fprint(w, body)
		}))
		clients, _ := connect(t, server.URL)
		out, err := clients.Dynamo.GetItem(t.Context(), &dynamodb.GetItemInput{
			TableName: aws.String("t"), Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "x"}},
		})
		if down := tt.cuts > 1; errors.Is(err, errDown) != down || asked != min(tt.cuts+1, 3) {
			t.Errorf("status %d, %d answers cut off: %v after %d attempts", tt.status, tt.cuts, err, asked)
		}
		if err == nil && len(out.Item) != 1 {
			t.Errorf("the item is %v", out.Item)
		}
		server.Close()
	}
}

// TestConditionsAreNoWarnings: the SDK says of each condition that does not hold that it
// could not close the answer (aws-sdk-go-v2#3545).
func TestConditionsAreNoWarnings(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Crc32", "1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`)
	}))
	defer server.Close()
	clients, log := connect(t, server.URL)
	_, err := clients.Dynamo.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: aws.String("t"), Item: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "x"}},
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || log.Len() > 0 {
		t.Errorf("%v, and the log says %q", err, log)
	}
	if _, logs := clients.S3.Options().Logger.(logging.Nop); !logs {
		t.Error("the client of S3 logs")
	}
}

func TestAdviceOfUnknown(t *testing.T) {
	for code, want := range map[string]string{
		"SomethingNew": "", "PermanentRedirect": "AWS_REGION", "AccessDenied": "permissions", "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY",
		"ExpiredToken": "expired", "RequestTimeTooSkewed": "clock",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
		}))
		clients, _ := connect(t, server.URL)
		if got := Advice(getObject(t.Context(), clients)); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
		server.Close()
	}
}
