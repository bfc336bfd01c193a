package s3blobs

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/pkg/registry"
)

var _ registry.ObjectLister = (*Blobs)(nil)

// ListObjects implements registry.ObjectLister. It needs the permission s3:ListBucket.
func (b *Blobs) ListObjects(ctx context.Context, after string, limit int) (page registry.ObjectPage, err error) {
	if limit < 1 || limit > registry.MaxPage {
		return page, errors.New("s3blobs: the limit of a list is out of range")
	}
	input := &s3.ListObjectsV2Input{
		Bucket: b.bucket, Prefix: aws.String(contentPrefix), StartAfter: contentKey(after), MaxKeys: aws.Int32(int32(limit)), //nolint:gosec // checked
	}
	// A page of S3 may have no content key although others follow.
	for page.More = true; page.More && len(page.Objects) == 0; {
		out, err := b.client.ListObjectsV2(ctx, input)
		if err != nil {
			return registry.ObjectPage{}, err
		}
		for _, o := range out.Contents {
			key := strings.TrimPrefix(aws.ToString(o.Key), contentPrefix)
			if registry.IsContentKey(key) {
				page.Objects = append(page.Objects, registry.Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			}
		}
		page.More, input.ContinuationToken = aws.ToBool(out.IsTruncated), out.NextContinuationToken
	}
	return page, nil
}
