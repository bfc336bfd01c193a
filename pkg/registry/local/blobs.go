package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// copyBuffer is the memory that one Append takes, in bytes.
const copyBuffer = 1 << 20

// blobs is registry.Blobs on files. A file is written under uploads/, synced, and only then
// linked to its name under blobs/: link fails if the name exists, so of many writers one
// succeeds, and no reader ever sees half a file.
type blobs struct {
	noDirect
	content string
	uploads string
	buffers sync.Pool
}

func newBlobs(content, uploads string) *blobs {
	return &blobs{content: content, uploads: uploads, buffers: sync.Pool{
		New: func() any { return new([copyBuffer]byte) },
	}}
}

// createDirs creates a directory for each first byte of a key, so that no directory grows
// without bound and none has to be made durable in the middle of a push.
func (b *blobs) createDirs() error {
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(b.content, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	return syncDir(b.content)
}

// path returns the file of a key's content. It rejects anything but 64 lower case
// hexadecimal digits, so no key leads out of the directory.
func (b *blobs) path(key string) (string, error) {
	if !registry.IsContentKey(key) {
		return "", fmt.Errorf("%w: content key %.100q", errInvalid, key)
	}
	return filepath.Join(b.content, key[:2], key), nil
}

// enter checks the context and the key of each method.
func (b *blobs) enter(ctx context.Context, key string) (path string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return b.path(key)
}

// Put implements registry.Blobs.
func (b *blobs) Put(ctx context.Context, key string, content []byte) error {
	path, err := b.enter(ctx, key)
	if err != nil {
		return err
	}
	return b.create(key, path, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// create publishes a file that fill writes, and removes its staged name.
func (b *blobs) create(key, path string, fill func(*os.File) error) error {
	id, err := b.write(key, fill)
	if err != nil {
		return err
	}
	staged := id.path(b.uploads, key)
	defer os.Remove(staged) //nolint:errcheck // a later Open removes it
	return publish(staged, path)
}

// write creates a durable file under uploads/. If fill or the disk fails, it removes the
// file and returns the error unchanged, or ErrFull.
func (b *blobs) write(key string, fill func(*os.File) error) (fileID, error) {
	id := newFileID()
	path := id.path(b.uploads, key)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return id, full(err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = syncDir(b.uploads)
	}
	if err != nil {
		os.Remove(path) //nolint:errcheck // a later Open removes it
	}
	return id, full(err)
}

// publish links a staged file to its name as content, durably. It returns ErrTaken if the
// name exists, or if the staged file is gone because another Complete has used it.
func publish(staged, path string) error {
	err := os.Link(staged, path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return registry.ErrTaken
	}
	if err != nil {
		return full(err)
	}
	return full(syncDir(filepath.Dir(path)))
}

// Open implements registry.Blobs. io.Copy to a TCP connection passes the file to the
// kernel.
func (b *blobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	path, err := b.enter(ctx, key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, registry.ErrNoContent
	}
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if length < 0 {
		return f, nil
	}
	return &section{LimitedReader: io.LimitedReader{R: f, N: length}, Closer: f}, nil
}

// Stat implements registry.Blobs. For the sum it reads the whole file, because a disk may
// return wrong bytes.
func (b *blobs) Stat(ctx context.Context, key string, sum bool) (int64, oci.Digest, error) {
	path, err := b.enter(ctx, key)
	if err != nil {
		return 0, "", err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", registry.ErrNoContent
	}
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	if !sum {
		info, err := f.Stat()
		if err != nil {
			return 0, "", err
		}
		return info.Size(), "", nil
	}
	h := oci.SHA256.New()
	size, err := io.Copy(h, f)
	return size, oci.SHA256.Digest(h), err
}

// section is a piece of a file.
type section struct {
	io.LimitedReader
	io.Closer
}

// WriteTo passes the file itself to w, because a wrapper would prevent sendfile.
func (s *section) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, &s.LimitedReader) }

// Presign implements registry.Blobs: files have no URLs.
func (b *blobs) Presign(context.Context, string, string) (string, error) { return "", nil }

// Delete implements registry.Blobs. It does not sync, which can take long for a big file:
// after a power failure the content may exist again, under a key that is dead.
func (b *blobs) Delete(ctx context.Context, key string) error {
	path, err := b.enter(ctx, key)
	if err != nil {
		return err
	}
	return removeFile(path)
}
