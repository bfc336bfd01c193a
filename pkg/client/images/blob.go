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

// maxManifest bounds manifests and configs, which are held in memory: in bytes. Those of
// archives may have as much as those of registries.
const maxManifest = client.MaxManifest

// Blob is content that a source has.
type Blob struct {
	oci.Descriptor
	// open returns the bytes from offset on. It may be called again, and concurrently.
	open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	// local is whether the bytes are on this machine: worth no copy of their own.
	local bool
	// from are repositories of registry which have the blob.
	registry string
	from     []string
	// drop frees what the blob takes, when it was sent; nil: nothing.
	drop func()
}

func (b Blob) release() {
	if b.drop != nil {
		b.drop()
	}
}

// bytesBlob is a blob in memory.
func bytesBlob(d oci.Descriptor, content []byte) Blob {
	return Blob{Descriptor: d, local: true, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[min(offset, int64(len(content))):])), nil
	}}
}

// fileBlob is a blob that is a whole file.
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

// readAll reads a small blob, and checks it.
func readAll(ctx context.Context, b Blob) ([]byte, error) {
	if b.Size > maxManifest {
		return nil, fmt.Errorf("%s has %d bytes: more than the %d that a manifest or a config may have", b.Digest, b.Size, maxManifest)
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

// checked copies a blob to w and fails if its bytes are not those of its digest.
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
		return fmt.Errorf("%s is damaged: %d bytes instead of %d, or others", b.Digest, n, b.Size)
	}
	return nil
}

// counter is a writer that tells how much was written.
type counter func(delta int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

// ending is a reader that ends with a context, as files do not.
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

// sized refuses a manifest that has another size than what names it says: others would.
func sized(d oci.Descriptor, m client.Manifest) (client.Manifest, error) {
	if m.Size != d.Size {
		return m, fmt.Errorf("manifest %s has %d bytes, not %d, as what names it says", d.Digest, m.Size, d.Size)
	}
	return m, nil
}

// manifestOf names content that was read.
func manifestOf(d oci.Descriptor, content []byte) client.Manifest {
	d.Size = int64(len(content))
	return client.Manifest{Descriptor: d, Content: content}
}
