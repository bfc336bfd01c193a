package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// maxManifest limits manifests and configs, which are held in memory, in bytes.
const maxManifest = client.MaxManifest

// Blob is a blob of a source.
type Blob struct {
	oci.Descriptor
	// open returns the bytes from offset on. It may be called repeatedly and concurrently.
	open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	// local is set if the bytes are on this machine and need not be copied into the spool.
	local bool
	// from lists repositories of registry that have the blob.
	registry string
	from     []string
	// drop, if non-nil, frees the disk space of the blob after it was sent.
	drop func()
}

func (b Blob) release() {
	if b.drop != nil {
		b.drop()
	}
}

// bytesBlob returns a blob in memory.
func bytesBlob(d oci.Descriptor, content []byte) Blob {
	return Blob{Descriptor: d, local: true, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[min(offset, int64(len(content))):])), nil
	}}
}

// fileBlob returns a blob that is a file.
func fileBlob(d oci.Descriptor, path string) Blob {
	return Blob{Descriptor: d, local: true, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}}
}

// readAll reads a small blob and checks its digest.
func readAll(ctx context.Context, b Blob) ([]byte, error) {
	if b.Size > maxManifest {
		return nil, fmt.Errorf("%s has %d bytes, the limit for a manifest or a config is %d", b.Digest, b.Size, maxManifest)
	}
	r, err := b.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if got := b.Digest.Algorithm().FromBytes(content); got != b.Digest {
		return nil, fmt.Errorf("%s is damaged: its bytes have the digest %s", b.Digest, got)
	}
	return content, nil
}

// checked copies a blob to w. It fails if size or digest do not match.
func checked(ctx context.Context, w io.Writer, b Blob, progress func(delta int64)) error {
	r, err := b.open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	h := b.Digest.Algorithm().New()
	n, err := io.Copy(io.MultiWriter(w, h, counter(progress)), io.LimitReader(ending{ctx, r}, b.Size+1))
	if err != nil {
		return err
	}
	if got := b.Digest.Algorithm().Digest(h); n != b.Size || got != b.Digest {
		return fmt.Errorf("%s is damaged: %d bytes (expected %d) with the digest %s", b.Digest, n, b.Size, got)
	}
	return nil
}

// counter is a writer that reports how much was written.
type counter func(delta int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

// ending is a reader that fails once a context ends.
type ending struct {
	ctx context.Context
	r   io.Reader
}

func (e ending) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return content, err
}

// sized rejects a manifest whose size differs from its descriptor, as other clients do.
func sized(d oci.Descriptor, m client.Manifest) (client.Manifest, error) {
	if m.Size != d.Size {
		return m, fmt.Errorf("manifest %s has %d bytes, its descriptor says %d", d.Digest, m.Size, d.Size)
	}
	return m, nil
}

// manifestOf returns a manifest with the size of its content.
func manifestOf(d oci.Descriptor, content []byte) client.Manifest {
	d.Size = int64(len(content))
	return client.Manifest{Descriptor: d, Content: content}
}
