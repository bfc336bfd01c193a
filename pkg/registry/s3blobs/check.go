package s3blobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/pkg/registry"
)

// codeNoBucket is S3's error code for a bucket that does not exist.
const codeNoBucket = "NoSuchBucket"

// Check reads an object that does not exist, with the permissions that every pull needs.
// The error tells the operator which setting to change. It costs one call.
func (b *Blobs) Check(ctx context.Context) error {
	content, err := b.Open(ctx, strings.Repeat("0", 64), 0, 1)
	switch {
	case err == nil:
		return content.Close()
	case errors.Is(err, registry.ErrNoContent):
		return nil
	case code(err) == codeNoBucket:
		return fmt.Errorf("there is no bucket %s: 'pierless init' creates bucket and table (cause: %w)", *b.bucket, err)
	}
	if advice := awsclient.Advice(err); advice != "" {
		return fmt.Errorf("reading from the bucket %s: %s (cause: %w)", *b.bucket, advice, err)
	}
	return fmt.Errorf("reading from the bucket %s: %w", *b.bucket, err)
}
