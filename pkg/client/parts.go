package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

const (
	// partSenders is how many parts of a blob are sent concurrently.
	partSenders = 4
	// signAhead limits how many parts are signed at once: the requests expire.
	signAhead = 16
	// copyBuffer is the size of the buffer for hashing, in bytes.
	copyBuffer = 1 << 20
)

// resumeParts continues the upload that another process, or an earlier call, left. It returns
// false if there is none.
func (r *Repository) resumeParts(ctx context.Context, b Blob) (done bool, err error) {
	id := r.remembered(b)
	if _, chunks := chunksOf(id); id == "" || chunks {
		return false, nil
	}
	u, err := r.statusOf(ctx, b, id)
	if err != nil || u.Put != nil {
		if ctx.Err() != nil || temporary(err) {
			return false, err
		}
		r.forget(ctx, b)
		return false, nil
	}
	err = r.pushParts(ctx, b, u)
	if ended(err) {
		return false, nil
	}
	return err == nil, err
}

// remembered returns the state of an unfinished upload of the blob, or "".
func (r *Repository) remembered(b Blob) string {
	if r.client.opts.Resume == nil {
		return ""
	}
	return r.client.opts.Resume.Load(r.client.Host(), r.name, b.Digest)
}

// remember saves the state of an upload for the next process. A failure is only logged: that
// process restarts the upload.
func (r *Repository) remember(ctx context.Context, b Blob, state string) {
	if resume := r.client.opts.Resume; resume != nil {
		if err := resume.Save(r.client.Host(), r.name, b.Digest, state); err != nil {
			r.client.opts.Log.LogAttrs(ctx, slog.LevelWarn, "saving the state of an upload failed", slog.String("error", err.Error()))
		}
	}
}

func (r *Repository) forget(ctx context.Context, b Blob) { r.remember(ctx, b, "") }

// pushParts sends the parts that the store does not have, completes the upload and waits for
// its verification. After an error the upload stays, for a later call to resume, unless its
// content is wrong.
func (r *Repository) pushParts(ctx context.Context, b Blob, u direct.Upload) error {
	r.remember(ctx, b, u.ID)
	err := r.sendAndComplete(ctx, b, u)
	if is(err, oci.BlobUploadInvalid) { // a part is missing after all: compare with the store once more
		if u, err = r.statusOf(ctx, b, u.ID); err == nil {
			err = r.sendAndComplete(ctx, b, u)
		}
	}
	switch {
	case err == nil, ended(err):
		r.forget(ctx, b)
	case errors.Is(err, ErrContent):
		r.forget(ctx, b)
		r.abandonDirect(ctx, u.ID)
	}
	return err
}

func (r *Repository) sendAndComplete(ctx context.Context, b Blob, u direct.Upload) error {
	if u.State == direct.Verifying {
		return r.verify(ctx, u)
	}
	if err := r.sendParts(ctx, b, u); err != nil {
		return err
	}
	return r.FinishDirect(ctx, u.ID)
}

// sendParts hashes the blob from its beginning, and signs and sends each part that the store
// lacks, several concurrently. A part is opened again to be sent: the memory in use does not
// depend on the size of a part.
func (r *Repository) sendParts(ctx context.Context, b Blob, u direct.Upload) error {
	stored := map[int]oci.Digest{}
	for _, p := range u.Stored {
		stored[p.Number] = p.Digest
	}
	group, ctx := errgroup.WithContext(ctx)
	hashed, signed := make(chan direct.Part, signAhead), make(chan readyPart, partSenders)
	group.Go(func() error {
		defer close(hashed)
		return r.hashParts(ctx, b, u, stored, hashed)
	})
	group.Go(func() error {
		defer close(signed)
		return r.signParts(ctx, u.ID, hashed, signed)
	})
	for range partSenders {
		group.Go(func() error {
			for p := range signed {
				if err := r.sendPart(ctx, b, u, p); err != nil {
					return fmt.Errorf("part %d: %w", p.Number, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// hashParts reads the blob and passes on the parts that must be sent.
func (r *Repository) hashParts(ctx context.Context, b Blob, u direct.Upload, stored map[int]oci.Digest, out chan<- direct.Part) error {
	content, err := b.Open(0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer content.Close()
	buffer := make([]byte, copyBuffer)
	for number := 1; number <= direct.PartCount(u.Size, u.PartSize); number++ {
		size := direct.SizeOf(number, u.Size, u.PartSize)
		h := oci.SHA256.New()
		// Hide WriteTo: a file would copy itself in smaller pieces.
		n, err := io.CopyBuffer(h, io.LimitReader(struct{ io.Reader }{contextReader{ctx, content}}, size), buffer)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		if n < size {
			return fmt.Errorf("%w: part %d ends after %d of %d bytes", ErrSource, number, n, size)
		}
		part := direct.Part{Number: number, Size: size, Digest: oci.SHA256.Digest(h)}
		if stored[number] == part.Digest {
			continue
		}
		select {
		case out <- part:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// contextReader fails once its context ends: hashing a large part takes long.
type contextReader struct {
	ctx context.Context // Read has no parameter for it
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// readyPart is a part with its presigned request.
type readyPart struct {
	direct.Part
	request direct.Request
	signed  time.Time
}

// signParts lets the registry sign parts in batches.
func (r *Repository) signParts(ctx context.Context, id string, in <-chan direct.Part, out chan<- readyPart) error {
	for {
		batch := nextBatch(in)
		if len(batch) == 0 {
			return nil
		}
		requests, err := r.SignParts(ctx, id, batch)
		if err != nil {
			return err
		}
		for i, req := range requests {
			select {
			case out <- readyPart{batch[i], req.Request, time.Now()}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// nextBatch waits for one part per sender, and adds others that are hashed already.
func nextBatch(in <-chan direct.Part) []direct.Part {
	var batch []direct.Part
	for p := range in {
		batch = append(batch, p)
		if len(batch) >= partSenders && len(in) == 0 || len(batch) == signAhead {
			break
		}
	}
	return batch
}

// sendPart sends one part, with retries.
func (r *Repository) sendPart(ctx context.Context, b Blob, u direct.Upload, p readyPart) error {
	for attempt := 1; ; attempt++ {
		err := r.trySendPart(ctx, b, u, p)
		if err == nil {
			return nil
		}
		if err := r.client.retry(ctx, "part", err, attempt, slog.String("digest", string(b.Digest)), slog.Int("part", p.Number)); err != nil {
			return err
		}
		p.signed = time.Time{} // a broken connection may hide that the store refused the request
	}
}

// trySendPart sends a part once. It has the part signed again if the request is too old.
func (r *Repository) trySendPart(ctx context.Context, b Blob, u direct.Upload, p readyPart) error {
	if time.Since(p.signed) > maxAge {
		fresh, err := r.SignParts(ctx, u.ID, []direct.Part{p.Part})
		if err != nil {
			return err
		}
		p.request = fresh[0].Request
	}
	k, err := presignedRequest(p.request)
	if err != nil {
		return err
	}
	if k.size != p.Size {
		return errors.New("the registry signed a part of another size")
	}
	k.body, k.progress = b.body(int64(p.Number-1)*u.PartSize), b.Progress
	return r.sendPresigned(ctx, k)
}
