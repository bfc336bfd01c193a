// Package s3blobs implements registry.Blobs on an S3 bucket. Content is stored under
// blobs/<key>, where it is written once and never copied. The ends of unfinished uploads,
// too short for an S3 part, are stored under tails/<key>/<nonce>. The two prefixes let a
// lifecycle rule expire tails and nothing else.
//
// Clients may store content with presigned requests, of which S3 checks each byte:
// direct.go. The checksum for that is the only digest in this package.
//
// It must not know the meaning of content or rows, the source of its client, DynamoDB or
// HTTP servers.
package s3blobs
