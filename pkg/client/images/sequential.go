package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// compressions are the magic bytes of unsupported compressions, with the command to decompress.
var compressions = map[string]string{"\xfd7zXZ\x00": "xz -dc", "BZh": "bzip2 -dc", zstdMagic: "zstd -dc"}

const longestMagic = 6

// isSequential reports whether a file can only be read from its beginning to its end: it is a
// pipe, or compressed.
func isSequential(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		return false, errors.New("it is a directory: use oci:DIR")
	}
	if !info.Mode().IsRegular() {
		return true, nil
	}
	head := make([]byte, longestMagic)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.HasPrefix(head, []byte(gzipMagic)), readable(head[:n])
}

// readable rejects unsupported compressions.
func readable(head []byte) error {
	for magic, tool := range compressions {
		if bytes.HasPrefix(head, []byte(magic)) {
			return fmt.Errorf("only gzip is supported: pipe '%s FILE' to docker-archive:-", tool)
		}
	}
	return nil
}

// unpacked decompresses an archive if it is compressed as a whole.
func unpacked(r io.ReadCloser) (io.ReadCloser, error) {
	head := make([]byte, longestMagic)
	_, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty")
	}
	if err == nil {
		err = readable(head)
	}
	both := io.MultiReader(bytes.NewReader(head), r)
	if err == nil && !bytes.HasPrefix(head, []byte(gzipMagic)) {
		return closing{both, r}, nil
	}
	var z *gzip.Reader
	if err == nil {
		z, err = gzip.NewReader(both)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the archive: %w", err), r.Close())
	}
	return closing{z, r}, nil
}

// closing pairs a Reader with the Closer of its source.
type closing struct {
	io.Reader
	io.Closer
}

// interruptible returns a reader of r whose reads fail once the context ends: those of an idle
// pipe or terminal would block for ever. Its goroutine ends with r.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		// Hide WriteTo: a file would copy itself in smaller pieces.
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 256<<10))
		in.CloseWithError(err)
	}()
	return &interruptibleReader{out, stop}
}

type interruptibleReader struct {
	*io.PipeReader
	stop func() bool
}

func (r *interruptibleReader) Close() error {
	r.stop()
	return r.PipeReader.Close()
}
