package s3blobs

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

var errNoUpload = errors.New("s3blobs: the upload was not started with parts")

// StartParts creates a multipart upload whose parts have a SHA-256 each. For the whole, S3
// then computes only a checksum of those.
func (b *Blobs) StartParts(ctx context.Context, key string) (registry.Stored, error) {
	upload, err := b.createUpload(ctx, key, types.ChecksumAlgorithmSha256)
	if err != nil {
		return registry.Stored{}, err
	}
	return registry.Stored{State: state{upload: upload}.encode()}, nil
}

// uploadOf returns the multipart upload that StartParts created.
func uploadOf(stored registry.Stored) (string, error) {
	s, err := decodeState(stored.State)
	if err == nil && s.upload == "" {
		err = errNoUpload
	}
	return s.upload, err
}

// ListParts lists the parts of a multipart upload, with one call per 1,000 parts.
func (b *Blobs) ListParts(ctx context.Context, key string, stored registry.Stored) ([]direct.Part, error) {
	list, err := b.listParts(ctx, key, stored)
	if code(err) == codeNoUpload {
		return nil, fmt.Errorf("%w: %w", registry.ErrNoContent, err)
	}
	return list.parts, err
}

// partList holds the parts of a multipart upload, for a check and for the completion.
type partList struct {
	upload    string
	parts     []direct.Part
	completed []types.CompletedPart
}

func (b *Blobs) listParts(ctx context.Context, key string, stored registry.Stored) (list partList, err error) {
	if list.upload, err = uploadOf(stored); err != nil {
		return list, err
	}
	pages := s3.NewListPartsPaginator(b.client, &s3.ListPartsInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(list.upload),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return list, err
		}
		for _, p := range page.Parts {
			d, ok := digestOf(p.ChecksumSHA256)
			if !ok {
				return list, fmt.Errorf("s3blobs: S3 returned no SHA-256 of part %d", aws.ToInt32(p.PartNumber))
			}
			list.parts = append(list.parts, direct.Part{Number: int(aws.ToInt32(p.PartNumber)), Size: aws.ToInt64(p.Size), Digest: d})
			list.completed = append(list.completed, types.CompletedPart{ETag: p.ETag, PartNumber: p.PartNumber, ChecksumSHA256: p.ChecksumSHA256})
		}
	}
	return list, nil
}

// digestOf returns the digest of a SHA-256 checksum, and false for anything else, such as
// the checksum of checksums of an object made of parts.
func digestOf(sum *string) (oci.Digest, bool) {
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(sum))
	if err != nil {
		return "", false
	}
	d, err := oci.ParseDigest(string(oci.SHA256) + ":" + hex.EncodeToString(raw))
	return d, err == nil
}

// CompleteParts makes exactly the parts that it has passed to check the content: S3 rejects
// a part that was replaced in the meantime.
func (b *Blobs) CompleteParts(
	ctx context.Context, key string, stored registry.Stored, check func([]direct.Part) error,
) error {
	list, err := b.listParts(ctx, key, stored)
	if err != nil {
		return portError(err)
	}
	if err := check(list.parts); err != nil {
		return err
	}
	return portError(b.finishUpload(ctx, key, list.upload, list.completed))
}
