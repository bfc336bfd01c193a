//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDirectRefused sends content that was not announced, to the functions and to the store: no
// blob becomes visible, and two days later nothing is left.
func TestDirectRefused(t *testing.T) {
	const repo = "e2e/refused"
	s := startServer(t, "functions")
	content := make([]byte, 6*mib) // more than a function accepts
	_, err := io.ReadFull(newNoise('r', 0, int64(len(content))), content)
	must(t, err)
	wrong := bytes.Clone(content)
	wrong[len(wrong)/2] ^= 1
	digest, size := digestOf(content), int64(len(content))
	all := offer{Digest: digest, Size: size}

	t.Run("a wrong byte", func(t *testing.T) {
		u := s.offer(t, repo, all)
		wantRefused(t, u.Put.send(t, wrong), http.StatusBadRequest)
		s.complete(t, u).want(t, "completion", http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
		s.checkNoBlob(t, repo, digest)
	})
	t.Run("a false digest", func(t *testing.T) {
		u := s.offer(t, repo, offer{Digest: digestOf(wrong), Size: size})
		wantRefused(t, u.Put.send(t, content), http.StatusBadRequest)
		s.complete(t, u).want(t, "completion", http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
		s.checkNoBlob(t, repo, digestOf(wrong))
	})
	for _, falseSize := range []int64{size + 1, size - 1} {
		t.Run("a false size", func(t *testing.T) {
			u := s.offer(t, repo, offer{Digest: digest, Size: falseSize})
			wantRefused(t, u.Put.send(t, content), http.StatusBadRequest)
			s.complete(t, u).want(t, "completion", http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
			s.checkNoBlob(t, repo, digest)
		})
	}
	t.Run("headers that were not signed", func(t *testing.T) {
		u := s.offer(t, repo, all)
		sum := sha256.Sum256(wrong)
		changed := u.Put.with("x-amz-checksum-sha256", base64.StdEncoding.EncodeToString(sum[:]))
		wantRefused(t, changed.send(t, wrong), http.StatusForbidden)
		wantRefused(t, u.Put.with("Content-Length", "5").send(t, content), http.StatusForbidden)
		s.complete(t, u).want(t, "completion", http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
	})
	t.Run("another method, key or lifetime", func(t *testing.T) {
		u := s.offer(t, repo, all)
		for _, r := range []signed{
			{Method: "GET", URL: u.Put.URL, Headers: u.Put.Headers},
			{Method: "DELETE", URL: u.Put.URL, Headers: u.Put.Headers},
			{Method: "PUT", URL: strings.Replace(u.Put.URL, "?", "0?", 1), Headers: u.Put.Headers},
			{Method: "PUT", URL: strings.Replace(u.Put.URL, "X-Amz-Expires=", "X-Amz-Expires=9", 1), Headers: u.Put.Headers},
		} {
			wantRefused(t, r.send(t, content), http.StatusForbidden)
		}
		if strings.Contains(u.Put.URL, u.ID) {
			t.Error("the URL gives the upload's id away")
		}
	})
	t.Run("completions of nothing", func(t *testing.T) {
		u := s.offer(t, repo, all)
		s.complete(t, u).want(t, "without bytes", http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
		elsewhere := upload{location: strings.Replace(u.location, repo, "e2e/other", 1)}
		s.complete(t, elsewhere).want(t, "in another repository", http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		other := upload{location: strings.Replace(u.location, u.ID, strings.Repeat("0", len(u.ID)), 1)}
		s.complete(t, other).want(t, "with another id", http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		without := upload{location: strings.TrimSuffix(u.location, u.ID)}
		if a := s.complete(t, without); a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
			t.Errorf("completion without an id: %d\n%s", a.status, a.body)
		}
		s.checkNoBlob(t, repo, digest)
	})
	t.Run("an offer of a stranger", func(t *testing.T) {
		stranger := &server{host: s.host}
		stranger.call(t, "POST", "/v2/"+repo+"/_pierless/uploads", all).want(t, "offer", http.StatusUnauthorized, "UNAUTHORIZED")
	})
	t.Run("the URL again", func(t *testing.T) {
		u := s.offer(t, repo, all)
		if a := u.Put.send(t, content); a.status != http.StatusOK {
			t.Fatalf("PUT: %d\n%s", a.status, a.body)
		}
		wantRefused(t, u.Put.send(t, content), http.StatusPreconditionFailed)
		s.complete(t, u).want(t, "completion", http.StatusCreated, "")
		s.complete(t, u).want(t, "the same again", http.StatusCreated, "")
		wantRefused(t, u.Put.send(t, content), http.StatusPreconditionFailed)
		if a := u.Put.send(t, wrong); a.status < 400 {
			t.Errorf("PUT of other bytes over a blob: %d", a.status)
		}
		s.checkBlobAnswer(t, "functions", repo, digest)
		if got := s.blobDigest(t, repo, digest); got != digest {
			t.Errorf("the blob is %s, want %s", got, digest)
		}
	})
	s.checkNothingLeft(t)
}

// wantRefused checks the store's status. LocalStack checks only signed query parameters; the
// tests of pkg/registry/s3blobs use versitygw, which also checks signed headers.
func wantRefused(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("the store answers %d, want %d\n%s", a.status, status, a.body)
	}
}

// blobDigest reads a blob and returns its digest.
func (s *server) blobDigest(t *testing.T, repo, digest string) string {
	t.Helper()
	resp, err := s.send("GET", "/v2/"+repo+"/blobs/"+digest, "", nil)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTemporaryRedirect {
		redirected, err := http.Get(resp.Header.Get("Location"))
		must(t, err)
		defer redirected.Body.Close()
		resp = redirected
	}
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	return digestOf(content)
}

// TestPushRefused: a push that must fail ends with exit code 1 and the reason, and no image becomes
// visible.
func TestPushRefused(t *testing.T) {
	s := startServer(t, "localstack")
	binary := built(t, "pierless")
	for name, spoil := range map[string]func(t *testing.T, layer string){
		"a wrong byte":  func(t *testing.T, layer string) { overwrite(t, layer, 5*mib, "x") },
		"a short layer": func(t *testing.T, layer string) { must(t, os.Truncate(layer, 5*mib)) },
		"no layer":      func(t *testing.T, layer string) { must(t, os.Remove(layer)) },
	} {
		for _, flags := range [][]string{nil, {"--parts"}} {
			t.Run(name+strings.Join(flags, ""), func(t *testing.T) {
				image := buildLayout(t, t.TempDir(), 40*mib)
				layer := largest(t, image.amd64Layout)
				spoil(t, layer)
				args := append(append([]string{"push"}, flags...), "oci:"+image.amd64Layout+":v1", s.host+"/e2e/spoiled:v1")
				said := fails(t, 1, binary, args...)
				if !strings.Contains(said, filepath.Base(layer)[:12]) {
					t.Error("the message does not name the layer")
				}
				if _, digest := s.manifest(t, "e2e/spoiled", "v1"); digest != "" {
					t.Errorf("the registry has %s", digest)
				}
				s.checkNoBlob(t, "e2e/spoiled", "sha256:"+filepath.Base(layer))
			})
		}
	}
	s.checkNothingLeft(t)
}

func overwrite(t *testing.T, path string, offset int64, content string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer file.Close()
	_, err = file.WriteAt([]byte(content), offset)
	must(t, err)
}

// largest returns the largest blob of a layout.
func largest(t *testing.T, layout string) string {
	t.Helper()
	dir := filepath.Join(layout, "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	must(t, err)
	var name string
	var size int64
	for _, entry := range entries {
		info, err := entry.Info()
		must(t, err)
		if info.Size() > size {
			name, size = entry.Name(), info.Size()
		}
	}
	return filepath.Join(dir, name)
}

// TestRegistryDies: a push whose registry disappears ends with an error that names it; repeating
// the push after a restart succeeds.
func TestRegistryDies(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	for name, at := range map[string]point{"in the middle": inThePut, "before the manifest": {method: "PUT", path: "/manifests/"}} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t)
			s.relayOf(at).set(at, s.server.kill)
			ref := s.server.host + "/e2e/dies:v1"
			if at.path == "/manifests/" {
				ref = s.front.host + "/e2e/dies:v1"
			}
			args := []string{"push", "oci:" + image.amd64Layout + ":v1", ref}
			said := fails(t, 1, built(t, "pierless"), args...)
			s.relayOf(at).check(t)
			if host, _, _ := strings.Cut(ref, "/"); !strings.Contains(said, host) {
				t.Error("the message does not name the registry")
			}
			s.server.restart(t)
			if _, digest := s.server.manifest(t, "e2e/dies", "v1"); digest != "" {
				t.Fatalf("the registry has %s", digest)
			}
			run(t, built(t, "pierless"), args...)
			s.checkEnd(t, image, ref)
		})
	}
}

// TestExpiredURL: if the store rejects an expired request, pierless asks for a new one.
func TestExpiredURL(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	for name, flags := range map[string][]string{"one PUT": nil, "parts": {"--parts"}} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t)
			s.store.expireOnce(point{method: "PUT", path: "/blobs/", bytes: mib})
			ref := s.server.host + "/e2e/expired:v1"
			run(t, built(t, "pierless"), append(append([]string{"push"}, flags...), "oci:"+image.amd64Layout+":v1", ref)...)
			s.store.check(t)
			s.checkEnd(t, image, ref)
		})
	}
}

