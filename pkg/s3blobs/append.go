package s3blobs

import (
	"bytes"
	"context"
	"crypto/md5" // guards against accidents, not against people
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/registry"
)

// cleanupTime is how long a failed Append may take to remove what it wrote.
const cleanupTime = 10 * time.Second

// Append stores body behind what stored holds: first the tail that stored has, then
// body, cut into parts that are uploaded while the next one is read. What is left
// at the end becomes a part if it is long enough, else the new tail. It holds one
// buffer of 10 MiB (40 MiB past part 5,000) besides those of the uploads in flight.
//
// It ends with body, also when an upload failed while body blocks.
func (b *Blobs) Append(
	ctx context.Context, key string, claim registry.Claim, stored registry.Stored, body io.Reader,
) (registry.Stored, error) {
	before, err := decodeState(stored.State)
	if err != nil {
		return registry.Stored{}, err
	}
	numbers, err := numbersFor(before, claim)
	if err != nil {
		return registry.Stored{}, err
	}
	a := &appending{blobs: b, key: key, claim: claim, before: before, upload: before.upload, numbers: numbers}
	if err := a.run(ctx, body); err != nil {
		a.cleanup(ctx)
		return registry.Stored{}, err
	}
	if a.size == 0 {
		return stored, nil
	}
	return registry.Stored{Size: stored.Size + a.size, State: a.after().encode()}, nil
}

// appending is one Append under way. Only its own goroutine touches the fields;
// the uploads fill in the ETags of parts, which are read after the last one ended.
type appending struct {
	blobs   *Blobs
	key     string
	claim   registry.Claim
	before  state
	numbers numbers

	group  *errgroup.Group
	upload string // recorded, or made here
	parts  []*part
	tail   tail
	size   int64  // bytes of body
	done   func() // gives the buffer back that tail and part share, if there is one
}

// made says that this Append created the multipart upload.
func (a *appending) made() bool { return a.upload != a.before.upload }

func (a *appending) after() state {
	s := state{upload: a.upload, slot: a.before.slot, base: a.before.base, tail: a.tail}
	if a.made() {
		s.slot, s.base = a.claim.First+a.claim.Count, a.numbers.next-1
	}
	s.parts = a.before.parts
	for _, p := range a.parts {
		s.parts = append(s.parts, *p)
	}
	return s
}

func (a *appending) run(ctx context.Context, body io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var uploads context.Context
	a.group, uploads = errgroup.WithContext(ctx)
	err := a.read(uploads, body)
	if err != nil {
		cancel()
	}
	// Nothing may be on its way any more when cleanup removes it, or the pool hands
	// its buffer to somebody else.
	if failed := a.group.Wait(); err == nil {
		err = failed
	}
	if a.done != nil {
		a.done()
	}
	return err
}

// read cuts body into pieces. The buffer of a piece belongs to the pool again once
// the piece is stored.
func (a *appending) read(ctx context.Context, body io.Reader) error {
	head := a.before.tail.size
	for {
		pool := a.blobs.buffers(a.numbers.size())
		buffer, _ := pool.Get().(*[]byte)
		n, end, err := fill(ctx, body, (*buffer)[head:])
		a.size += int64(n)
		if err == nil && head > 0 && a.size > 0 {
			err = a.blobs.readTail(ctx, a.key, a.before.tail, (*buffer)[:head])
		}
		if err != nil || a.size == 0 || head+n == 0 {
			pool.Put(buffer)
			return err
		}
		content, done := (*buffer)[:head+n], func() { pool.Put(buffer) }
		if end && len(content) < minPart {
			a.done = done
			return a.storeTail(ctx, content, head == 0)
		}
		if err := a.storePart(ctx, content, done); err != nil || end {
			return err
		}
		head = 0
	}
}

