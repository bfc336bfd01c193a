package s3blobs

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/pkg/registry"
)

// tailTries is how often an interrupted read of a tail is tried. A tail is short, and read
// again as a whole: S3 has a checksum of the whole only.
const tailTries = 4

// readTail reads a tail into buffer, which is as long as the tail must be.
func (b *Blobs) readTail(ctx context.Context, key string, t tail, buffer []byte) error {
	for try := 1; ; try++ {
		brokeOff, err := b.readTailOnce(ctx, key, t, buffer)
		if err == nil {
			return nil
		}
		if !brokeOff || try == tailTries || pause(ctx, try) != nil {
			return fmt.Errorf("reading the tail: %w", err)
		}
	}
}

func (b *Blobs) readTailOnce(ctx context.Context, key string, t tail, buffer []byte) (brokeOff bool, err error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: b.bucket, Key: tailKey(key, t.nonce)})
	if err != nil {
		return false, err
	}
	defer func() { _ = out.Body.Close() }()
	if length := aws.ToInt64(out.ContentLength); length != int64(len(buffer)) {
		return false, fmt.Errorf("s3blobs: it has %d bytes, %d are recorded", length, len(buffer))
	}
	if _, err := io.ReadFull(out.Body, buffer); err != nil {
		return true, fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	// The SDK compares the checksum when it meets the end.
	_, err = io.Copy(io.Discard, out.Body)
	return err != nil, err
}
