package images

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	selfUser = 65532 // "nonroot" of distroless images
	selfPort = "5000"
)

// self is an image of one binary, as a source.
type self struct {
	binary   string
	version  string
	platform Platform
	spool    *Spool
}

// FromSelf makes an image that runs 'pierless serve' of a pierless binary, which must be a static
// one for Linux. The same binary gives the same image on every machine.
func FromSelf(binary string, spool *Spool) (Source, error) {
	s := &self{binary: binary, spool: spool}
	if err := s.inspect(); err != nil {
		return nil, fmt.Errorf("%s: %w", binary, err)
	}
	return s, nil
}

var errNotStatic = errors.New("an image without an operating system needs a static Linux binary: build one with " +
	"CGO_ENABLED=0 GOOS=linux go build ./cmd/pierless, and name it as self:BINARY")

// inspect reads version and platform from the binary, and checks that it is static.
func (s *self) inspect() error {
	file, err := os.Open(s.binary)
	if err != nil {
		return err
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("it is not an ELF file (%w): %w", err, errNotStatic)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("it is linked dynamically: %w", errNotStatic)
		}
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN || f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX {
		return fmt.Errorf("it is a %s for %s: %w", f.Type, f.OSABI, errNotStatic)
	}
	if s.platform, err = machine(f); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(s.binary)
	if err != nil {
		return nil // not built as usual: the ELF header must do
	}
	if v := info.Main.Version; v != "(devel)" {
		s.version = v
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "GOOS" && setting.Value != s.platform.OS:
			return fmt.Errorf("it is for %s: %w", setting.Value, errNotStatic)
		case setting.Key == "GOARM" && s.platform.Architecture == "arm" && setting.Value != "":
			s.platform.Variant = "v" + setting.Value[:1]
		}
	}
	return nil
}

// machines are the architectures of ELF headers. A 64-bit PowerPC may be ppc64le as well.
var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64",
	elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64", elf.EM_PPC64: "ppc64",
}

// machine returns the platform of an ELF header.
func machine(f *elf.File) (Platform, error) {
	p := Platform{OS: "linux", Architecture: machines[f.Machine]}
	if p.Architecture == "" {
		return p, fmt.Errorf("there are no images for its machine, %s", f.Machine)
	}
	if f.Machine == elf.EM_PPC64 && f.Data == elf.ELFDATA2LSB {
		p.Architecture = "ppc64le"
	}
	return p, nil
}

// Close implements Source.
func (s *self) Close() error { return nil }

func (s *self) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	if p := t.opts.Platform; p != nil && !p.supports(s.platform) {
		return client.Manifest{}, fmt.Errorf("%s is for %s, not for %s: name another binary as self:BINARY", s.binary, s.platform, p)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(s.layer(w)) }()
	defer func() { _ = r.Close() }() // ends the goroutine if the layer was not read to its end
	l, err := s.spool.take(ctx, r, s.binary, "", 0, t.opts.Observer)
	if err != nil {
		return client.Manifest{}, fmt.Errorf("make the layer of %s: %w", s.binary, err)
	}
	l.MediaType = ociGzip
	if err := t.blob(ctx, l.Blob); err != nil {
		return client.Manifest{}, err
	}
	config, err := json.Marshal(s.config(l.diffID))
	if err != nil {
		return client.Manifest{}, err
	}
	m := imageManifest{MediaType: oci.MediaTypeImageManifest, Layers: []oci.Descriptor{l.Descriptor}}
	return m.send(ctx, ociConfig, config, t)
}

// layer writes the file system: the binary, root certificates for TLS, a working directory and
// one for temporary files. It contains no time and no name of this machine.
func (s *self) layer(to io.Writer) error {
	f, err := os.Open(s.binary)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	if err := w.WriteHeader(&tar.Header{Name: "pierless", Mode: 0o755, Size: info.Size(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	certificates := rootCertificates()
	for _, h := range []tar.Header{
		{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: selfUser, Gid: selfUser},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/ssl/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/ssl/certs/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Size: int64(len(certificates))},
	} {
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
	}
	if _, err := w.Write(certificates); err != nil {
		return err
	}
	return w.Close()
}

// rootCertificates returns the certificates that Mozilla trusts without constraints, in PEM,
// which cannot express constraints. They are part of this binary, not of this machine.
func rootCertificates() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// Writing to a buffer does not fail.
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return b.Bytes()
}

// config returns the config of the image (image spec, "Image Configuration").
func (s *self) config(diffID oci.Digest) ocispec.Image {
	c := ocispec.Image{
		Platform: ocispec.Platform{OS: s.platform.OS, Architecture: s.platform.Architecture, Variant: s.platform.Variant},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(diffID)}},
		Config: ocispec.ImageConfig{
			User:         fmt.Sprintf("%d:%d", selfUser, selfUser),
			ExposedPorts: map[string]struct{}{selfPort + "/tcp": {}},
			Env:          []string{"PATH=/"},
			Entrypoint:   []string{"/pierless"},
			Cmd:          []string{"serve", "--listen", "0.0.0.0:" + selfPort},
			WorkingDir:   "/data",
			Labels: map[string]string{
				ocispec.AnnotationTitle:       "pierless",
				ocispec.AnnotationDescription: "A private OCI registry, serverless or as one process",
				ocispec.AnnotationLicenses:    "Apache-2.0",
			},
		},
	}
	if s.version != "" {
		c.Config.Labels[ocispec.AnnotationVersion] = s.version
	}
	return c
}
