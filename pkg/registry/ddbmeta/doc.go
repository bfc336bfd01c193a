// Package ddbmeta is registry.Metadata on one DynamoDB table with the string keys
// pk and sk. It turns conditions and writes into expressions, and what DynamoDB
// reports into *registry.Conflict and registry.ErrContended.
//
// It must not know what the rows mean, where its client comes from, or that S3
// and HTTP servers exist.
package ddbmeta
