package s3blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/pkg/registry"
)

// resumeTries is how often in a row an interrupted read is resumed; after resumeProgress
// bytes the count restarts.
const (
	resumeTries    = 4
	resumeProgress = 1 << 20
)

// pause waits before a repetition: not at all after the first try, then up to 400 ms.
func pause(ctx context.Context, try int) error {
	if try > 1 {
		return registry.Sleep(ctx, 50*time.Millisecond<<min(try-2, 3))
	}
	return context.Cause(ctx)
}

// resuming reads an object. If S3 breaks off, which happens, it continues from there, on
// the same version of the object.
type resuming struct {
	ctx    context.Context // of Open, whose work continues in Read
	client *s3.Client
	input  s3.GetObjectInput
	body   io.ReadCloser
	offset int64 // of the next byte in the object
	left   int64 // bytes until the end
	tries  int
	since  int64 // bytes since the last resumption
}

// resumable wraps the body of out, which begins at offset, unless S3 reports no ETag or
// no length.
func (b *Blobs) resumable(
	ctx context.Context, input *s3.GetObjectInput, out *s3.GetObjectOutput, offset int64,
) io.ReadCloser {
	if aws.ToString(out.ETag) == "" || out.ContentLength == nil {
		return out.Body
	}
	again := *input
	again.IfMatch = out.ETag
	return &resuming{ctx: ctx, client: b.client, input: again, body: out.Body, offset: offset, left: *out.ContentLength}
}

// Read implements io.Reader.
func (r *resuming) Read(p []byte) (int, error) {
	for {
		if r.left == 0 {
			return 0, io.EOF
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
		r.offset, r.left, r.since = r.offset+int64(n), r.left-int64(n), r.since+int64(n)
		if err == nil || r.left == 0 {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err := r.resume(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume requests the bytes that were missing because of err.
func (r *resuming) resume(err error) error {
	if r.since >= resumeProgress {
		r.tries = 0
	}
	r.since = 0
	_ = r.body.Close()
	if r.tries == resumeTries {
		return fmt.Errorf("%w: s3blobs: the answer ended at byte %d: %w", registry.ErrUnavailable, r.offset, err)
	}
	r.tries++
	if e := pause(r.ctx, r.tries); e != nil {
		return errors.Join(e, err)
	}
	input := r.input
	input.Range = aws.String("bytes=" + strconv.FormatInt(r.offset, 10) + "-" + strconv.FormatInt(r.offset+r.left-1, 10))
	out, e := r.client.GetObject(r.ctx, &input, unverified)
	if e != nil {
		return fmt.Errorf("s3blobs: resuming at byte %d after %w: %w", r.offset, err, e)
	}
	r.body = out.Body
	if length := aws.ToInt64(out.ContentLength); length != r.left {
		return fmt.Errorf("s3blobs: resuming at byte %d after %w: S3 sends %d bytes of %d", r.offset, err, length, r.left)
	}
	return nil
}

// Close implements io.Closer.
func (r *resuming) Close() error { return r.body.Close() }
