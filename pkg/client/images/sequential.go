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

// packings are the magic bytes of what archives are compressed with, beside gzip.
var packings = map[string]string{"\xfd7zXZ\x00": "xz -dc", "BZh": "bzip2 -dc", zstdMagic: "zstd -dc"}

const longestMagic = 6

// isSequential reports whether a file can be read from front to end only: it is a pipe, or
// compressed.
func isSequential(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		return false, errors.New("it is a folder: oci:DIR is one")
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

// readable refuses what cannot be unpacked, and says what can.
func readable(head []byte) error {
	for magic, tool := range packings {
		if bytes.HasPrefix(head, []byte(magic)) {
			return fmt.Errorf("only gzip is unpacked: '%s FILE', and docker-archive:- to read what that writes", tool)
		}
	}
	return nil
}

// unpacked unpacks an archive if it is compressed as a whole.
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

// closing is a reader of what another closes.
type closing struct {
	io.Reader
	io.Closer
}

// interruptible ends reads of r with a context: a pipe or a terminal from which nothing
// comes would hold them for ever. The goroutine that waits there ends with r.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		// Only Read: a file would copy itself, in smaller pieces.
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
