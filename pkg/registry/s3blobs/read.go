package s3blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// Open reads a key's content. An offset at or after the end reads nothing. The reader
// resumes if S3 breaks off; it ends with ctx. Without the permission s3:ListBucket, S3
// answers a missing key with AccessDenied instead of the code for ErrNoContent.
func (b *Blobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, errors.New("s3blobs: a negative offset")
	}
	input := &s3.GetObjectInput{Bucket: b.bucket, Key: contentKey(key)}
	switch {
	case length > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case length == 0: // S3 has no empty ranges, but the key must exist
		input.Range = aws.String("bytes=0-0")
	case offset > 0:
		input.Range = aws.String("bytes=" + strconv.FormatInt(offset, 10) + "-")
	}
	out, err := b.client.GetObject(ctx, input, unverified)
	switch code(err) {
	case codeNoKey:
		return nil, fmt.Errorf("%w: %w", registry.ErrNoContent, err)
	case codeRange:
		return http.NoBody, nil
	}
	if err != nil {
		return nil, err
	}
	if length == 0 {
		_ = out.Body.Close()
		return http.NoBody, nil
	}
	return b.resumable(ctx, input, out, offset), nil
}

// Stat returns the SHA-256 that S3 computed on upload: it has one for content that came
// with one PUT of PresignPut. With SSE-KMS, reading it takes the permission to decrypt. S3
// keeps a Content-Encoding header that was not signed and sends it to every reader; some,
// such as containerd, then decode the blob.
func (b *Blobs) Stat(ctx context.Context, key string, sum bool) (size int64, d oci.Digest, err error) {
	input := &s3.HeadObjectInput{Bucket: b.bucket, Key: contentKey(key)}
	if sum {
		input.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := b.client.HeadObject(ctx, input)
	if code(err) == codeNotFound {
		return 0, "", fmt.Errorf("%w: %w", registry.ErrNoContent, err)
	}
	if err != nil {
		return 0, "", err
	}
	if encoding := aws.ToString(out.ContentEncoding); encoding != "" {
		return 0, "", fmt.Errorf("%w: Content-Encoding %q", registry.ErrEncoded, encoding)
	}
	return aws.ToInt64(out.ContentLength), wholeDigest(out), nil
}

// wholeDigest returns the SHA-256 of an object, "" if S3 has none or only a checksum of its
// parts' checksums.
func wholeDigest(out *s3.HeadObjectOutput) oci.Digest {
	switch out.ChecksumType {
	case types.ChecksumTypeFullObject:
	case "": // not reported by this server; an ETag with a dash is one of parts
		if strings.Contains(aws.ToString(out.ETag), "-") {
			return ""
		}
	default:
		return ""
	}
	d, _ := digestOf(out.ChecksumSHA256)
	return d
}

// unverified turns the SDK's checksum validation off: the client verifies the digest.
func unverified(o *s3.Options) {
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// S3 stores the unsigned Content-Type, Content-Disposition, Cache-Control and Expires headers of a presigned PUT and
// returns them to every reader: a browser would render a layer as HTML from the bucket's host. URLs for reading sign
// overrides; a max-age overrides Expires.
const (
	servedType        = "application/octet-stream"
	servedDisposition = "attachment"
	// servedCaching allows only private caches, because access was granted to one client. Content never changes.
	servedCaching = "private, max-age=31536000, immutable"
)

// presignExpiry is the lifetime of a presigned URL for reading. It ends earlier if the
// signing credentials expire earlier.
const presignExpiry = 20 * time.Minute

// Presign returns a URL for GET or HEAD; any other method is an error. S3 signs the method
// too: it rejects the URL of one for the other.
func (b *Blobs) Presign(ctx context.Context, method, key string) (string, error) {
	options := func(o *s3.PresignOptions) {
		o.Expires = presignExpiry
		// Checksum validation would sign a header that clients do not send.
		o.ClientOptions = append(o.ClientOptions, unverified)
	}
	switch strings.ToUpper(method) {
	case http.MethodGet:
		request, err := b.presign.PresignGetObject(ctx, &s3.GetObjectInput{
			Bucket: b.bucket, Key: contentKey(key), ResponseContentType: aws.String(servedType),
			ResponseContentDisposition: aws.String(servedDisposition), ResponseCacheControl: aws.String(servedCaching),
		}, options)
		if err != nil {
			return "", err
		}
		return request.URL, nil
	case http.MethodHead:
		request, err := b.presign.PresignHeadObject(ctx, &s3.HeadObjectInput{
			Bucket: b.bucket, Key: contentKey(key), ResponseContentType: aws.String(servedType),
			ResponseContentDisposition: aws.String(servedDisposition), ResponseCacheControl: aws.String(servedCaching),
		}, options)
		if err != nil {
			return "", err
		}
		return request.URL, nil
	}
	return "", fmt.Errorf("s3blobs: no URL for the method %s", method)
}
