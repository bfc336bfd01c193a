package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// fakeDaemon keeps the archive that it was given last, and knows its image by the ID that
// Docker gives it: 20.10 and 29 with the classic store, 29 with containerd's.
type fakeDaemon struct {
	archive []byte
	asked   *Platform
	err     error
	info    DaemonInfo
	inspect []string // names that it was asked for
}

func (d *fakeDaemon) Save(_ context.Context, _ string, p *Platform) (io.ReadCloser, error) {
	d.asked = p
	return io.NopCloser(bytes.NewReader(d.archive)), d.err
}

func (d *fakeDaemon) Load(ctx context.Context, r io.Reader) error {
	if d.err != nil {
		return d.err
	}
	content, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		d.archive = content
	}
	return err
}

func (d *fakeDaemon) Info(context.Context) (DaemonInfo, error) {
	info := d.info
	info.Platform = Platform{OS: "linux", Architecture: "amd64"}
	return info, d.err
}

func (d *fakeDaemon) ImageID(_ context.Context, name string) (oci.Digest, error) {
	d.inspect = append(d.inspect, name)
	files := d.files()
	var in index
	if err := json.Unmarshal(files[indexFile], &in); err != nil {
		return "", err
	}
	root := in.Manifests[0].Descriptor
	switch {
	case d.info.KeepsManifests && files[layoutFile] != nil:
		return root.Digest, nil
	case files[manifestFile] == nil:
		return "", errors.New("unrecognized image format")
	case d.info.KeepsManifests: // it makes a manifest of uncompressed layers
		return oci.SHA256.FromBytes(files[manifestFile]), nil
	}
	var list []saved
	if err := json.Unmarshal(files[manifestFile], &list); err != nil {
		return "", err
	}
	return oci.SHA256.FromBytes(files[list[0].Config]), nil
}

// files are those of the archive.
func (d *fakeDaemon) files() map[string][]byte {
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(d.archive)); ; {
		h, err := r.Next()
		if err != nil {
			return files
		}
		files[h.Name], _ = io.ReadAll(r)
	}
}

// docker25 is a daemon with containerd's store that keeps indexes as docker pull does.
var docker25 = DaemonInfo{KeepsManifests: true, SparseIndexes: true}

// TestIndexIntoDaemon: a daemon gets the image for its platform. Containerd's store keeps
// the index, as with docker pull, and so the digest.
func TestIndexIntoDaemon(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	root := pushIndex(t, reg, spool, "multi:1")
	amd64, arm64 := reg.resolve(t, "multi:1amd64"), reg.resolve(t, "multi:1arm64")
	arm := &Platform{OS: "linux", Architecture: "arm64"}
	for name, tt := range map[string]struct {
		info     DaemonInfo
		ref      string
		platform *Platform
		digest   oci.Digest // of the result
		name     string     // of the image in index.json
		has, not oci.Digest // manifests in the archive
	}{
		"Docker 25":        {docker25, "multi:1", nil, root.Digest, "multi:1", amd64, arm64},
		"another platform": {docker25, "multi:1", arm, root.Digest, "multi:1", arm64, amd64},
		"by digest":        {docker25, "multi@" + string(root.Digest), nil, root.Digest, "multi@" + string(root.Digest), amd64, arm64},
		"one image":        {docker25, "multi:1arm64", arm, arm64, "multi:1arm64", arm64, root.Digest},
		"Docker 24":        {DaemonInfo{KeepsManifests: true}, "multi:1", nil, amd64, "multi:1", amd64, root.Digest},
		"classic":          {DaemonInfo{SparseIndexes: true}, "multi:1", nil, amd64, "multi:1", amd64, root.Digest},
	} {
		t.Run(name, func(t *testing.T) {
			d, w := &fakeDaemon{info: tt.info}, &watcher{}
			to := ToDaemon(t.Context(), d, reg.name(t, tt.ref), spool)
			r := must(copyImage(t, reg.from(t, tt.ref), to, Options{Platform: tt.platform, Observer: w}))(t)
			if r.Digest != tt.digest || len(r.Layers) != 2 {
				t.Errorf("%+v, want the digest %s", r, tt.digest)
			}
			files := d.files()
			if files[blobPath(tt.has)] == nil || files[blobPath(tt.not)] != nil {
				t.Errorf("the archive has %d files, not %s alone", len(files), tt.has)
			}
			var in index
			if err := json.Unmarshal(files[indexFile], &in); err != nil || len(in.Manifests) != 1 ||
				in.Manifests[0].Digest != tt.digest || in.Manifests[0].Annotations[imageName] != reg.Host()+"/"+tt.name {
				t.Errorf("index.json %s, %v", files[indexFile], err)
			}
			classic := !tt.info.KeepsManifests
			if (files[manifestFile] != nil) != classic || (r.ImageID != "") != classic || (len(w.notes) > 0) != classic {
				t.Errorf("manifest.json %q, ID %q, notes %q", files[manifestFile], r.ImageID, w.notes)
			}
		})
	}
}

