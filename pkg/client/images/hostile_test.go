package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// layoutOf makes a layout with an image, and returns its directory and its root.
func layoutOf(t *testing.T, spool *Spool) (string, oci.Descriptor) {
	t.Helper()
	dir := t.TempDir()
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000)))
	r := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), must(ToLayout(dir, "1"))(t), Options{}))(t)
	info := must(os.Stat(filepath.Join(dir, blobPath(r.Digest))))(t)
	return dir, oci.Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: info.Size()}
}

// rename makes index.json say that the layout has these.
func rename(t *testing.T, dir string, all ...oci.Descriptor) {
	t.Helper()
	content := jsonOf(t, oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: all})
	if err := os.WriteFile(filepath.Join(dir, indexFile), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// nest puts the image into indexes of indexes, each of which names the one below twice.
func nest(t *testing.T, dir string, d oci.Descriptor, depth int) oci.Descriptor {
	t.Helper()
	for range depth {
		c := child{Descriptor: d}
		if !isIndex(d.MediaType) {
			c.Platform = &Platform{OS: "linux", Architecture: "amd64"}
		}
		attestation := child{Descriptor: d, Platform: &Platform{OS: "unknown", Architecture: "unknown"}}
		content := indexOf(t, c, c, attestation)
		d = oci.Descriptor{MediaType: oci.MediaTypeImageIndex, Digest: digestOf(content), Size: int64(len(content))}
		if err := os.WriteFile(filepath.Join(dir, blobPath(d.Digest)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestHostileLayouts: index.json leads neither out of the layout nor into endless recursion.
func TestHostileLayouts(t *testing.T) {
	spool := testSpool(t)
	dir, image := layoutOf(t, spool)
	reg := newTestRegistry(t)
	arm := Platform{OS: "linux", Architecture: "arm64"}
	amd := Platform{OS: "linux", Architecture: "amd64"}
	larger := image
	larger.Size++
	outside := image
	outside.Digest = "sha256:../../" + indexFile
	foreign := image
	foreign.Digest = "md5:abc"
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "md5"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs", "md5", "abc"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		root     oci.Descriptor
		platform *Platform
		want     string // in the error; empty: none
	}{
		"another size":             {larger, nil, "says " + fmt.Sprint(larger.Size)},
		"a path":                   {outside, nil, "DIGEST_INVALID"},
		"an unknown digest":        {foreign, nil, "DIGEST_INVALID"},
		"nested":                   {nest(t, dir, image, maxNesting), nil, ""},
		"nested, for a platform":   {nest(t, dir, image, maxNesting), &amd, ""},
		"nested, for another":      {nest(t, dir, image, maxNesting), &arm, "only for linux/amd64: choose"},
		"too deep":                 {nest(t, dir, image, maxNesting+1), nil, "deep"},
		"too deep, for a platform": {nest(t, dir, image, maxNesting+1), &amd, "deep"},
	} {
		rename(t, dir, test.root)
		_, err := copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, "x:1"), Options{Platform: test.platform})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestSearchOnce: an index that is named on many ways is looked into once.
func TestSearchOnce(t *testing.T) {
	dir, image := layoutOf(t, testSpool(t))
	root := nest(t, dir, image, 10)
	source := must(FromLayout(dir, oci.Reference{}))(t).(*directory)
	find, reads := source.find, 0
	source.find = func(d oci.Descriptor) (Blob, bool) {
		reads++
		return find(d)
	}
	_, err := pick(t.Context(), source, root, &Platform{OS: "linux", Architecture: "arm64"})
	if !errors.Is(err, errNoPlatform) || reads != 10 {
		t.Errorf("%d reads of 10 indexes: %v", reads, err)
	}
}

// TestManifestsAreBounded: those of one image are held in memory.
func TestManifestsAreBounded(t *testing.T) {
	tr := newTransfer(t.Context(), nil, limits{}, Options{})
	defer tr.stop()
	m := manifestOf(oci.Descriptor{}, make([]byte, maxManifests/2))
	if err := errors.Join(tr.manifest(m), tr.manifest(m)); err != nil {
		t.Fatal(err)
	}
	if err := tr.manifest(manifestOf(oci.Descriptor{}, []byte("{}"))); err == nil {
		t.Error("there is no end to it")
	}
}

// TestAFailedSourceEndsTheLayers: a failed source cancels the layers.
func TestAFailedSourceEndsTheLayers(t *testing.T) {
	reg := newTestRegistry(t)
	layer := tarLayer(t, 1, 1000)
	s := saved{Config: "c.json", Layers: []string{"l.tar", "missing.tar"}}
	archive := tarOf(t, member{name: "l.tar", content: layer}, member{name: "c.json", content: testConfig(t, "amd64", layer)}, member{name: manifestFile, content: jsonOf(t, []saved{s})})
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	from := must(FromArchive(place(t, "docker-archive:"+writeFile(t, archive)), nil, testSpool(t)))(t)
	ended := make(chan error, 1)
	go func() {
		_, err := copyImage(t, from, reg.to(t, "app:1"), Options{})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "missing.tar") {
			t.Errorf("%v, want the layer that is missing", err)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("the copy waits for its layers")
	}
}

// TestSequential: pipes and compressed archives contain the requested image, or nothing is sent.
func TestSequential(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	archive := oldArchive(t, "app:1", tarLayer(t, 1, 1000))
	dir, _ := layoutOf(t, spool)
	oci := filepath.Join(t.TempDir(), "oci.tar")
	must(copyImage(t, must(FromLayout(dir, place(t, "oci:"+dir+":1").Selector))(t), must(ToArchive(place(t, "oci-archive:"+oci+":1"), spool))(t), Options{}))(t)
	packed := writeFile(t, gzipped(t, archive))
	packedOCI := writeFile(t, gzipped(t, must(os.ReadFile(oci))(t)))
	for s, want := range map[string]string{
		"docker-archive:" + packed:                             "",
		"docker-archive:" + packed + ":app:1":                  "",
		"docker-archive:" + packed + ":other:1":                "no image other:1",
		"oci-archive:" + packedOCI + ":1":                      "",
		"oci-archive:" + packedOCI + ":2":                      "no image 2",
		"docker-archive:" + writeFile(t, []byte("BZh91AY&SY")): "bzip2 -dc",
		"docker-archive:" + dir:                                "is a directory",
	} {
		from, err := FromArchive(place(t, s), nil, spool)
		if err == nil {
			_, err = copyImage(t, from, reg.to(t, "x:1"), Options{})
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("no pipes here: %s", out)
	}
	go func() { _ = os.WriteFile(pipe, archive, 0o600) }()
	must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+pipe), nil, spool))(t), reg.to(t, "pipe:1"), Options{}))(t)
	if _, err := ToArchive(place(t, "docker-archive:"+pipe), spool); err == nil {
		t.Error("a pipe is replaced by an archive")
	}
}