// fill reads until buffer is full or body ends. Unlike io.ReadFull it tells the end
// of body from an error that body reports as io.ErrUnexpectedEOF, which is what
// net/http says of a client that went away.
func fill(ctx context.Context, body io.Reader, buffer []byte) (n int, end bool, err error) {
	for idle := 0; n < len(buffer); idle++ {
		if ctx.Err() != nil {
			return n, false, context.Cause(ctx)
		}
		m, err := body.Read(buffer[n:])
		n += m
		if err == io.EOF { // a wrapped io.EOF would be no end, but a cause
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
		if m > 0 {
			idle = 0
		}
		if idle == 100 {
			return n, false, io.ErrNoProgress
		}
	}
	return n, false, nil
}

// storePart uploads content as the next part, without waiting for it. It waits for
// its turn, and for the multipart upload if it is the first part of one.
func (a *appending) storePart(ctx context.Context, content []byte, done func()) error {
	number, ok := a.numbers.take()
	if !ok {
		done()
		return registry.ErrTooLarge
	}
	p := &part{number: number}
	a.parts = append(a.parts, p)
	return a.uploadPart(ctx, p, content, done)
}

// storeTail stores content as the tail. With speculate, and where there is a
// multipart upload, it becomes a part as well: if this was the last of the content,
// Complete needs nothing more; if not, nobody will ever name that part.
func (a *appending) storeTail(ctx context.Context, content []byte, speculate bool) error {
	a.tail = tail{nonce: a.claim.Nonce, size: len(content)}
	a.group.Go(func() error { return a.blobs.putObject(ctx, tailKey(a.key, a.claim.Nonce), content, nil) })
	if !speculate || a.upload == "" {
		return nil
	}
	number, ok := a.numbers.take()
	if !ok {
		return nil
	}
	a.tail.part = &part{number: number}
	return a.uploadPart(ctx, a.tail.part, content, func() {})
}

func (a *appending) uploadPart(ctx context.Context, p *part, content []byte, done func()) error {
	if a.upload == "" {
		// Without a checksum algorithm: with one, S3 takes only part numbers without
		// gaps, and claims that were given up leave gaps.
		id, err := a.blobs.createUpload(ctx, a.key, "")
		if err != nil {
			done()
			return err
		}
		a.upload = id
	}
	select {
	case a.blobs.slots <- struct{}{}:
	case <-ctx.Done():
		done()
		return context.Cause(ctx)
	}
	a.group.Go(func() error {
		defer done()
		defer func() { <-a.blobs.slots }()
		etag, err := a.blobs.sendPart(ctx, a.key, a.upload, p.number, content)
		p.etag = etag
		return err
	})
	return nil
}

// cleanup removes what a failed Append wrote. What it cannot remove, a lifecycle
// rule of the bucket does.
func (a *appending) cleanup(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if a.made() {
		_ = a.blobs.abort(ctx, a.key, a.upload)
	}
	if a.tail.nonce != "" {
		_ = a.blobs.deleteObject(ctx, tailKey(a.key, a.tail.nonce))
	}
}

// createUpload creates a multipart upload; every part must then have a checksum of
// the algorithm, unless that is "".
func (b *Blobs) createUpload(ctx context.Context, key string, algorithm types.ChecksumAlgorithm) (string, error) {
	encryption, kmsKey, bucketKey := b.encryption()
	out, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: b.bucket, Key: contentKey(key), ChecksumAlgorithm: algorithm,
		ServerSideEncryption: encryption, SSEKMSKeyId: kmsKey, BucketKeyEnabled: bucketKey,
	}, unsigned)
	if err != nil {
		return "", err
	}
	id := aws.ToString(out.UploadId)
	if id == "" || len(id) > maxText {
		return "", errors.New("s3blobs: S3 named the multipart upload in no usable way")
	}
	return id, nil
}

// sendPart uploads a part. Its integrity is S3's to check by Content-MD5, which
// unlike the newer checksums has no say in how parts are numbered.
func (b *Blobs) sendPart(ctx context.Context, key, upload string, number int, content []byte) (etag string, err error) {
	sum := md5.Sum(content)
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(upload),
		PartNumber: aws.Int32(int32(number)), // at most lastNumber
		Body:       bytes.NewReader(content), ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}, unsigned)
	if err != nil {
		return "", err
	}
	etag = aws.ToString(out.ETag)
	if etag == "" || len(etag) > maxText {
		return "", errors.New("s3blobs: S3 gave a part no usable ETag")
	}
	return etag, nil
}

// readTail reads a tail into buffer, which is as long as the tail must be.
func (b *Blobs) readTail(ctx context.Context, key string, t tail, buffer []byte) error {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: b.bucket, Key: tailKey(key, t.nonce)})
	if err != nil {
		return fmt.Errorf("reading the tail: %w", err)
	}
	defer func() { _ = out.Body.Close() }()
	if length := aws.ToInt64(out.ContentLength); length != int64(len(buffer)) {
		return fmt.Errorf("s3blobs: the tail has %d bytes, %d are recorded", length, len(buffer))
	}
	if _, err := io.ReadFull(out.Body, buffer); err != nil {
		return fmt.Errorf("reading the tail: %w", err)
	}
	// The SDK compares the checksum when it meets the end.
	if _, err := io.Copy(io.Discard, out.Body); err != nil {
		return fmt.Errorf("reading the tail: %w", err)
	}
	return nil
}
