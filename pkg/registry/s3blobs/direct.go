package s3blobs

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// uploadExpiry is the lifetime of a presigned request that stores bytes. It ends earlier if
// the signing credentials expire earlier.
const uploadExpiry = 15 * time.Minute

// PresignPut signs a PUT of the content of a key. S3 checks the signed headers: the length,
// the SHA-256, and that the key has no content yet. The signer cannot sign a length of 0;
// then the SHA-256 alone excludes other bytes.
func (b *Blobs) PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	if size > direct.MaxPut {
		return direct.Request{}, registry.ErrTooLarge
	}
	sum, err := checksum(d)
	if err != nil {
		return direct.Request{}, err
	}
	encryption, kmsKey, bucketKey := b.encryption()
	s := b.sign(size)
	return s.request(b.presign.PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: b.bucket, Key: contentKey(key), IfNoneMatch: aws.String("*"),
		ContentLength: aws.Int64(size), ChecksumSHA256: sum,
		ServerSideEncryption: encryption, SSEKMSKeyId: kmsKey, BucketKeyEnabled: bucketKey,
	}, s.options))
}

// PresignPart signs a PUT of one part, of which S3 checks the length and the SHA-256.
func (b *Blobs) PresignPart(ctx context.Context, key string, stored registry.Stored, part direct.Part) (direct.Request, error) {
	upload, err := uploadOf(stored)
	if err != nil {
		return direct.Request{}, err
	}
	if part.Number < 1 || part.Number > direct.MaxParts {
		return direct.Request{}, fmt.Errorf("s3blobs: part number %d is out of range", part.Number)
	}
	sum, err := checksum(part.Digest)
	if err != nil {
		return direct.Request{}, err
	}
	s := b.sign(part.Size)
	return s.request(b.presign.PresignUploadPart(ctx, &s3.UploadPartInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(upload),
		PartNumber:    aws.Int32(int32(part.Number)), // at most MaxParts
		ContentLength: aws.Int64(part.Size), ChecksumSHA256: sum,
	}, s.options))
}

// checksum encodes a digest for S3, which can check sha256 only.
func checksum(d oci.Digest) (*string, error) {
	sum, err := hex.DecodeString(d.Encoded())
	if err != nil || d.Algorithm() != oci.SHA256 {
		return nil, fmt.Errorf("s3blobs: S3 cannot check %s", d)
	}
	return aws.String(base64.StdEncoding.EncodeToString(sum)), nil
}

// signing signs one request for a client. It wraps the SDK's signer, which would move
// headers that begin with x-amz- into the URL, where S3 ignores some of them, and which
// uses its own clock.
type signing struct {
	signer  *v4.Signer
	size    int64
	at      time.Time
	expires time.Time
}

func (b *Blobs) sign(size int64) *signing {
	at := b.options.Now().UTC().Truncate(time.Second) // as precise as a signature is
	return &signing{signer: b.signer, size: size, at: at, expires: at.Add(uploadExpiry)}
}

func (s *signing) options(o *s3.PresignOptions) {
	o.Presigner = s
	o.Expires = s.expires.Sub(s.at)
	// No second checksum: the SDK would add that of an empty body.
	o.ClientOptions = append(o.ClientOptions, unsigned)
}

// PresignHTTP implements s3.HTTPPresignerV4.
func (s *signing) PresignHTTP(
	ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string,
	_ time.Time, options ...func(*v4.SignerOptions),
) (url string, signed http.Header, err error) {
	if credentials.CanExpire && credentials.Expires.Before(s.expires) {
		s.expires = credentials.Expires.UTC()
	}
	options = append(options, func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	return s.signer.PresignHTTP(ctx, credentials, r, payloadHash, service, region, s.at, options...)
}

// request returns the client's request: each signed header but Host, which is in the URL.
func (s *signing) request(signed *v4.PresignedHTTPRequest, err error) (direct.Request, error) {
	if err != nil {
		return direct.Request{}, err
	}
	headers := map[string]string{"Content-Length": strconv.FormatInt(s.size, 10)}
	for name, values := range signed.SignedHeader {
		if name != "Host" {
			headers[name] = strings.Join(values, ",")
		}
	}
	return direct.Request{Method: signed.Method, URL: signed.URL, Headers: headers, Expires: s.expires}, nil
}
