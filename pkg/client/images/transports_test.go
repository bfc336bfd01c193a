package images

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// pushIndex puts an index of two images into a registry.
func pushIndex(t *testing.T, reg *testRegistry, spool *Spool, tag string) client.Manifest {
	t.Helper()
	var children []child
	for _, arch := range []string{"amd64", "arm64"} {
		layer := tarLayer(t, uint64(len(children)+1), 1000)
		config := testConfig(t, arch, layer)
		s := saved{Config: "c.json", Layers: []string{"l.tar"}}
		archive := tarOf(t, member{name: "c.json", content: config}, member{name: "l.tar", content: layer}, member{name: manifestFile, content: jsonOf(t, []saved{s})})
		from := must(FromArchive(place(t, "docker-archive:"+writeFile(t, archive)), nil, spool))(t)
		r := must(copyImage(t, from, reg.to(t, tag+arch), Options{}))(t)
		m := must(must(reg.Repository(reg.name(t, tag).Repository))(t).Manifest(t.Context(), oci.Reference{Digest: r.Digest}))(t)
		p := Platform{OS: "linux", Architecture: arch}
		children = append(children, child{m.Descriptor, &p})
	}
	content := indexOf(t, children...)
	m := manifestOf(oci.Descriptor{MediaType: oci.MediaTypeImageIndex, Digest: digestOf(content)}, content)
	if err := reg.to(t, tag).(*remote).push(t.Context(), oci.Reference{Tag: reg.name(t, tag).Tag}, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestIndex(t *testing.T) {
	from, to := newTestRegistry(t), newTestRegistry(t)
	spool := testSpool(t)
	root := pushIndex(t, from, spool, "multi:1")
	r := must(copyImage(t, from.from(t, "multi:1"), to.to(t, "all:1"), Options{}))(t)
	if r.Digest != root.Digest || len(r.Layers) != 4 {
		t.Errorf("the whole index: %+v", r)
	}
	dir := t.TempDir()
	must(copyImage(t, from.from(t, "multi:1"), must(ToLayout(dir, "1"))(t), Options{}))(t)
	for arch, want := range map[string]string{"arm64": "", "arm64/v8": "", "s390x": "linux/amd64, linux/arm64"} {
		p := must(ParsePlatform("linux/" + arch))(t)
		r, err := copyImage(t, must(FromLayout(dir, oci.Reference{Tag: "1"}))(t), to.to(t, "one:1"), Options{Platform: &p})
		if want == "" && (err != nil || len(r.Layers) != 2 || r.Digest == root.Digest) {
			t.Errorf("%s: %+v, %v", arch, r, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want an error with %q", arch, err, want)
		}
	}
	p := Platform{OS: "linux", Architecture: "amd64"}
	if _, err := copyImage(t, to.from(t, "one:1"), to.to(t, "wrong:1"), Options{Platform: &p}); err == nil || !strings.Contains(err.Error(), "the image is for linux/arm64") {
		t.Errorf("an image for another platform: %v", err)
	}
}

// TestDockerSave is the forms that docker save has, from a file and from front to end.
func TestDockerSave(t *testing.T) {
	layers := [][]byte{tarLayer(t, 1, 5000), tarLayer(t, 2, 5000)}
	packed, image := layoutArchive(t, "app:1", true, nil, layers...)
	plain, _ := layoutArchive(t, "app:1", false, nil, layers...)
	partial, partialImage := layoutArchive(t, "app:1", true, []string{"arm64", "s390x"}, layers...)
	for name, tt := range map[string]struct {
		archive []byte
		want    oci.Digest // empty: a new one
		note    string
	}{
		"containerd's store": {packed, image.Digest, ""},
		"graph driver":       {plain, "", ""},
		"one platform of it": {partial, partialImage.Digest, "only for linux/amd64"},
		"before layouts":     {oldArchive(t, "app:1", layers...), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			reg := newTestRegistry(t)
			spool := testSpool(t)
			var digests []oci.Digest
			for how, source := range map[string]Source{
				"file":   must(FromArchive(place(t, "docker-archive:"+writeFile(t, tt.archive)+":app:1"), nil, spool))(t),
				"packed": must(FromArchive(place(t, "docker-archive:"+writeFile(t, gzipped(t, tt.archive))), nil, spool))(t),
				"stdin":  must(FromArchive(place(t, "docker-archive:-"), bytes.NewReader(tt.archive), spool))(t),
				"daemon": FromDaemon(&fakeDaemon{archive: tt.archive}, must(ParseName("app:1"))(t), spool),
			} {
				w := &watcher{}
				r, err := copyImage(t, source, reg.to(t, how+":1"), Options{Observer: w})
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				digests = append(digests, r.Digest)
				if tt.want != "" && (r.Digest != tt.want || w.stages[Compressing] > 0) {
					t.Errorf("%s: %s, want the manifest as it is, %s; stages %v", how, r.Digest, tt.want, w.stages)
				}
				if tt.want == "" && w.stages[Compressing] != len(layers) {
					t.Errorf("%s: stages %v, want each layer compressed once", how, w.stages)
				}
				if notes := strings.Join(w.notes, "\n"); !strings.Contains(notes, tt.note) {
					t.Errorf("%s: notes %q, want %q", how, notes, tt.note)
				}
				checkLayers(t, reg.from(t, how+":1"), layers...)
			}
			if len(slices.Compact(digests)) != 1 {
				t.Errorf("one image has the digests %v", digests)
			}
		})
	}
}

func TestDockerSaveRefuses(t *testing.T) {
	layer := tarLayer(t, 1, 1000)
	config := testConfig(t, "amd64", layer)
	good := []member{{name: "c.json", content: config}, {name: "l.tar", content: layer}}
	list := func(s ...saved) member { return member{name: manifestFile, content: jsonOf(t, s)} }
	one := saved{Config: "c.json", RepoTags: []string{"app:1"}, Layers: []string{"l.tar"}}
	for want, archive := range map[string][]byte{
		"neither index.json nor manifest.json": tarOf(t, good...),
		"no layer x.tar":                       tarOf(t, append(good, list(saved{Config: "c.json", Layers: []string{"x.tar"}}))...),
		"the archive has 2":                    tarOf(t, append(good, list(saved{Config: "c.json", Layers: []string{"l.tar", "l.tar"}}))...),
		"choose one of [app:1 other:1]":        tarOf(t, append(good, list(one, saved{Config: "c.json", RepoTags: []string{"other:1"}}))...),
		"is damaged":                           tarOf(t, member{name: "c.json", content: config}, member{name: "l.tar", content: tarLayer(t, 2, 1000)}, list(one)),
		"unexpected EOF":                       tarOf(t, good...)[:2000],
	} {
		reg := newTestRegistry(t)
		p := place(t, "docker-archive:"+writeFile(t, archive))
		from, err := FromArchive(p, nil, testSpool(t))
		if err == nil {
			_, err = copyImage(t, from, reg.to(t, "app:1"), Options{})
		}
		if err == nil || !strings.Contains(err.Error(), want) || reg.resolve(t, "app:1") != "" {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestLayoutAfterAKill: parts of files and a missing index.json are no obstacle.
func TestLayoutAfterAKill(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000), tarLayer(t, 2, 1000)))
	r := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), reg.to(t, "app:1"), Options{}))(t)
	dir := t.TempDir()
	to := must(ToLayout(dir, "1"))(t)
	// What kill -9 leaves: one blob whole, one under its name for parts, no index.json.
	must(to.putBlob(t.Context(), reg.from(t, "app:1").(*remote).blob(oci.Descriptor{Digest: r.Layers[0].Digest, Size: r.Layers[0].Size}), func(int64) {}))(t)
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", partPrefix+"1"), []byte("part"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FromLayout(dir, oci.Reference{}); err == nil {
		t.Error("an unfinished layout is read")
	}
	second := must(copyImage(t, reg.from(t, "app:1"), must(ToLayout(dir, "1"))(t), Options{}))(t)
	if h := hows(second); h[client.Existed] != 1 || h[Written] != len(r.Layers)-1 {
		t.Errorf("the second run: %v", h)
	}
	must(copyImage(t, reg.from(t, "app:1"), must(ToLayout(dir, "2"))(t), Options{}))(t)
	for _, tag := range []string{"1", "2"} {
		back := must(copyImage(t, must(FromLayout(dir, oci.Reference{Tag: tag}))(t), reg.to(t, "back:"+tag), Options{}))(t)
		if back.Digest != r.Digest {
			t.Errorf("tag %s came back as %s", tag, back.Digest)
		}
	}
	if _, err := copyImage(t, must(FromLayout(dir, oci.Reference{Tag: "3"}))(t), reg.to(t, "x:1"), Options{}); err == nil || !strings.Contains(err.Error(), "its tags: [1 2]") {
		t.Errorf("a tag that is not there: %v", err)
	}
	if _, err := ToLayout(filepath.Dir(path), "1"); err == nil {
		t.Error("a directory with other files in it is accepted as a layout")
	}
}

func TestForeignLayersStay(t *testing.T) {
	reg := newTestRegistry(t)
	dir := t.TempDir()
	config := testConfig(t, "amd64")
	m := imageManifest{SchemaVersion: 2, MediaType: oci.MediaTypeImageManifest, Config: oci.Descriptor{MediaType: ociConfig, Digest: digestOf(config), Size: int64(len(config))}}
	m.Layers = []oci.Descriptor{{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Digest: digestOf(nil), Size: 7, URLs: []string{"https://example.com/l"}}}
	content := jsonOf(t, m)
	root := manifestOf(oci.Descriptor{MediaType: m.MediaType, Digest: digestOf(content)}, content)
	to := must(ToLayout(dir, "1"))(t)
	must(to.putBlob(t.Context(), bytesBlob(m.Config, config), func(int64) {}))(t)
	must(to.finish(t.Context(), root))(t)
	w := &watcher{}
	r := must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, "win:1"), Options{Observer: w}))(t)
	if want := map[client.PushMethod]int{Skipped: 1, client.Chunked: 1}; !maps.Equal(hows(r), want) && hows(r)[Skipped] != 1 || len(w.notes) != 1 {
		t.Errorf("%+v, notes %v", r, w.notes)
	}
}
