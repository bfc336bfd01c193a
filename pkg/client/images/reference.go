package images

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"github.com/pierless/pierless/pkg/oci"
)

// Transport is where an image is stored: the prefix of a reference, as in skopeo.
type Transport string

// The transports. Registry has no prefix.
const (
	InRegistry    Transport = ""
	DockerDaemon  Transport = "docker-daemon"
	DockerArchive Transport = "docker-archive"
	OCILayout     Transport = "oci"
	OCIArchive    Transport = "oci-archive"
	SelfImage     Transport = "self"
)

// Reference is the location of an image.
type Reference struct {
	Transport Transport
	// Path is the directory, the archive, or the binary; "-" is standard input.
	Path string
	// Name is the image's name in a registry, in the daemon, or in a docker-archive, where
	// it may be empty.
	Name Name
	// Selector is the tag or the digest in a layout or an oci-archive; it may be empty.
	Selector oci.Reference
}

// ParseReference parses PREFIX:REST. Without a known prefix it is the name of an image in the
// transport plain.
func ParseReference(s string, plain Transport) (Reference, error) {
	prefix, rest, found := strings.Cut(s, ":")
	kind := Transport(prefix)
	switch {
	case found && (kind == DockerArchive || kind == OCILayout || kind == OCIArchive):
		return parsePath(kind, rest)
	case found && kind == SelfImage:
		return Reference{Transport: SelfImage, Path: rest}, nil
	case found && kind == DockerDaemon:
		plain, s = DockerDaemon, rest
	case strings.HasPrefix(s, "docker://"): // of skopeo; docker:dind is an image
		plain, s = InRegistry, strings.TrimPrefix(rest, "//")
	case strings.Contains(s, "://"):
		return Reference{}, fmt.Errorf("%q: leave out the scheme: HOST/NAME:TAG, with --plain-http for a registry without TLS", s)
	}
	name, err := ParseName(s)
	return Reference{Transport: plain, Name: name}, err
}

// String returns the form that ParseReference parses, with a prefix unless it is in a registry.
func (p Reference) String() string {
	at := p.Path
	switch {
	case p.Transport == InRegistry:
		return p.Name.String()
	case p.Transport == DockerDaemon:
		at = p.Name.String()
	case p.Name != (Name{}):
		at += ":" + p.Name.String()
	case p.Selector.Digest != "":
		at += "@" + string(p.Selector.Digest)
	case p.Selector.Tag != "":
		at += ":" + p.Selector.Tag
	}
	return string(p.Transport) + ":" + at
}

// parsePath parses FILE[:NAME[:TAG]] of a docker-archive, and PATH[:TAG|@DIGEST] of a layout.
func parsePath(kind Transport, s string) (p Reference, err error) {
	p = Reference{Transport: kind, Path: s}
	colon, at := pathEnd(s), strings.LastIndexByte(s, '@')
	switch {
	case kind == DockerArchive && colon >= 0:
		p.Path = s[:colon]
		p.Name, err = ParseName(s[colon+1:])
	case kind == DockerArchive: // any image of the archive
	case at >= 0 && !strings.ContainsAny(s[at:], `/\`): // a directory may have an @ in its name: those of Jenkins do
		p.Path = s[:at]
		p.Selector.Digest, err = oci.ParseDigest(s[at+1:])
	case colon >= 0:
		p.Path, p.Selector.Tag = s[:colon], s[colon+1:]
		err = oci.CheckTag(p.Selector.Tag)
	}
	if err == nil && p.Path == "" {
		err = fmt.Errorf("%s: needs a path: %s:PATH", kind, kind)
	}
	return p, err
}

// pathEnd returns the index of the colon behind a path, or -1. It skips that of a Windows drive.
func pathEnd(s string) int {
	skip := 0
	if len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') {
		skip = 2
	}
	if i := strings.IndexByte(s[skip:], ':'); i >= 0 {
		return skip + i
	}
	return -1
}

// Name is the name of an image: HOST/REPOSITORY:TAG@DIGEST.
type Name struct {
	Host       string // with the port; "docker.io" by default
	Repository string
	Tag        string // "latest" without tag and digest
	Digest     oci.Digest
	// HasHost is set if the host was given.
	HasHost bool
}

// ParseName parses a name as Docker does: "app" is docker.io/library/app:latest.
func ParseName(s string) (Name, error) {
	parsed, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Name{}, fmt.Errorf("%q is not an image name such as registry.example.com/team/app:1: %w", s, err)
	}
	n := Name{Host: reference.Domain(parsed), Repository: reference.Path(parsed)}
	n.HasHost = strings.HasPrefix(s, n.Host+"/")
	if tagged, ok := parsed.(reference.Tagged); ok {
		n.Tag = tagged.Tag()
	}
	if digested, ok := parsed.(reference.Digested); ok {
		if n.Digest, err = oci.ParseDigest(digested.Digest().String()); err != nil {
			return Name{}, err
		}
	}
	if n.Tag == "" && n.Digest == "" {
		n.Tag = "latest"
	}
	return n, oci.CheckName(n.Repository)
}

// String returns the name as it was given, with the tag.
func (n Name) String() string {
	s := n.Host + "/" + n.Repository
	if !n.HasHost {
		s = strings.TrimPrefix(n.Repository, "library/")
	}
	if n.Tag != "" {
		s += ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + string(n.Digest)
	}
	return s
}

// Reference returns the digest, or else the tag.
func (n Name) Reference() oci.Reference {
	if n.Digest != "" {
		return oci.Reference{Digest: n.Digest}
	}
	return oci.Reference{Tag: n.Tag}
}
