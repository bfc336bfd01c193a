package s3blobs

import (
	"bytes"
	"context"
	"crypto/md5" // detects accidents, not attacks
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/registry"
)

const (
	// cleanupTime limits the removal of the objects and parts of a failed Append.
	cleanupTime = 10 * time.Second
	// settleTime is how long a failed Append waits for its parts in flight. The numbers of
	// parts that S3 acknowledges in time are given back.
	settleTime = 5 * time.Second
	// firstRead is the number of bytes of a part that are read before it takes a buffer: a
	// client that stalls earlier occupies none.
	firstRead = 64 << 10
)

// Append stores body after the bytes in stored: first stored's tail, then body, cut into
// parts that are uploaded while the next one is read. The rest becomes a part if it is long
// enough, else the new tail. It holds one buffer of 10 MiB (40 MiB past part 5,000) besides
// those of the uploads in flight.
//
// It returns only once body ends, even if an upload failed while body blocks.
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
		return registry.Stored{Unused: a.numbers.unused(a.unsettled())}, err
	}
	after := registry.Stored{Size: stored.Size + a.size, State: stored.State, Unused: a.numbers.unused(a.numbers.taken)}
	if a.size > 0 {
		after.State = a.after().encode()
	}
	return after, nil
}

// appending is the state of one Append. Only its own goroutine touches the fields; the
// goroutines that send parts fill in the results, which are read after the last one ended.
type appending struct {
	blobs   *Blobs
	key     string
	claim   registry.Claim
	before  state
	numbers numbers

	group  *errgroup.Group
	upload string // recorded, or made here
	parts  []*part
	sent   []*sentPart
	tail   tail
	size   int64  // bytes of body
	done   func() // releases the buffer that tail and part share; nil without one
}

// sentPart is a part that may have reached S3.
type sentPart struct {
	taken   int64 // how many slots had been taken with it
	settled bool  // S3 acknowledged it at the first attempt: no copy of it is in flight
}

// made says that this Append created the multipart upload.
func (a *appending) made() bool { return a.upload != a.before.upload }

func (a *appending) after() state {
	s := state{upload: a.upload, slot: a.before.slot, base: a.before.base, tail: a.tail}
	if a.made() {
		s.slot, s.base = a.claim.First, a.numbers.last
	}
	s.parts = a.before.parts
	for _, p := range a.parts {
		s.parts = append(s.parts, *p)
	}
	return s
}

// unsettled returns how many of the taken slots must be kept after a failure.
func (a *appending) unsettled() (kept int64) {
	for _, p := range a.sent {
		if !p.settled {
			kept = max(kept, p.taken)
		}
	}
	return kept
}

// run reads body until ctx ends. Parts in flight may end later, because their outcome
// decides which part numbers can be given back.
func (a *appending) run(ctx context.Context, body io.Reader) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	giveUp := func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // no time left to wait
			cancel()
			return
		}
		time.AfterFunc(settleTime, cancel)
	}
	defer context.AfterFunc(ctx, giveUp)()
	group, reading := errgroup.WithContext(ctx)
	a.group = group
	err := a.read(reading, sending, body)
	if err != nil {
		giveUp()
	}
	// No part may be in flight when cleanup removes it, or another Append takes its buffer.
	if failed := a.group.Wait(); err == nil {
		err = failed
	}
	if a.done != nil {
		a.done()
	}
	return err
}

// read cuts body into pieces. The buffer of a piece is released once the piece is stored.
func (a *appending) read(ctx, sending context.Context, body io.Reader) error {
	head := a.before.tail.size
	for {
		content, end, done, err := a.piece(ctx, head, body)
		if err != nil || a.size == 0 || len(content) == 0 {
			done()
			return err
		}
		if end && len(content) < minPart {
			a.done = done
			return a.storeTail(ctx, sending, content, head == 0)
		}
		if err := a.storePart(ctx, sending, content, done); err != nil || end {
			return err
		}
		head = 0
	}
}

