package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// TestEveryDirection takes an image from docker save through every kind of place: its
// digest stays from the first registry on, and so do the bytes of its layers.
func TestEveryDirection(t *testing.T) {
	first, second := newTestRegistry(t), newTestRegistry(t)
	layers := [][]byte{tarLayer(t, 1, 3<<20), tarLayer(t, 2, 100), make([]byte, 1024)}
	path := writeFile(t, oldArchive(t, "app:1", layers...))
	spool := testSpool(t)
	dir := filepath.Join(t.TempDir(), "layout")
	ociFile, dockerFile := filepath.Join(t.TempDir(), "a.tar"), filepath.Join(t.TempDir(), "b.tar")
	daemon := &fakeDaemon{}

	docker := func() Source { return must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t) }
	r := must(copyImage(t, docker(), first.to(t, "team/app:1"), Options{}))(t)
	want := r.Digest
	if want == "" || first.resolve(t, "team/app:1") != want || len(r.Layers) != 4 || r.Name != first.Host()+"/team/app:1" {
		t.Fatalf("pushed %+v", r)
	}
	again := must(copyImage(t, docker(), first.to(t, "team/app:1"), Options{}))(t)
	if again.Digest != want || again.Sent > 1000 || hows(again)[client.Existed] != 1 {
		t.Errorf("the same again: %+v", again)
	}

	for _, step := range []struct {
		name string
		from func() Source
		to   func() Destination
	}{
		{"registry to layout", func() Source { return first.from(t, "team/app:1") }, func() Destination { return must(ToLayout(dir, "1"))(t) }},
		{"layout to registry", func() Source { return must(FromLayout(dir, oci.Reference{}))(t) }, func() Destination { return second.to(t, "a:1") }},
		{"registry to registry", func() Source { return second.from(t, "a:1") }, func() Destination { return first.to(t, "b:1") }},
		{"registry to oci-archive", func() Source { return second.from(t, "a:1") }, func() Destination { return must(ToArchive(place(t, "oci-archive:"+ociFile+":1"), spool))(t) }},
		{"oci-archive to registry", func() Source { return must(FromArchive(place(t, "oci-archive:"+ociFile), nil, spool))(t) }, func() Destination { return second.to(t, "c:1") }},
		{"registry to docker-archive", func() Source { return second.from(t, "c:1") }, func() Destination { return must(ToArchive(place(t, "docker-archive:"+dockerFile+":app:2"), spool))(t) }},
		{"docker-archive to registry", func() Source {
			return must(FromArchive(place(t, "docker-archive:"+dockerFile+":app:2"), nil, spool))(t)
		}, func() Destination { return second.to(t, "d:1") }},
		{"registry to daemon", func() Source { return second.from(t, "d:1") }, func() Destination { return ToDaemon(t.Context(), daemon, second.name(t, "d:1"), spool) }},
		{"daemon to registry", func() Source { return FromDaemon(daemon, second.name(t, "d:1"), spool) }, func() Destination { return second.to(t, "e:1") }},
	} {
		opts := Options{}
		if strings.Contains(step.name, "docker-archive") || strings.Contains(step.name, "daemon") {
			opts.Platform = &Platform{OS: "linux", Architecture: "amd64"}
		}
		r, err := copyImage(t, step.from(), step.to(), opts)
		if err != nil || r.Digest != want {
			t.Fatalf("%s: %+v, %v, want the digest %s", step.name, r, err, want)
		}
	}
	checkLayers(t, second.from(t, "e:1"), layers...)
}

// checkLayers compares an image's layers with the uncompressed ones.
func checkLayers(t *testing.T, from Source, want ...[]byte) {
	t.Helper()
	dir := t.TempDir()
	r := must(copyImage(t, from, must(ToLayout(dir, ""))(t), Options{}))(t)
	content := must(os.ReadFile(filepath.Join(dir, blobPath(r.Digest))))(t)
	m := must(oci.ParseManifest(r.MediaType, content))(t)
	for i, w := range want {
		packed := must(os.ReadFile(filepath.Join(dir, blobPath(m.Blobs[i+1].Digest))))(t)
		if got := gunzipped(t, packed); !bytes.Equal(got, w) {
			t.Errorf("layer %d has other bytes", i)
		}
	}
}

