//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pushersAtOnce is the number of concurrent pushes of one image.
const pushersAtOnce = 20

// pusher is a client that pushes one image, which no other client has, to many references at once.
type pusher struct {
	name string
	load []string // gives the client the image; nil: it reads a layout
	tag  func(ref string) []string
	push func(ref string) []string
}

func pushers(t *testing.T) []pusher {
	const loaded = "localhost/pierless/e2e:v1"
	image := func(name string) *testImage { return buildTiny(t, t.TempDir(), name) }
	dockerImage, podmanImage, containerdImage := image("a"), image("b"), image("c")
	dockerd, ctrd, storage := startDockerd(t), startContainerd(t), t.TempDir()
	docker, podman := words("docker", "--host", "unix://"+dockerd), words("podman", podmanFlags(storage)...)
	ctr := containerdGuest(containerdImage, ctrd, "")
	all := []pusher{
		{
			name: "docker", load: docker("load", "--quiet", "--input", dockerImage.archive),
			tag:  func(ref string) []string { return docker("tag", loaded, ref) },
			push: dockerGuest(dockerImage, dockerd).push,
		},
		{
			name: "podman", load: podman("load", "--quiet", "--input", podmanImage.archive),
			tag:  func(ref string) []string { return podman("tag", loaded, ref) },
			push: podmanGuest(podmanImage, storage).push,
		},
		{name: "containerd", load: ctr.load(""), push: ctr.push},
	}
	for _, g := range []guest{
		skopeoGuest(t, image("d")), craneGuest(t, image("e")), regctlGuest(t, image("f")), orasGuest(t, image("g")),
		pierlessGuest(t, image("i")),
	} {
		all = append(all, pusher{name: g.name, push: g.push})
	}
	return all
}

// TestPushBesideSweep: with a grace of five seconds and a sweep every second, twenty concurrent pushes
// of one image all succeed, with every client, while its tags are deleted beside them. The clients push
// in turns, one grace passes, and they push again: now each meets the garbage of its own image when the
// sweep does.
func TestPushBesideSweep(t *testing.T) {
	const grace = 5 * time.Second
	image, all := buildTiny(t, t.TempDir(), "last"), pushers(t)
	for _, p := range all {
		if p.load != nil {
			run(t, p.load[0], p.load[1:]...)
		}
	}
	for _, store := range everywhere {
		t.Run(store, func(t *testing.T) {
			s, freed, stop := startSweeping(t, store, grace)
			some := all
			if store == "functions" { // one process for each request: these two start few
				some = slices.DeleteFunc(slices.Clone(all), func(p pusher) bool { return p.name != "crane" && p.name != "pierless" })
			}
			ended := make(chan struct{})
			var deletes atomic.Int64
			var deleter sync.WaitGroup
			deleter.Go(func() {
				for i := 0; !isClosed(ended); i++ {
					deletes.Add(s.deleteTags(t, pushRepo(i)))
					time.Sleep(100 * time.Millisecond)
				}
			})
			rounds := 0
			enough := func(took time.Duration) bool { return took > 3*grace && freed() > 0 || took > 20*grace || t.Failed() }
			for start := time.Now(); !enough(time.Since(start)); rounds++ {
				for _, p := range some {
					t.Run(p.name, func(t *testing.T) { pushAtOnce(t, s, p, grace) })
				}
				time.Sleep(grace)
			}
			close(ended)
			deleter.Wait()
			crane(image).push(t, s.host+"/e2e/last:v1")
			crane(image).pull(t, s.host+"/e2e/last:v1", image.amd64.Digest)
			stop()
			t.Logf("%d pushes, %d deletes, %d objects freed", rounds*len(some)*pushersAtOnce, deletes.Load(), freed())
			if deletes.Load() == 0 || freed() == 0 {
				t.Error("the pushes met no deletes or no sweep")
			}
		})
	}
}

// pushRepo returns one of the repositories, so that some pushes share one and some do not.
func pushRepo(i int) string { return fmt.Sprintf("e2e/app%d", i%4) }

// blobUnknown matches the output of clients for a manifest that is refused for a missing blob.
var blobUnknown = regexp.MustCompile(`(?i)blob.unknown`)

