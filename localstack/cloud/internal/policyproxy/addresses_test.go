package policyproxy

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// TestTwoAddresses: each service gets its own calls if DynamoDB has another address.
func TestTwoAddresses(t *testing.T) {
	calls := map[string]int{}
	serve := func(name string) *url.URL {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls[name+" "+r.Method]++
			if r.Header.Get("X-Amz-Target") != "" {
				_, _ = w.Write([]byte("{}"))
			}
		}))
		t.Cleanup(server.Close)
		address, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	policy, err := iam.Parse([]any{allow("*", "*")})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{server: httptest.NewServer(New(serve("s3"), Config{
		Region: "us-east-1", AccountID: "000000000000", DynamoDB: serve("dynamodb"), HashKeys: map[string]string{"names": "pk"},
		Principals: map[string]Principal{"F": {Name: "F", Policy: policy}},
	}, slog.New(slog.DiscardHandler)))}
	t.Cleanup(w.server.Close)
	w.as("F")
	if _, err := w.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: object}); err != nil {
		t.Error(err)
	}
	if _, err := w.dynamo.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: names, Key: item("a")}); err != nil {
		t.Error(err)
	}
	if len(calls) != 2 || calls["s3 HEAD"] != 1 || calls["dynamodb POST"] != 1 {
		t.Errorf("calls: %v", calls)
	}
}
