// Package ddbmeta implements registry.Metadata on one DynamoDB table with the string keys
// pk and sk. It renders conditions and writes as expressions, and maps DynamoDB's failures
// to *registry.Conflict and registry.ErrContended.
//
// It must not know the meaning of rows, the source of its client, S3 or HTTP servers.
package ddbmeta
