package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// Media types of images (image spec, "Media Types", and Docker's schema 2).
const (
	ociConfig    = "application/vnd.oci.image.config.v1+json"
	ociGzip      = "application/vnd.oci.image.layer.v1.tar+gzip"
	ociZstd      = "application/vnd.oci.image.layer.v1.tar+zstd"
	dockerConfig = "application/vnd.docker.container.image.v1+json"
	dockerGzip   = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func isConfig(mediaType string) bool { return mediaType == ociConfig || mediaType == dockerConfig }

// layerType returns the media type of a layer, as docker push sets it. Docker has none for zstd:
// an image with such layers is an OCI image.
func layerType(zstd bool) string {
	if zstd {
		return ociZstd
	}
	return dockerGzip
}

// saved is one image in the manifest.json of docker save.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// chooseSaved finds the image with a name in a manifest.json; the zero Name matches any.
func chooseSaved(content []byte, n Name) (saved, error) {
	// Decode one entry at a time: a large array of empty objects needs far more memory than
	// its JSON.
	var chosen saved
	var names []string
	all, found := 0, 0
	d := json.NewDecoder(bytes.NewReader(content))
	start, err := d.Token()
	if err == nil && start != json.Delim('[') {
		err = errors.New("it is not a list")
	}
	for ; err == nil && d.More(); all++ {
		var s saved
		err = d.Decode(&s)
		names = append(names, s.RepoTags...)
		if n == (Name{}) || slices.ContainsFunc(s.RepoTags, n.matches) {
			chosen = s
			found++
		}
	}
	if err == nil {
		_, err = d.Token() // the end of the list
	}
	switch {
	case err != nil:
		return saved{}, fmt.Errorf("read the archive's manifest.json: %w", err)
	case found == 1:
		return chosen, nil
	case found == 0 && all == 1:
		return saved{}, fmt.Errorf("the archive has no image %s, but %v", n, names)
	case found == 0:
		return saved{}, fmt.Errorf("the archive has no image %s among %v", n, names)
	}
	return saved{}, fmt.Errorf("the archive has %d images: choose one of %v as docker-archive:FILE:NAME:TAG", found, names)
}

// matches reports whether s, as archives contain it, is the same name.
func (n Name) matches(s string) bool {
	other, err := ParseName(s)
	return err == nil && other.Host == n.Host && other.Repository == n.Repository && other.Tag == n.Tag
}

// assemble makes the manifest of an image from config and layers, as docker push does, and hands
// both over.
func assemble(ctx context.Context, config []byte, layers []layer, t *transfer) (client.Manifest, error) {
	var c struct {
		Platform
		RootFS struct {
			DiffIDs []oci.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return client.Manifest{}, fmt.Errorf("read the image's config: %w", err)
	}
	if p := t.opts.Platform; p != nil && c.OS != "" && (c.OS != p.OS || c.Architecture != p.Architecture) {
		return client.Manifest{}, fmt.Errorf("the image is for %s, not for %s: choose with --platform", c.Platform, p)
	}
	if len(c.RootFS.DiffIDs) != len(layers) {
		return client.Manifest{}, fmt.Errorf("the image's config lists %d layers, the archive has %d", len(c.RootFS.DiffIDs), len(layers))
	}
	zstd := slices.ContainsFunc(layers, func(l layer) bool { return l.zstd })
	m := imageManifest{MediaType: oci.MediaTypeDockerManifest}
	configType := dockerConfig
	if zstd {
		m.MediaType, configType = oci.MediaTypeImageManifest, ociConfig
	}
	for i, l := range layers {
		if l.diffID != "" && l.diffID != c.RootFS.DiffIDs[i] {
			return client.Manifest{}, fmt.Errorf("layer %d is damaged: it is %s and should be %s", i+1, l.diffID, c.RootFS.DiffIDs[i])
		}
		d := l.Descriptor
		if zstd && !l.zstd {
			d.MediaType = ociGzip
		}
		m.Layers = append(m.Layers, d)
	}
	return m.send(ctx, configType, config, t)
}

// imageManifest is a manifest made here, with the fields in docker's order.
type imageManifest struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Config        oci.Descriptor   `json:"config"`
	Layers        []oci.Descriptor `json:"layers"`
}

// send completes the manifest with its config and hands both over.
func (m imageManifest) send(ctx context.Context, configType string, config []byte, t *transfer) (client.Manifest, error) {
	m.SchemaVersion = 2
	m.Config = oci.Descriptor{MediaType: configType, Digest: oci.SHA256.FromBytes(config), Size: int64(len(config))}
	if err := t.blob(ctx, bytesBlob(m.Config, config)); err != nil {
		return client.Manifest{}, err
	}
	if m.Layers == nil {
		m.Layers = []oci.Descriptor{} // the spec requires a list
	}
	content, err := json.Marshal(m)
	if err != nil {
		return client.Manifest{}, err
	}
	made := manifestOf(oci.Descriptor{MediaType: m.MediaType, Digest: oci.SHA256.FromBytes(content)}, content)
	if len(content) > maxManifest {
		return made, errors.New("the image has too many layers for one manifest")
	}
	return made, t.manifest(made)
}
