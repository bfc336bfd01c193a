// Package s3blobs is registry.Blobs on an S3 bucket. Content lies under
// blobs/<key>, where it is written once and never copied; the ends of unfinished
// uploads, too short to be a part of one, lie under tails/<key>/<nonce>. The two
// prefixes let a lifecycle rule expire tails and nothing else.
//
// Others may store content by requests that are signed here, of which S3 checks each
// byte: direct.go. A digest is nothing more here than the checksum for that.
//
// It must not know what the content is, what rows are, where its client comes from, or
// that DynamoDB and HTTP servers exist.
package s3blobs
