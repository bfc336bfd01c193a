package awsinit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/internal/template"
)

// created runs CreateTable against a server that takes everything, and returns the
// requests by operation.
func created(t *testing.T) map[string]map[string]any {
	t.Helper()
	requests := map[string]map[string]any{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("%s: %v", operation, err)
		}
		requests[operation] = body
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		answer := map[string]any{}
		if operation == "DescribeTable" {
			table := map[string]any{"TableStatus": "ACTIVE"}
			for _, name := range []string{"AttributeDefinitions", "KeySchema"} {
				table[name] = requests["CreateTable"][name]
			}
			answer["Table"] = table
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	if err := CreateTable(t.Context(), client, "t"); err != nil {
		t.Fatal(err)
	}
	return requests
}

// TestTemplateTableIsInits: the table that is deployed has the keys, the billing and
// the expiry of the one that pierless init makes; it is backed up, hard to delete, and
// outlives the stack.
func TestTemplateTableIsInits(t *testing.T) {
	root, err := template.Load("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	resource := root.Map("Resources", "Table")
	have := resource.Map("Properties")
	requests := created(t)
	for _, name := range []string{"AttributeDefinitions", "KeySchema", "BillingMode"} {
		if diff := cmp.Diff(asText(requests["CreateTable"][name]), asText(have[name])); diff != "" {
			t.Errorf("%s (- init, + template):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(asText(requests["UpdateTimeToLive"]["TimeToLiveSpecification"]), asText(have["TimeToLiveSpecification"])); diff != "" {
		t.Errorf("expiry (- init, + template):\n%s", diff)
	}
	for _, extra := range []string{"LocalSecondaryIndexes", "GlobalSecondaryIndexes"} {
		if have[extra] != nil {
			t.Errorf("the template has %s", extra)
		}
	}
	if have.Text("DeletionProtectionEnabled") != "true" ||
		have.Map("PointInTimeRecoverySpecification").Text("PointInTimeRecoveryEnabled") != "true" ||
		resource.Text("DeletionPolicy") != "Retain" || resource.Text("UpdateReplacePolicy") != "Retain" {
		t.Errorf("the table can be lost: %v", resource)
	}
}

// asText makes values from JSON and YAML comparable. Maps print in order.
func asText(v any) string { return fmt.Sprint(v) }
