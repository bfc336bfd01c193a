//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// TestLargeLayer pushes a layer that is larger than one request to the functions: regctl sends
// chunks, docker gets an error.
func TestLargeLayer(t *testing.T) {
	image := buildImage(t, t.TempDir(), largeLayer)
	s, socket := startServer(t, "functions"), startDockerd(t)
	ref := s.host + "/e2e/large:v1"
	docker := func(args ...string) []string { return append([]string{"--host", "unix://" + socket}, args...) }

	pushed := t.Run("regctl pushes", func(t *testing.T) {
		regctl(image).push(t, ref)
		if _, digest := s.manifest(t, "e2e/large", "v1"); digest != image.amd64.Digest {
			t.Fatalf("the registry has %q, want %s", digest, image.amd64.Digest)
		}
	})
	t.Run("docker pulls", func(t *testing.T) {
		if !pushed {
			t.Fatal("there is nothing to pull")
		}
		run(t, "docker", docker("pull", "--quiet", ref)...)
		manifest, _ := s.manifest(t, "e2e/large", "v1")
		got := run(t, "docker", docker("image", "inspect", "--format={{.Id}} {{.RepoDigests}}", ref)...)
		if !strings.HasPrefix(got, manifest.Config.Digest) || !strings.Contains(got, "@"+image.amd64.Digest) {
			t.Fatalf("pulled %s, want id %s and digest %s", got, manifest.Config.Digest, image.amd64.Digest)
		}
	})
	t.Run("docker may not push", func(t *testing.T) {
		// In the first registry docker would find the layers and mount them.
		s := startServer(t, "functions")
		refused := s.host + "/e2e/refused:v1"
		run(t, "docker", docker("load", "--quiet", "--input", image.archive)...)
		run(t, "docker", docker("tag", "localhost/pierless/e2e:v1", refused)...)
		out, err := command(t, "docker", docker("push", "--quiet", refused)...).CombinedOutput()
		t.Logf("%s", out)
		if err == nil || !strings.Contains(string(out), "413") {
			t.Fatalf("want a refusal with 413: %v", err)
		}
		if _, digest := s.manifest(t, "e2e/refused", "v1"); digest != "" {
			t.Fatalf("the registry has %s", digest)
		}
	})
}
