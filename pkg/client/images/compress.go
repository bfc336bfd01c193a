package images

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/pgzip"

	"github.com/pierless/pierless/pkg/oci"
)

// layer is a layer in the spool, with its descriptor.
type layer struct {
	Blob
	// diffID is the digest of the tar; empty if the source had the layer compressed.
	diffID oci.Digest
	zstd   bool
}

// compressBlock is how many bytes one goroutine compresses at once. The bytes of a compressed
// layer depend only on it and on compressLevel, not on this machine: the same layer has the same
// digest in the next run, and the registry has it already.
const (
	compressBlock = 1 << 20
	compressLevel = pgzip.DefaultCompression
	gzipMagic     = "\x1f\x8b"
	zstdMagic     = "\x28\xb5\x2f\xfd"
	peeked        = 512
)

// take reads a layer of about size bytes into the spool, and compresses it if necessary. want, if
// not empty, is the expected digest of a layer that is compressed already.
func (s *Spool) take(ctx context.Context, r io.Reader, name string, want oci.Digest, size int64, o Observer) (l layer, err error) {
	buffered := bufio.NewReaderSize(ending{ctx, r}, 256<<10)
	head, err := buffered.Peek(peeked)
	if err != nil && !errors.Is(err, io.EOF) {
		return layer{}, err
	}
	f, err := s.create(ctx)
	if err != nil {
		return layer{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.remove())
		}
	}()
	stage := Fetching
	plain := !isCompressed(head)
	if plain {
		stage = Compressing
	}
	advance, end := o.Begin(stage, name, size)
	defer end()
	l.zstd = bytes.HasPrefix(head, []byte(zstdMagic))
	if plain {
		l.Digest, l.diffID, err = compress(f, buffered, advance)
	} else {
		l.Digest, err = keep(f, buffered, want, advance)
	}
	if err != nil {
		return layer{}, err
	}
	l.Blob = f.blob(oci.Descriptor{MediaType: layerType(l.zstd), Digest: l.Digest, Size: f.size})
	return l, nil
}

// isCompressed reports whether content stays unchanged: it is compressed, or a document.
func isCompressed(head []byte) bool {
	return bytes.HasPrefix(head, []byte(gzipMagic)) || bytes.HasPrefix(head, []byte(zstdMagic)) || isJSON(head)
}

// isJSON reports whether content is a document, and not an archive whose first bytes are a name.
func isJSON(head []byte) bool {
	const magicAt, magic = 257, "ustar"
	if len(head) >= magicAt+len(magic) && string(head[magicAt:magicAt+len(magic)]) == magic {
		return false
	}
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

// blob returns the file as a blob that is deleted after it was sent.
func (f *file) blob(d oci.Descriptor) Blob {
	b := fileBlob(d, f.path)
	b.drop = func() { _ = f.remove() } // the bytes were sent
	return b
}

// compress writes r to w as gzip, and returns the digests of both.
func compress(w io.Writer, r io.Reader, advance func(int64)) (digest, diffID oci.Digest, err error) {
	packed, raw := oci.SHA256.New(), oci.SHA256.New()
	z, err := pgzip.NewWriterLevel(io.MultiWriter(w, packed), compressLevel)
	if err != nil {
		return "", "", err
	}
	if err := z.SetConcurrency(compressBlock, runtime.GOMAXPROCS(0)); err != nil {
		return "", "", err
	}
	_, err = io.Copy(io.MultiWriter(raw, z, counter(advance)), r)
	if err = errors.Join(err, z.Close()); err != nil {
		return "", "", fmt.Errorf("compress: %w", err)
	}
	return oci.SHA256.Digest(packed), oci.SHA256.Digest(raw), nil
}

// keep writes r to w unchanged, and checks the digest unless want is empty.
func keep(w io.Writer, r io.Reader, want oci.Digest, advance func(int64)) (oci.Digest, error) {
	algorithm := oci.SHA256
	if want != "" {
		algorithm = want.Algorithm()
	}
	h := algorithm.New()
	if _, err := io.Copy(io.MultiWriter(w, h, counter(advance)), r); err != nil {
		return "", err
	}
	got := algorithm.Digest(h)
	if want != "" && got != want {
		return "", fmt.Errorf("%s is damaged: its bytes have the digest %s", want, got)
	}
	return got, nil
}
