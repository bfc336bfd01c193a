package faultproxy

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Call is one request to S3 or DynamoDB. Each attempt of the SDK is a call.
type Call struct {
	// Operation is AWS's name, for example PutObject or TransactWriteItems.
	Operation string
	// Key is that of the object or, in DynamoDB, the partition key of the first row.
	Key string
	// Presigned is true if the signature is in the URL: the client of the registry makes this call.
	Presigned bool
}

// dynamoTarget is the beginning of X-Amz-Target in the requests of DynamoDB.
const dynamoTarget = "DynamoDB_20120810."

// Dynamo is true for calls of DynamoDB, and false for those of S3.
func (c Call) Dynamo() bool { return slices.Contains(dynamoOperations(), c.Operation) }

func dynamoOperations() []string {
	return []string{"GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}
}

// Writes is true for operations that change an object or a row.
func (c Call) Writes() bool {
	return !slices.Contains([]string{"GetItem", "BatchGetItem", "Query", "GetObject", "HeadObject", "ListParts", "ListObjects"}, c.Operation)
}

// Prefix is the beginning of Key up to its first # or /, which names the kind of the row or object.
func (c Call) Prefix() string { return c.Key[:strings.IndexAny(c.Key, "#/")+1] }

func callOf(r *http.Request, body []byte) Call {
	if operation, found := strings.CutPrefix(r.Header.Get("X-Amz-Target"), dynamoTarget); found {
		return Call{Operation: operation, Key: firstRow(body)}
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return Call{Operation: s3Operation(r, key), Key: key, Presigned: r.URL.Query().Has("X-Amz-Signature")}
}

func s3Operation(r *http.Request, key string) string {
	query := r.URL.Query()
	switch {
	case key == "":
		return "ListObjects"
	case query.Has("uploads"):
		return "CreateMultipartUpload"
	case query.Has("uploadId"):
		return map[string]string{
			http.MethodPut: "UploadPart", http.MethodPost: "CompleteMultipartUpload",
			http.MethodDelete: "AbortMultipartUpload", http.MethodGet: "ListParts",
		}[r.Method]
	}
	return map[string]string{
		http.MethodPut: "PutObject", http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject",
	}[r.Method]
}

// value is a string attribute of DynamoDB; of other types, S is empty.
type value struct{ S string }

// write is an operation on one row, alone or in a transaction.
type write struct {
	Key, Item map[string]value
}

func (w write) row() string { return w.Key["pk"].S + w.Item["pk"].S }

// firstRow returns the partition key of the first row that a request of DynamoDB names.
func firstRow(body []byte) string {
	var request struct {
		write
		ExpressionAttributeValues map[string]value // the first value of a Query is the partition
		KeyConditionExpression    string
		RequestItems              map[string]struct{ Keys []map[string]value }
		TransactItems             []map[string]write
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	if request.KeyConditionExpression != "" {
		return request.ExpressionAttributeValues[":0"].S
	}
	for _, table := range request.RequestItems {
		if len(table.Keys) > 0 {
			return table.Keys[0]["pk"].S
		}
	}
	for _, item := range request.TransactItems {
		for _, w := range item {
			return w.row()
		}
	}
	return request.row()
}
