//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

// TestPush pushes a layer of 1 GiB with "pierless push", past the functions if there are any, and
// pulls it with another client. The embedded store gets it in chunks.
func TestPush(t *testing.T) {
	const size = 1 << 30
	image := buildLayout(t, t.TempDir(), size)
	for _, store := range everywhere {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			ref := s.host + "/e2e/push:v1"
			push := func() { pierless(t, image).push(t, ref) }
			if store == "functions" {
				s.checkPastFunctions(t, size, 0, push)
			} else {
				push()
			}
			manifest, _ := s.manifest(t, "e2e/push", "v1")
			s.checkBlobAnswer(t, store, "e2e/push", manifest.Layers[len(manifest.Layers)-1].Digest)
			crane(image).pull(t, ref, image.amd64.Digest)

			if store == "functions" {
				before := s.stats(t)
				push() // again: nothing is sent
				if sent := s.stats(t).presigned - before.presigned; sent != 0 {
					t.Errorf("the second push sent %d bytes", sent)
				}
			}
		})
	}
}

// TestPushInParts: the same in parts, which a function reads back before the blob becomes visible.
func TestPushInParts(t *testing.T) {
	const size = 200*mib + 5
	image := buildLayout(t, t.TempDir(), size)
	s := startServer(t, "functions")
	ref := s.host + "/e2e/parts:v1"
	before := s.stats(t)
	run(t, built(t, "pierless"), "push", "--parts", "oci:"+image.amd64Layout+":v1", ref)
	after := s.stats(t)
	if sent := after.presigned - before.presigned; sent < size {
		t.Errorf("%d bytes went to S3 by presigned URLs, want %d", sent, int64(size))
	}
	if through := after.lambda - before.lambda; through > mib {
		t.Errorf("%d bytes went through the gateway's functions, want less than %d", through, mib)
	}
	crane(image).pull(t, ref, image.amd64.Digest)
}

// TestPushFromDocker pushes an image from docker's daemon and from its archive, copies it to
// another registry, and pulls it from there into the daemon.
func TestPushFromDocker(t *testing.T) {
	image := buildImage(t, t.TempDir(), largeLayer)
	socket, binary := startDockerd(t), built(t, "pierless")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	s, other := startServer(t, "functions"), startServer(t, "embedded")
	logIn(t, s, other)
	const local = "localhost/pierless/e2e:v1"
	run(t, "docker", "load", "--quiet", "--input", image.archive)
	id := run(t, "docker", "image", "inspect", "--format={{.Id}}", local)

	ref := s.host + "/e2e/daemon:v1"
	run(t, "docker", "tag", local, ref)
	s.checkPastFunctions(t, largeLayer, toolsLayer, func() { run(t, binary, "push", ref) })
	manifest, digest := s.manifest(t, "e2e/daemon", "v1")
	if manifest.Config == nil || manifest.Config.Digest != id {
		t.Fatalf("pushed %+v, want the config %s", manifest, id)
	}
	crane(image).pull(t, ref, digest)

	t.Run("archive", func(t *testing.T) {
		run(t, binary, "push", "docker-archive:"+image.archive, s.host+"/e2e/archive:v1")
		pushed, _ := s.manifest(t, "e2e/archive", "v1")
		if pushed.Config == nil || pushed.Config.Digest != id {
			t.Fatalf("pushed %+v, want the config %s", pushed, id)
		}
	})
	t.Run("copy and pull", func(t *testing.T) {
		copied := other.host + "/e2e/copied:v1"
		run(t, binary, "copy", ref, copied)
		if _, got := other.manifest(t, "e2e/copied", "v1"); got != digest {
			t.Fatalf("the copy is %q, want %s", got, digest)
		}
		run(t, "docker", "rmi", "--force", id)
		run(t, binary, "pull", copied)
		if got := run(t, "docker", "image", "inspect", "--format={{.Id}}", copied); got != id {
			t.Fatalf("the daemon has %s, want %s", got, id)
		}
	})
}

// TestPushGateway: one process over the functions' bucket and table accepts docker's large layers;
// both serve the same images.
func TestPushGateway(t *testing.T) {
	image := buildImage(t, t.TempDir(), largeLayer)
	socket := startDockerd(t)
	functions := startServer(t, "functions")
	gateway := startGateway(t, functions)
	docker(image, socket).push(t, gateway.host+"/e2e/gateway:v1")
	_, digest := functions.manifest(t, "e2e/gateway", "v1")
	if digest == "" {
		t.Fatal("the functions have no such image")
	}
	crane(image).pull(t, functions.host+"/e2e/gateway:v1", digest)

	t.Run("itself", func(t *testing.T) {
		ref := functions.host + "/e2e/pierless:v1"
		run(t, built(t, "pierless"), "push", "self:", ref)
		checkSelf(t, ref)
	})
}

// startGateway starts "pierless serve" over the bucket and the table of a local cloud,
// with the same token.
func startGateway(t *testing.T, functions *server) *server {
	t.Helper()
	s := &server{
		host: loopback.FreeAddress(t), log: filepath.Join(t.TempDir(), "log"), token: functions.token, probe: "/healthz",
		command: []string{built(t, "pierless"), "serve"},
	}
	s.env = append(os.Environ(), "PIERLESS_LISTEN="+s.host, "PIERLESS_BUCKET="+functions.bucket, "PIERLESS_TABLE="+functions.bucket,
		"PIERLESS_ADMIN_TOKEN_SHA256="+strings.TrimPrefix(digestOf([]byte(s.token)), "sha256:"))
	s.run(t)
	logIn(t, s, functions)
	return s
}

// checkSelf fails unless an image contains this command: its only layer has the binary that the
// configuration starts. The test runs the binary itself, as it may lack the permissions to start
// containers.
func checkSelf(t *testing.T, ref string) {
	t.Helper()
	var config struct {
		Architecture, OS string
		Config           struct{ Entrypoint, Cmd []string }
	}
	must(t, json.Unmarshal([]byte(run(t, "crane", "config", ref)), &config))
	if len(config.Config.Entrypoint) == 0 || config.OS != "linux" {
		t.Fatalf("the configuration is %+v", config)
	}
	archive, dir := filepath.Join(t.TempDir(), "image.tar"), t.TempDir()
	run(t, "crane", "export", ref, archive)
	run(t, "tar", "-xf", archive, "-C", dir)
	program := filepath.Join(dir, config.Config.Entrypoint[0])
	out, err := exec.Command(program, "--version").CombinedOutput()
	want, wantErr := exec.Command(built(t, "pierless"), "--version").CombinedOutput()
	if err != nil || wantErr != nil || string(out) != string(want) {
		t.Fatalf("%s --version: %v\n%swant\n%s", program, err, out, want)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	t.Logf("%s/%s, starts %q with %q, %d entries at the top", config.OS, config.Architecture, config.Config.Entrypoint, config.Config.Cmd, len(entries))
}
