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

// layer is a layer on its way: in the spool, with all that a manifest says of it.
type layer struct {
	Blob
	// diffID is the digest of the tar; empty where the layer came compressed.
	diffID oci.Digest
	zstd   bool
}

// compressBlock is how much one goroutine compresses at once. The bytes of a compressed
// layer depend on it and on compressLevel, on nothing else of this machine: the same
// layer has the same digest on the next run, and is found at the registry.
const (
	compressBlock = 1 << 20
	compressLevel = pgzip.DefaultCompression
	gzipMagic     = "\x1f\x8b"
	zstdMagic     = "\x28\xb5\x2f\xfd"
	peeked        = 512
)

// take reads a layer of about size bytes into the spool: compressed, if it is not yet.
// want, if it is known, is the digest of what stays as it is.
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

// isCompressed reports whether content is to stay as it is: compressed, or a document.
func isCompressed(head []byte) bool {
	return bytes.HasPrefix(head, []byte(gzipMagic)) || bytes.HasPrefix(head, []byte(zstdMagic)) || isJSON(head)
}

// isJSON tells documents from archives, whose first bytes are a name.
func isJSON(head []byte) bool {
	const magicAt, magic = 257, "ustar"
	if len(head) >= magicAt+len(magic) && string(head[magicAt:magicAt+len(magic)]) == magic {
		return false
	}
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

// blob is the file as a blob, which is deleted when it was sent.
func (f *file) blob(d oci.Descriptor) Blob {
	b := fileBlob(d, f.path)
	b.drop = func() { _ = f.remove() } // bytes that were sent: no loss, whatever closing says
	return b
}

// compress writes r to w as gzip. Hashes and compression run beside each other.
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

// keep writes r to w as it is.
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
