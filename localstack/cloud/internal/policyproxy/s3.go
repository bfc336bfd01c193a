package policyproxy

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// subresources are the query parameters that select another operation of S3.
var subresources = []string{
	"accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory",
	"legal-hold", "lifecycle", "location", "logging", "metadataTable", "metrics", "notification", "object-lock", "ownershipControls",
	"policy", "policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore", "retention", "select",
	"session", "tagging", "torrent", "uploads", "uploadId", "versionId", "versioning", "versions", "website",
}

// s3Calls returns the IAM calls of a path-style request to S3. body is needed only for a
// POST that deletes several objects.
func s3Calls(r *http.Request, body []byte) ([]iam.Call, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	var sub []string
	for _, name := range subresources {
		if query.Has(name) {
			sub = append(sub, name)
		}
	}
	if bucket == "" {
		return nil, unknownCall("%s without a bucket", r.Method)
	}
	switch {
	case key == "" && r.Method == http.MethodPost && slices.Equal(sub, []string{"delete"}):
		return deletions(bucket, body)
	case key == "":
		return bucketCalls(r.Method, bucket, sub, query)
	}
	return objectCalls(r, bucket, key, sub)
}

func bucketCalls(method, bucket string, sub []string, query url.Values) ([]iam.Call, error) {
	action := ""
	switch {
	case len(sub) == 0 && (method == http.MethodGet || method == http.MethodHead):
		action = "s3:ListBucket"
	case slices.Equal(sub, []string{"uploads"}) && method == http.MethodGet:
		action = "s3:ListBucketMultipartUploads"
	case slices.Equal(sub, []string{"location"}) && method == http.MethodGet:
		action = "s3:GetBucketLocation"
	default:
		return nil, unknownCall("%s of a bucket with %v", method, sub)
	}
	call := iam.Call{Action: action, Resource: bucketARN(bucket), Context: map[string][]string{}}
	if query.Has("prefix") {
		call.Context[iam.KeyPrefix] = []string{query.Get("prefix")}
	}
	return []iam.Call{call}, nil
}

func objectCalls(r *http.Request, bucket, key string, sub []string) ([]iam.Call, error) {
	actions := objectActions(r.Method, sub)
	if actions == nil {
		return nil, unknownCall("%s of an object with %v", r.Method, sub)
	}
	writes := slices.Contains(actions, "s3:PutObject")
	if writes && r.Header.Get("X-Amz-Tagging") != "" {
		actions = append(actions, "s3:PutObjectTagging")
	}
	if writes && r.Header.Get("X-Amz-Acl") != "" {
		actions = append(actions, "s3:PutObjectAcl")
	}
	var calls []iam.Call
	for _, action := range actions {
		calls = append(calls, iam.Call{Action: action, Resource: bucketARN(bucket) + "/" + key})
	}
	if source := r.Header.Get("X-Amz-Copy-Source"); source != "" {
		path, err := url.PathUnescape(strings.TrimPrefix(source, "/"))
		if err != nil || strings.Contains(source, "?") || strings.HasPrefix(path, "arn:") {
			return nil, unknownCall("a copy from %q", source)
		}
		calls = append(calls, iam.Call{Action: "s3:GetObject", Resource: "arn:aws:s3:::" + path})
	}
	return calls, nil
}

// objectActions returns the IAM actions of operations on an object's content, from AWS's
// table "Actions, resources, and condition keys for Amazon S3".
func objectActions(method string, sub []string) []string {
	upload := slices.Equal(sub, []string{"uploadId"})
	switch {
	case len(sub) == 0 && (method == http.MethodGet || method == http.MethodHead):
		return []string{"s3:GetObject"}
	case slices.Equal(sub, []string{"versionId"}) && (method == http.MethodGet || method == http.MethodHead):
		return []string{"s3:GetObjectVersion"}
	case slices.Equal(sub, []string{"attributes"}) && method == http.MethodGet:
		return []string{"s3:GetObject", "s3:GetObjectAttributes"}
	case upload && method == http.MethodGet:
		return []string{"s3:ListMultipartUploadParts"}
	case len(sub) == 0 && method == http.MethodPut, upload && (method == http.MethodPut || method == http.MethodPost),
		slices.Equal(sub, []string{"uploads"}) && method == http.MethodPost:
		return []string{"s3:PutObject"}
	case len(sub) == 0 && method == http.MethodDelete:
		return []string{"s3:DeleteObject"}
	case slices.Equal(sub, []string{"versionId"}) && method == http.MethodDelete:
		return []string{"s3:DeleteObjectVersion"}
	case upload && method == http.MethodDelete:
		return []string{"s3:AbortMultipartUpload"}
	}
	return nil
}

func deletions(bucket string, body []byte) ([]iam.Call, error) {
	var list struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &list); err != nil || len(list.Object) == 0 {
		return nil, unknownCall("a list of objects to delete that cannot be read")
	}
	var calls []iam.Call
	for _, object := range list.Object {
		calls = append(calls, iam.Call{Action: "s3:DeleteObject", Resource: bucketARN(bucket) + "/" + object.Key})
	}
	return calls, nil
}

func bucketARN(bucket string) string { return "arn:aws:s3:::" + bucket }
