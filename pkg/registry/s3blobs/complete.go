package s3blobs

import (
	"context"
	"crypto/md5" // S3 computes ETags with it
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pierless/pierless/pkg/registry"
)

// Complete makes the appended bytes the content of key: one call if the last Append left no
// tail, or a tail that is a part as well. Discard or the lifecycle rule removes the tail
// object.
func (b *Blobs) Complete(ctx context.Context, key string, stored registry.Stored) error {
	s, err := decodeState(stored.State)
	if err != nil {
		return err
	}
	if s.upload != "" {
		err = b.completeUpload(ctx, key, s)
	} else {
		err = b.completeTail(ctx, key, s.tail)
	}
	return portError(err)
}

// completeTail makes a tail alone, or no bytes at all, the content.
func (b *Blobs) completeTail(ctx context.Context, key string, t tail) error {
	content := make([]byte, t.size)
	if t.size > 0 {
		if err := b.readTail(ctx, key, t, content); err != nil {
			return err
		}
	}
	return b.putObject(ctx, contentKey(key), content, aws.String("*"))
}

func (b *Blobs) completeUpload(ctx context.Context, key string, s state) error {
	parts := s.parts
	if s.tail.size > 0 {
		last, err := b.partOfTail(ctx, key, s)
		if err != nil {
			return err
		}
		parts = append(parts, last)
	}
	completed := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		completed[i] = types.CompletedPart{
			ETag: aws.String(p.etag), PartNumber: aws.Int32(int32(p.number)), // at most lastNumber
		}
	}
	return b.finishUpload(ctx, key, s.upload, completed)
}

// finishUpload makes these parts the content.
func (b *Blobs) finishUpload(ctx context.Context, key, upload string, parts []types.CompletedPart) error {
	out, err := b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(upload), IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if code(err) == codePrecondition {
		// Another upload has the key, or a call whose answer was lost completed it: this
		// multipart upload is obsolete. If the abort fails, a lifecycle rule removes it.
		_ = b.abort(ctx, key, upload)
	}
	if err == nil && !madeOf(parts, out) {
		return fmt.Errorf("%w: S3 completed the upload with other parts", registry.ErrTaken)
	}
	return err
}

// madeOf reports whether the completed object can consist of these parts: S3 may answer
// with success for an upload that was completed earlier with other parts. The object's ETag
// is computed from the part ETags, except with SSE-KMS.
func madeOf(parts []types.CompletedPart, out *s3.CompleteMultipartUploadOutput) bool {
	switch out.ServerSideEncryption {
	case types.ServerSideEncryptionAwsKms, types.ServerSideEncryptionAwsKmsDsse:
		return true
	}
	h := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(aws.ToString(p.ETag), `"`))
		if err != nil {
			return false
		}
		h.Write(sum)
	}
	want := fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
	return strings.Trim(aws.ToString(out.ETag), `"`) == want
}

// partOfTail returns the last part: the one that Append made of the tail, else one that it
// uploads now. Two concurrent Completes send the same bytes under the same number, and S3
// rejects an ETag that does not match the part.
func (b *Blobs) partOfTail(ctx context.Context, key string, s state) (part, error) {
	if s.tail.part != nil {
		return *s.tail.part, nil
	}
	content := make([]byte, s.tail.size)
	if err := b.readTail(ctx, key, s.tail, content); err != nil {
		return part{}, err
	}
	etag, _, err := b.sendPart(ctx, key, s.upload, lastNumber, content)
	return part{number: lastNumber, etag: etag}, err
}

// Discard drops the multipart upload and the tail of stored, unless keep has the same. S3
// drops single parts only together with their upload.
func (b *Blobs) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	old, err := decodeState(stored.State)
	if err != nil {
		return err
	}
	kept, err := decodeState(keep.State)
	if err != nil {
		return err
	}
	var failed []error
	if old.upload != "" && old.upload != kept.upload {
		failed = append(failed, b.abort(ctx, key, old.upload))
	}
	if old.tail.nonce != "" && old.tail.nonce != kept.tail.nonce {
		failed = append(failed, b.deleteObject(ctx, tailKey(key, old.tail.nonce)))
	}
	return errors.Join(failed...)
}

// abort ends a multipart upload, if it still exists.
func (b *Blobs) abort(ctx context.Context, key, upload string) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(upload),
	})
	if code(err) == codeNoUpload {
		return nil
	}
	return err
}