// TestCancelASilentPipe: a context ends the wait for bytes that never come.
func TestCancelASilentPipe(t *testing.T) {
	silent, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	from := must(FromArchive(place(t, "docker-archive:-"), silent, testSpool(t)))(t)
	if _, err := Copy(ctx, from, newTestRegistry(t).to(t, "app:1"), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

// TestFilesOfOthersStay: other files beside an archive stay.
func TestFilesOfOthersStay(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * abandonedIn)
	for _, name := range []string{".pierless-token", partPrefix + "1"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	w := must(ToArchive(place(t, "oci-archive:"+filepath.Join(dir, "a.tar")), testSpool(t)))(t)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if left := must(os.ReadDir(dir))(t); len(left) != 1 || left[0].Name() != ".pierless-token" {
		t.Errorf("%v is left, want .pierless-token", left)
	}
}

// TestBlobOfARegistryFromAnOffset: parts do not read the bytes before them.
func TestBlobOfARegistryFromAnOffset(t *testing.T) {
	reg := newTestRegistry(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1<<20)))
	r := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, testSpool(t)))(t), reg.to(t, "app:1"), Options{}))(t)
	from := must(newRemote(reg.Client, reg.name(t, "app:1")))(t)
	l := r.Layers[0]
	b := from.blob(oci.Descriptor{Digest: l.Digest, Size: l.Size})
	whole := must(io.ReadAll(must(b.open(t.Context(), 0))(t)))(t)
	var ranges []string
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		ranges = append(ranges, r.Header.Get("Range"))
		return false
	})
	for _, offset := range []int64{1, l.Size / 2, l.Size} {
		if rest := must(io.ReadAll(must(b.open(t.Context(), offset))(t)))(t); string(rest) != string(whole[offset:]) {
			t.Errorf("from %d: %d bytes, or others", offset, len(rest))
		}
	}
	if want := fmt.Sprintf("[bytes=1- bytes=%d-]", l.Size/2); fmt.Sprint(ranges) != want {
		t.Errorf("asked for %v, want %s", ranges, want)
	}
}

// TestNamesWithoutDigests: the name in a Result has no digest: the caller adds it.
func TestNamesWithoutDigests(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000)))
	d := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), reg.to(t, "app:1"), Options{}))(t).Digest
	n := reg.name(t, "app@"+string(d))
	file := filepath.Join(t.TempDir(), "a.tar")
	archive := must(ToArchive(Reference{Transport: DockerArchive, Path: file, Name: n}, spool))(t)
	for _, to := range []Destination{archive, ToDaemon(t.Context(), &fakeDaemon{}, n, spool), reg.to(t, "app@"+string(d))} {
		if r := must(copyImage(t, reg.from(t, "app:1"), to, Options{}))(t); strings.Contains(r.Name, "@") {
			t.Errorf("the name is %s", r.Name)
		}
	}
}

// TestTooManyNames: a small archive can name more files than there is memory for.
func TestTooManyNames(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	name := strings.Repeat("n", 1<<19)
	for i := range maxNames>>19 + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i, name), Typeflag: tar.TypeSymlink, Linkname: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	spool := testSpool(t)
	for how, content := range map[string][]byte{"plain": b.Bytes(), "compressed": gzipped(t, b.Bytes())} {
		from, err := FromArchive(place(t, "docker-archive:"+writeFile(t, content)), nil, spool)
		if err == nil {
			_, err = copyImage(t, from, newTestRegistry(t).to(t, "x:1"), Options{})
		}
		if err == nil || !strings.Contains(err.Error(), "too many files") {
			t.Errorf("%s: %v", how, err)
		}
	}
}

// TestSavedLists: the list of an archive is read to its end, and not held.
func TestSavedLists(t *testing.T) {
	list := []byte("[" + strings.Repeat("{},", 100_000) + "{}]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := chooseSaved(list, Name{}); err == nil || !strings.Contains(err.Error(), "100001 images") {
		t.Errorf("%v", err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("it takes %d bytes", grown)
	}
	for _, bad := range []string{"", "{}", "null", `[{"Config":"c"}`, `[{"Config":1}]`, `[{}`, `[{},]`} {
		if _, err := chooseSaved([]byte(bad), Name{}); err == nil || !strings.Contains(err.Error(), "manifest.json") {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}