// pushAtOnce pushes the image under different tags at the same time. On a busy machine a push may take
// more than half of the grace: only then it may be refused for a missing blob, and is repeated.
func pushAtOnce(t *testing.T, s *server, p pusher, grace time.Duration) {
	start := time.Now()
	var refs []string
	for i := range pushersAtOnce {
		refs = append(refs, fmt.Sprintf("%s/%s:%s-%d", s.host, pushRepo(i), p.name, i))
		if p.tag != nil { // again in each round: the name stays
			run(t, p.tag(refs[i])[0], p.tag(refs[i])[1:]...)
		}
	}
	tagged := time.Since(start)
	var pushes sync.WaitGroup
	for _, ref := range refs {
		pushes.Go(func() {
			args, start := p.push(ref), time.Now()
			out, err := command(t, args[0], args[1:]...).CombinedOutput()
			if err != nil && strings.Contains(string(out), "rpc error: code = Internal desc = unexpected EOF") { // see containerd
				out, err = command(t, args[0], args[1:]...).CombinedOutput()
			}
			for range 10 {
				if took := time.Since(start); err == nil || took < grace/2 || !blobUnknown.Match(out) {
					break
				}
				t.Logf("%s is refused after %v, and repeated", ref, time.Since(start))
				start = time.Now()
				out, err = command(t, args[0], args[1:]...).CombinedOutput()
			}
			if err != nil {
				t.Errorf("%s, after %v: %v\n%s", strings.Join(args, " "), time.Since(start), err, out)
			}
		})
	}
	pushes.Wait()
	t.Logf("%d pushes in %v", len(refs), (time.Since(start) - tagged).Round(time.Millisecond))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// startSweeping starts a registry with a grace that is swept every second. freed returns the number
// of objects that the sweeps have freed, and stop ends the sweeps of the functions.
func startSweeping(t *testing.T, store string, grace time.Duration) (s *server, freed func() int, stop func()) {
	t.Helper()
	if store != "functions" {
		s = startServer(t, store, "--grace", grace.String(), "--sweep-interval", "1s", "--log", "json", "--request-log=false")
		return s, func() int { return freedByLog(t, s.log) }, func() {}
	}
	s = startCloud(t, "--parameter", "Grace="+grace.String())
	var objects atomic.Int64
	ended := make(chan struct{})
	var sweeps sync.WaitGroup
	sweeps.Go(func() {
		for ; !isClosed(ended); time.Sleep(time.Second) {
			objects.Add(int64(s.sweep(t).Garbage.Blobs))
		}
	})
	stop = sync.OnceFunc(func() { close(ended); sweeps.Wait() })
	t.Cleanup(stop)
	return s, func() int { return int(objects.Load()) }, stop
}

// freedByLog returns the number of objects that the sweeps of a process have freed, by its log with
// JSON. An error in the log fails the test.
func freedByLog(t *testing.T, file string) (objects int) {
	t.Helper()
	log, err := os.ReadFile(file)
	must(t, err)
	for line := range bytes.Lines(log) {
		var entry struct {
			Level string
			Blobs int
		}
		if json.Unmarshal(line, &entry) != nil {
			continue // a killed process leaves a part of a line
		}
		objects += entry.Blobs
		if entry.Level == "ERROR" {
			t.Errorf("logged: %s", line)
		}
	}
	return objects
}

// sweepReport is the answer of the sweep function.
type sweepReport struct {
	Garbage  struct{ Links, Blobs, Repositories int }
	Complete bool
}

// sweep invokes the sweep function of a local cloud.
func (s *server) sweep(t *testing.T) (report sweepReport) {
	t.Helper()
	resp, err := http.Post("http://"+s.host+"/_cloud/invoke/SweepFunction", "application/json", nil)
	if err != nil {
		t.Error(err)
		return report
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &report) != nil {
		t.Errorf("sweep: %v, %s %s", err, resp.Status, body)
	}
	return report
}

// deleteTags deletes the images of all tags of a repository by their digests, and returns their
// number.
func (s *server) deleteTags(t *testing.T, repo string) (deleted int64) {
	t.Helper()
	ask := func(method, path string) (int, http.Header, []byte) {
		resp, err := s.send(method, "/v2/"+repo+path, "", nil)
		if err != nil {
			t.Error(err)
			return 0, nil, nil
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, body
	}
	_, _, body := ask("GET", "/tags/list")
	var list struct{ Tags []string }
	_ = json.Unmarshal(body, &list) // there may be no such repository yet
	for _, tag := range list.Tags {
		status, header, _ := ask("HEAD", "/manifests/"+tag)
		if status != http.StatusOK {
			continue // the delete of an earlier tag's image has ended it
		}
		if status, _, body := ask("DELETE", "/manifests/"+header.Get("Docker-Content-Digest")); status != http.StatusAccepted {
			t.Errorf("delete of %s:%s: %d %s", repo, tag, status, body)
		}
		deleted++
	}
	return deleted
}

// buildTiny writes an image of two small layers, which have a file of this name, in the formats that
// clients read.
func buildTiny(t *testing.T, dir, name string) *testImage {
	t.Helper()
	blobs := filepath.Join(dir, "blobs")
	must(t, os.MkdirAll(blobs, 0o755))
	layers := []layer{writeLayer(t, blobs, name, 300), writeLayer(t, blobs, name, 40*kib)}
	image := &testImage{archive: filepath.Join(dir, "archive.tar")}
	var config []byte
	image.amd64, config = writeManifest(t, blobs, "amd64", layers)
	image.amd64Layout = writeLayout(t, filepath.Join(dir, "amd64"), blobs, image.amd64)
	writeArchive(t, image.archive, config, layers)
	return image
}

// TestFreedByFunction pushes 50 images through the functions and deletes them. After the grace, the
// function sweep leaves bucket and table as they were before, but for the rows that ttl removes and
// the entries in the queue of uploads, which are due a day after each upload: a sweep with a clock
// that is ahead removes those.
func TestFreedByFunction(t *testing.T) {
	const grace = 2 * time.Second
	s := startCloud(t, "--parameter", "Grace="+grace.String())
	before := s.contents(t)
	var digests []string
	for i := range 50 {
		digests = append(digests, s.pushLayers(t, "e2e/freed", fmt.Sprintf("v%d", i), "shared", fmt.Sprint("layer ", i)))
	}
	image := buildLayout(t, t.TempDir(), 5*mib) // goes to S3 directly
	run(t, built(t, "pierless"), "push", "oci:"+image.amd64Layout+":v1", s.host+"/e2e/freed/direct:v1")
	during := s.contents(t)

	time.Sleep(grace)
	if report := s.sweep(t); report.Garbage.Blobs != 0 {
		t.Errorf("the sweep freed %d objects of images that were not deleted", report.Garbage.Blobs)
	}
	crane(image).pull(t, s.host+"/e2e/freed/direct:v1", image.amd64.Digest)
	for _, digest := range digests {
		s.want(t, http.StatusAccepted, "DELETE", "/v2/e2e/freed/manifests/"+digest, "", nil)
	}
	s.want(t, http.StatusAccepted, "DELETE", "/v2/e2e/freed/direct/manifests/"+image.amd64.Digest, "", nil)

	freed := 0
	for range 3 { // blobs after one grace, repositories after the second
		time.Sleep(grace + grace/2)
		report := s.sweep(t)
		freed += report.Garbage.Blobs
		if !report.Complete {
			t.Errorf("the sweep did not end: %+v", report)
		}
	}
	after := slices.DeleteFunc(s.contents(t), func(key string) bool { return strings.HasPrefix(key, "row Q#U") })
	if !slices.Equal(before, after) {
		t.Errorf("before %d keys, with the images %d, after %d:\n%s",
			len(before), len(during), len(after), strings.Join(after, "\n"))
	}
	if want := 1 + 50 + 3; freed != want || len(during) < 200 {
		t.Errorf("freed %d objects, want %d; there were %d keys with the images", freed, want, len(during))
	}
	s.checkEmpty(t)
}

// pushLayers pushes an image of layers with these contents, of which the first is the configuration
// too. It returns the digest.
func (s *server) pushLayers(t *testing.T, repo, tag string, contents ...string) string {
	t.Helper()
	doc := document{SchemaVersion: 2, MediaType: typeManifest}
	for _, content := range contents {
		d := descriptor{MediaType: typeLayer, Digest: digestOf([]byte(content)), Size: int64(len(content))}
		s.want(t, http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.Digest, "", strings.NewReader(content))
		doc.Layers = append(doc.Layers, d)
	}
	doc.Config = &doc.Layers[0]
	manifest := encode(t, doc)
	req, err := http.NewRequest("PUT", "http://"+s.host+"/v2/"+repo+"/manifests/"+tag, bytes.NewReader(manifest))
	must(t, err)
	req.Header.Set("Content-Type", typeManifest)
	resp, err := s.do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT manifest: %s", resp.Status)
	}
	return digestOf(manifest)
}

// checkEmpty fails if objects or rows are left, but for rows that ttl removes, when the time of
// abandoned uploads has come. flags are more flags of bin/leftovers. No process may be running on the
// embedded store.
func (s *server) checkEmpty(t *testing.T, flags ...string) {
	t.Helper()
	args := append([]string{"-all", "-name", s.bucket}, flags...)
	if s.data != "" {
		args = append([]string{"-all", "-data-dir", s.data}, flags...)
	}
	if out, err := exec.CommandContext(t.Context(), built(t, "leftovers"), args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// contents lists the keys of all objects and rows of a registry on LocalStack, without the rows that
// ttl removes.
func (s *server) contents(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), built(t, "leftovers"), "-contents", "-name", s.bucket).Output()
	must(t, err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