// TestNestedIndexIntoDaemon: all indexes on the way to the image are kept.
func TestNestedIndexIntoDaemon(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	inner := pushIndex(t, reg, spool, "app:1")
	repo := must(reg.Repository("app"))(t)
	content := indexOf(t, child{inner.Descriptor, nil})
	outer := must(repo.PushManifest(t.Context(), oci.Reference{Tag: "outer"}, oci.MediaTypeImageIndex, content))(t)
	d := &fakeDaemon{info: docker25}
	to := ToDaemon(t.Context(), d, reg.name(t, "app:outer"), spool)
	r := must(copyImage(t, reg.from(t, "app:outer"), to, Options{}))(t)
	files := d.files()
	if r.Digest != outer.Digest || files[blobPath(outer.Digest)] == nil || files[blobPath(inner.Digest)] == nil {
		t.Errorf("%+v, want %s", r, outer.Digest)
	}
}

// TestAttestationsIntoDaemon: those of the image make the index of a build for one
// platform complete, so that the daemon can push it on. One that is gone is no obstacle.
func TestAttestationsIntoDaemon(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	pushIndex(t, reg, spool, "app:1")
	repo := must(reg.Repository("app"))(t)
	var entries []map[string]any
	attests := map[string]oci.Digest{}
	for _, arch := range []string{"amd64", "arm64"} {
		image := must(repo.Resolve(t.Context(), oci.Reference{Tag: "1" + arch}))(t)
		m := artifactOf(t, repo, "application/x-"+arch, nil)
		must(repo.PushManifest(t.Context(), oci.Reference{Digest: m.Digest}, m.MediaType, m.Content))(t)
		attests[arch] = m.Digest
		entries = append(entries, map[string]any{
			"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size,
			"platform": Platform{OS: "linux", Architecture: arch},
		}, map[string]any{
			"mediaType": m.MediaType, "digest": m.Digest, "size": m.Size,
			"platform":    Platform{OS: "unknown", Architecture: "unknown"},
			"annotations": map[string]string{"vnd.docker.reference.digest": string(image.Digest)},
		})
	}
	index := jsonOf(t, map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": entries})
	root := must(repo.PushManifest(t.Context(), oci.Reference{Tag: "built"}, oci.MediaTypeImageIndex, index))(t)
	for _, gone := range []bool{false, true} {
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			hidden := gone && strings.HasSuffix(r.URL.Path, string(attests["amd64"]))
			if hidden {
				http.NotFound(w, r)
			}
			return hidden
		})
		for _, info := range []DaemonInfo{{}, docker25} {
			d := &fakeDaemon{info: info}
			to := ToDaemon(t.Context(), d, reg.name(t, "app:built"), spool)
			r := must(copyImage(t, reg.from(t, "app:built"), to, Options{}))(t)
			files := d.files()
			if want := info.KeepsManifests && !gone; (files[blobPath(attests["amd64"])] != nil) != want || files[blobPath(attests["arm64"])] != nil {
				t.Errorf("%+v, gone %t: the archive has %d files", info, gone, len(files))
			}
			if info.KeepsManifests && r.Digest != root.Digest {
				t.Errorf("%+v, want %s", r, root.Digest)
			}
		}
	}
}