func place(t *testing.T, s string) Reference {
	t.Helper()
	return must(ParseReference(s, InRegistry))(t)
}

// TestAFailedCopyGoesOn: a layer that fails ends the copy, names itself, leaves no tag;
// the same copy again sends what is left.
func TestAFailedCopyGoesOn(t *testing.T) {
	reg := newTestRegistry(t)
	layers := [][]byte{tarLayer(t, 1, 300_000), tarLayer(t, 2, 300_000), tarLayer(t, 3, 300_000)}
	path := writeFile(t, oldArchive(t, "app:1", layers...))
	spool := testSpool(t)
	done := 0
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		if done++; done <= 3 {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInsufficientStorage)
		return true
	})
	source := func() Source { return must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t) }
	_, err := copyImage(t, source(), reg.to(t, "app:1"), Options{Jobs: 1})
	failed := regexp.MustCompile(`layer (sha256:\w+): `).FindStringSubmatch(fmt.Sprint(err))
	if failed == nil || strings.Count(err.Error(), failed[1]) != 1 {
		t.Fatalf("%v, want an error that names a layer once", err)
	}
	reg.intercept(nil)
	if d := reg.resolve(t, "app:1"); d != "" {
		t.Errorf("a tag of a failed copy: %s", d)
	}
	r := must(copyImage(t, source(), reg.to(t, "app:1"), Options{}))(t)
	if h := hows(r); h[client.Existed] == 0 || h[client.Existed] == 4 {
		t.Errorf("the second copy: %v, want some that were there and some that were not", h)
	}
	checkLayers(t, reg.from(t, "app:1"), layers...)
}

// TestCancel: the end of the context ends a copy whose requests hang.
func TestCancel(t *testing.T) {
	reg := newTestRegistry(t)
	spool := testSpool(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000), tarLayer(t, 2, 1000)))
	ctx, cancel := context.WithCancel(t.Context())
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		cancel()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	from := must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t)
	ended := make(chan error, 1)
	go func() {
		_, err := Copy(ctx, from, reg.to(t, "app:1"), Options{})
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cancelled", err)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("the copy goes on")
	}
	from.Close()
	reg.intercept(nil)
	if d := reg.resolve(t, "app:1"); d != "" {
		t.Errorf("a tag of a cancelled copy: %s", d)
	}
}

// TestMount: inside one registry no blob is read or sent, whatever its size.
func TestMount(t *testing.T) {
	reg := newTestRegistry(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 10<<20), tarLayer(t, 2, 200_000), tarLayer(t, 3, 100)))
	spool := testSpool(t)
	must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), reg.to(t, "a:1"), Options{}))(t)
	asked := &requests{}
	reg.intercept(asked.record)
	r := must(copyImage(t, reg.from(t, "a:1"), reg.to(t, "b:1"), Options{}))(t)
	if r.Sent != 0 || hows(r)[client.Mounted] != 4 {
		t.Errorf("%+v, want that all blobs were mounted", r)
	}
	for _, request := range asked.take() {
		if strings.Contains(request, "/blobs/sha256:") {
			t.Errorf("%s: a mount needs no look at the blob", request)
		}
	}
	reg.intercept(nil)
	again := must(copyImage(t, reg.from(t, "a:1"), reg.to(t, "b:2"), Options{}))(t)
	if hows(again)[client.Existed] != 4 || again.Sent != 0 || reg.resolve(t, "b:2") != r.Digest {
		t.Errorf("a second tag: %+v", again)
	}
}

// TestDamaged: bytes that are not those of the digest get nowhere.
func TestDamaged(t *testing.T) {
	reg := newTestRegistry(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000)))
	spool := testSpool(t)
	dir := t.TempDir()
	r := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), must(ToLayout(dir, ""))(t), Options{}))(t)
	for i, l := range r.Layers {
		to := fmt.Sprintf("app%d:1", i)
		file := filepath.Join(dir, blobPath(l.Digest))
		good := must(os.ReadFile(file))(t)
		bad := append([]byte{good[0] ^ 1}, good[1:]...)
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, to), Options{}); err == nil || reg.resolve(t, to) != "" {
			t.Errorf("a damaged %s is pushed: %v", l.Digest, err)
		}
		other := t.TempDir()
		if _, err := copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), must(ToLayout(other, ""))(t), Options{}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a damaged %s is copied: %v", l.Digest, err)
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