// piece reads the next part of body, after the stored tail of head bytes; end reports that
// body has ended. done returns the memory.
func (a *appending) piece(
	ctx context.Context, head int, body io.Reader,
) (content []byte, end bool, done func(), err error) {
	first := make([]byte, firstRead)
	n, end, err := fill(ctx, body, first)
	a.size += int64(n)
	if err != nil || n == 0 || end && head == 0 {
		return first[:n], end, func() {}, err
	}
	buffer, done, err := a.blobs.buffers.take(ctx, a.numbers.size())
	if err != nil {
		return nil, false, func() {}, err
	}
	n = head + copy(buffer[head:], first[:n])
	if !end {
		var more int
		more, end, err = fill(ctx, body, buffer[n:])
		n, a.size = n+more, a.size+int64(more)
	}
	if err == nil && head > 0 {
		err = a.blobs.readTail(ctx, a.key, a.before.tail, buffer[:head])
	}
	return buffer[:n], end, done, err
}

// fill reads until buffer is full or body ends. Unlike io.ReadFull it distinguishes the end
// of body from an io.ErrUnexpectedEOF of body, which net/http returns if a client
// disconnects.
func fill(ctx context.Context, body io.Reader, buffer []byte) (n int, end bool, err error) {
	for idle := 0; n < len(buffer); idle++ {
		if ctx.Err() != nil {
			return n, false, context.Cause(ctx)
		}
		m, err := body.Read(buffer[n:])
		n += m
		if err == io.EOF { // a wrapped io.EOF would be an error
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

// storePart starts the upload of content as the next part. It waits for a free slot, and
// for the creation of the multipart upload if it is the first part.
func (a *appending) storePart(ctx, sending context.Context, content []byte, done func()) error {
	number, err := a.numbers.take(ctx)
	if err != nil {
		done()
		return err
	}
	p := &part{number: number}
	a.parts = append(a.parts, p)
	return a.uploadPart(ctx, sending, p, content, done)
}

// storeTail stores content as the tail. With speculate, and if there is a multipart upload,
// content becomes a part as well: if it was the end of the blob, Complete needs no further
// part; if not, no later state refers to that part.
func (a *appending) storeTail(ctx, sending context.Context, content []byte, speculate bool) error {
	a.tail = tail{nonce: a.claim.Nonce, size: len(content)}
	a.group.Go(func() error { return a.blobs.putObject(sending, tailKey(a.key, a.claim.Nonce), content, nil) })
	if !speculate || a.upload == "" || !a.numbers.spare() {
		return nil
	}
	number, err := a.numbers.take(ctx)
	if err != nil {
		return err
	}
	a.tail.part = &part{number: number}
	return a.uploadPart(ctx, sending, a.tail.part, content, func() {})
}

func (a *appending) uploadPart(ctx, sending context.Context, p *part, content []byte, done func()) error {
	if a.upload == "" {
		// Without a checksum algorithm: with one, S3 takes only part numbers without
		// gaps, and abandoned claims leave gaps.
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
	sent := &sentPart{taken: a.numbers.taken}
	a.sent = append(a.sent, sent)
	a.group.Go(func() error {
		defer done()
		defer func() { <-a.blobs.slots }()
		etag, attempts, err := a.blobs.sendPart(sending, a.key, a.upload, p.number, content)
		p.etag, sent.settled = etag, err == nil && attempts == 1
		return err
	})
	return nil
}

// cleanup removes the objects and parts of a failed Append. A lifecycle rule of the bucket
// removes the rest.
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

// createUpload creates a multipart upload; every part must then have a checksum of the
// algorithm, unless that is "".
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
		return "", errors.New("s3blobs: S3 returned an unusable id of a multipart upload")
	}
	return id, nil
}

// sendPart uploads a part. S3 checks its integrity by Content-MD5, which unlike the newer
// checksums puts no constraint on part numbers. attempts is how often the SDK sent it.
func (b *Blobs) sendPart(
	ctx context.Context, key, upload string, number int, content []byte,
) (etag string, attempts int, err error) {
	sum := md5.Sum(content)
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: b.bucket, Key: contentKey(key), UploadId: aws.String(upload),
		PartNumber: aws.Int32(int32(number)), // at most lastNumber
		Body:       bytes.NewReader(content), ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}, unsigned)
	if err != nil {
		return "", 0, err
	}
	etag = aws.ToString(out.ETag)
	if etag == "" || len(etag) > maxText {
		return "", 0, errors.New("s3blobs: S3 returned an unusable ETag of a part")
	}
	results, _ := retry.GetAttemptResults(out.ResultMetadata)
	return etag, len(results.Results), nil
}
