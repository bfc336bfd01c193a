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

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	selfUser = 65532 // "nonroot" of the usual images without a system
	selfPort = "5000"
)

// self is an image of one binary, as a source.
type self struct {
	binary   string
	version  string
	platform Platform
	spool    *Spool
}

// FromSelf makes an image of a pierless binary, which must be a static one for Linux: it
// runs 'pierless serve'. The same binary gives the same image, on every machine.
func FromSelf(binary string, spool *Spool) (Source, error) {
	s := &self{binary: binary, spool: spool}
	if err := s.inspect(); err != nil {
		return nil, fmt.Errorf("%s: %w", binary, err)
	}
	return s, nil
}

var errNotStatic = errors.New("an image without a system needs a static Linux binary: build one with " +
	"CGO_ENABLED=0 GOOS=linux go build ./cmd/pierless, and name it as self:BINARY")

// inspect reads from the binary what it is and what it runs on.
func (s *self) inspect() error {
	file, err := os.Open(s.binary)
	if err != nil {
		return err
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("it is no ELF file (%w): %w", err, errNotStatic)
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
		return nil // not built as usual: the header has to do
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

// machine is the platform of an ELF header.
func machine(f *elf.File) (Platform, error) {
	p := Platform{OS: "linux"}
	little := f.Data == elf.ELFDATA2LSB
	switch f.Machine {
	case elf.EM_X86_64:
		p.Architecture = "amd64"
	case elf.EM_AARCH64:
		p.Architecture = "arm64"
	case elf.EM_386:
		p.Architecture = "386"
	case elf.EM_ARM:
		p.Architecture = "arm"
	case elf.EM_RISCV:
		p.Architecture = "riscv64"
	case elf.EM_S390:
		p.Architecture = "s390x"
	case elf.EM_LOONGARCH:
		p.Architecture = "loong64"
	case elf.EM_PPC64:
		p.Architecture = "ppc64"
		if little {
			p.Architecture = "ppc64le"
		}
	default:
		return p, fmt.Errorf("there are no images for its machine, %s", f.Machine)
	}
	return p, nil
}

// Close has nothing to let go of.
func (s *self) Close() error { return nil }

func (s *self) send(ctx context.Context, t *transfer) (client.Manifest, error) {
	if p := t.opts.Platform; p != nil && !p.supports(s.platform) {
		return client.Manifest{}, fmt.Errorf("%s is for %s, not for %s: name another binary as self:BINARY", s.binary, s.platform, p)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(s.layer(w)) }()
	defer func() { _ = r.Close() }() // ends the goroutine, if the layer was not read to its end
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
	m := imageManifest{SchemaVersion: 2, MediaType: oci.MediaTypeImageManifest, Layers: []oci.Descriptor{l.Descriptor}}
	m.Config = oci.Descriptor{MediaType: ociConfig, Digest: oci.SHA256.FromBytes(config), Size: int64(len(config))}
	if err := t.blob(ctx, bytesBlob(m.Config, config)); err != nil {
		return client.Manifest{}, err
	}
	return m.send(t)
}

// layer writes the file system: the binary, root certificates for TLS, a folder to work
// in and one for temporary files. No time and no name of this machine gets in.
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

// rootCertificates are those that Mozilla trusts without condition, as a file of PEM: a
// condition cannot be said in one. They are part of this binary, not of this machine.
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

// selfConfig is the config of an image (image spec, "Image Configuration").
type selfConfig struct {
	Platform
	Config struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string       `json:"type"`
		DiffIDs []oci.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

func (s *self) config(diffID oci.Digest) selfConfig {
	c := selfConfig{Platform: s.platform}
	c.Config.User = fmt.Sprintf("%d:%d", selfUser, selfUser)
	c.Config.ExposedPorts = map[string]struct{}{selfPort + "/tcp": {}}
	c.Config.Env = []string{"PATH=/"}
	c.Config.Entrypoint = []string{"/pierless"}
	c.Config.Cmd = []string{"serve", "--listen", "0.0.0.0:" + selfPort}
	c.Config.WorkingDir = "/data"
	c.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       "pierless",
		"org.opencontainers.image.description": "A private OCI registry, serverless or as one process",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
	if s.version != "" {
		c.Config.Labels["org.opencontainers.image.version"] = s.version
	}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []oci.Digest{diffID}
	return c
}