// TestDaemonWithoutDigests: the result names the image as the daemon knows it.
func TestDaemonWithoutDigests(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	pushIndex(t, reg, spool, "app:1")
	digest := reg.resolve(t, "app:1amd64")
	repo := must(reg.Repository("app"))(t)
	m := must(repo.Manifest(t.Context(), oci.Reference{Digest: digest}))(t)
	config := must(oci.ParseManifest(m.MediaType, m.Content))(t).Blobs[0].Digest
	for ref, want := range map[string]string{
		"app:1amd64": reg.Host() + "/app:1amd64", "app@" + string(digest): string(config),
	} {
		d, w := &fakeDaemon{}, &watcher{}
		r := must(copyImage(t, reg.from(t, ref), ToDaemon(t.Context(), d, reg.name(t, ref), spool), Options{Observer: w}))(t)
		if r.Name != want || r.ImageID != config || r.Digest != digest || !slices.Equal(d.inspect, []string{want}) {
			t.Errorf("%s: %+v, asked for %q", ref, r, d.inspect)
		}
		notes := strings.Join(w.notes, "\n")
		if !strings.Contains(notes, string(digest)) || !strings.Contains(notes, string(config)) {
			t.Errorf("%s: notes %q", ref, notes)
		}
	}
}

// TestDaemonChangesTheDigest: a daemon that makes another manifest is not assumed to
// have the one that it was given.
func TestDaemonChangesTheDigest(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	pushIndex(t, reg, spool, "app:1")
	d := &changingDaemon{fakeDaemon{info: docker25}}
	r := must(copyImage(t, reg.from(t, "app:1"), ToDaemon(t.Context(), d, reg.name(t, "app:1"), spool), Options{}))(t)
	if r.ImageID != digestOf([]byte("other")) {
		t.Errorf("%+v", r)
	}
}

type changingDaemon struct{ fakeDaemon }

func (*changingDaemon) ImageID(context.Context, string) (oci.Digest, error) {
	return digestOf([]byte("other")), nil
}

// TestDaemonRefuses: images that Docker cannot run, and referrers.
func TestDaemonRefuses(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	root := pushIndex(t, reg, spool, "app:1")
	sbom := pushReferrer(t, reg, "app", root.Descriptor, "application/x-sbom")
	for _, info := range []DaemonInfo{{}, docker25} {
		ref := "app@" + string(sbom)
		d := &fakeDaemon{info: info}
		_, err := copyImage(t, reg.from(t, ref), ToDaemon(t.Context(), d, reg.name(t, "sbom:1"), spool), Options{})
		if err == nil || !strings.Contains(err.Error(), "not an image that Docker can run") || d.archive != nil {
			t.Errorf("an SBOM: %v", err)
		}
		w := &watcher{}
		to := func() Destination { return ToDaemon(t.Context(), d, reg.name(t, "app:1"), spool) }
		must(copyImage(t, reg.from(t, "app:1"), to(), Options{Referrers: true, Observer: w}))(t)
		if d.files()[blobPath(sbom)] != nil || !strings.Contains(strings.Join(w.notes, "\n"), "not copied") {
			t.Errorf("referrers went along, or nothing was said: %q", w.notes)
		}
		d.err = errors.New("no daemon")
		if _, err := copyImage(t, reg.from(t, "app:1"), to(), Options{}); !errors.Is(err, d.err) {
			t.Errorf("a daemon that does not answer: %v", err)
		}
	}
}