// TestSpoolFull: a proxy without space rejects a layer with a message that clients print, and
// accepts others.
func TestSpoolFull(t *testing.T) {
	image, small := buildLayout(t, t.TempDir(), killedLayer), buildLayout(t, t.TempDir(), mib)
	registry := startServer(t, "localstack")
	for name, flags := range map[string]func(t *testing.T) []string{
		"a limit":     func(*testing.T) []string { return []string{"--spool-limit", "16MiB"} },
		"a full disk": func(t *testing.T) []string { return []string{"--spool", smallDisk(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			proxy := startProxy(t, registry, flags(t)...)
			said := fails(t, 1, "crane", "push", image.amd64Layout, proxy.host+"/e2e/full:v1")
			if !strings.Contains(said, "spool") {
				t.Error("the message says nothing of the spool")
			}
			if _, digest := registry.manifest(t, "e2e/full", "v1"); digest != "" {
				t.Errorf("the registry has %s", digest)
			}
			run(t, "crane", "push", small.amd64Layout, proxy.host+"/e2e/small:v1")
			crane(small).pull(t, registry.host+"/e2e/small:v1", small.amd64.Digest)
		})
	}
	registry.checkNothingLeft(t)
}

// smallDisk mounts a file system of 16 MiB until the test ends.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=16m", "none", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount (run the tests as root): %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}
