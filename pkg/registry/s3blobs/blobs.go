package s3blobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/pkg/registry"
)

const (
	contentPrefix = "blobs/"
	tailPrefix    = "tails/"
)

// Options configure a Blobs. The zero Options are usable.
type Options struct {
	// Now is the clock for signing requests that store bytes, time.Now by default.
	Now func() time.Time
	// SSE is the encryption at rest that each object asks for: "" leaves it to the
	// bucket, else AES256 or aws:kms.
	SSE string
	// KMSKeyID is the key for aws:kms; "" is the account's own key for S3.
	KMSKeyID string
	// Parallel bounds the part uploads in flight of all Appends together, 6 by
	// default. Each holds a buffer of one part.
	Parallel int
	// Memory bounds the bytes of parts that all Appends together hold: 512 MiB by
	// default, at least one part of 40 MiB. The first 64 KiB of a part do not count.
	Memory int64
	// MemoryWait is how long an Append waits for memory before it fails with ErrBusy,
	// 20 seconds by default.
	MemoryWait time.Duration
}

// Blobs is registry.Blobs on a bucket. Use New.
type Blobs struct {
	client  *s3.Client
	presign *s3.PresignClient
	signer  *v4.Signer
	bucket  *string
	options Options
	slots   chan struct{} // one token per part upload in flight
	buffers *buffers
}

var _ registry.Blobs = (*Blobs)(nil)

// New returns the content of a bucket that awsinit.CreateBucket or a template has created.
func New(client *s3.Client, bucket string, opts Options) *Blobs {
	opts.Parallel = cmp.Or(opts.Parallel, 6)
	opts.Memory = cmp.Or(opts.Memory, 512<<20)
	opts.MemoryWait = cmp.Or(opts.MemoryWait, 20*time.Second)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	client = s3.New(client.Options(), func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, awsclient.MarkUnavailable(registry.ErrUnavailable))
	})
	return &Blobs{
		client: client, presign: s3.NewPresignClient(client), signer: v4.NewSigner(),
		bucket: aws.String(bucket), options: opts,
		slots:   make(chan struct{}, opts.Parallel),
		buffers: newBuffers(max(opts.Memory, largePart), opts.MemoryWait),
	}
}

func contentKey(key string) *string { return aws.String(contentPrefix + key) }

func tailKey(key, nonce string) *string { return aws.String(tailPrefix + key + "/" + nonce) }

// Put stores small content. If an answer is lost, the SDK tries again and finds its own
// content: ErrTaken.
func (b *Blobs) Put(ctx context.Context, key string, content []byte) error {
	return portError(b.putObject(ctx, contentKey(key), content, aws.String("*")))
}

// Delete removes the content of a key.
func (b *Blobs) Delete(ctx context.Context, key string) error {
	return b.deleteObject(ctx, contentKey(key))
}

// putObject sends content with a CRC32 that S3 verifies.
func (b *Blobs) putObject(ctx context.Context, object *string, content []byte, ifNoneMatch *string) error {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content))
	encryption, kmsKey, bucketKey := b.encryption()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: b.bucket, Key: object, Body: bytes.NewReader(content), IfNoneMatch: ifNoneMatch,
		ChecksumCRC32:        aws.String(base64.StdEncoding.EncodeToString(sum)),
		ServerSideEncryption: encryption, SSEKMSKeyId: kmsKey, BucketKeyEnabled: bucketKey,
	}, unsigned)
	return err
}

func (b *Blobs) deleteObject(ctx context.Context, object *string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b.bucket, Key: object})
	return err
}

// encryption returns the encryption parameters of each new object. A bucket key saves a KMS
// call per object.
func (b *Blobs) encryption() (sse types.ServerSideEncryption, kmsKey *string, bucketKey *bool) {
	sse = types.ServerSideEncryption(b.options.SSE)
	if sse == types.ServerSideEncryptionAwsKms {
		bucketKey = aws.Bool(true)
		if b.options.KMSKeyID != "" {
			kmsKey = aws.String(b.options.KMSKeyID)
		}
	}
	return sse, kmsKey, bucketKey
}

// unsigned keeps the SDK from reading the payload twice to sign its SHA-256, and from
// adding a checksum to the one that the call sets.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
}
