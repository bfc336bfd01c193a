//go:build e2e

package e2e

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"
)

// TestProxy pushes layers that are too large for functions with stock clients through "pierless
// proxy". Another client pulls each image, directly or through the proxy.
func TestProxy(t *testing.T) {
	image := buildImage(t, t.TempDir(), modelLayer)
	dockerd, storage, daemon := startDockerd(t), t.TempDir(), startContainerd(t)
	ctr := func(s *server) client { return containerd(image, daemon, s.token) }
	same := func(c client) func(*server) client { return func(*server) client { return c } }
	for _, c := range []struct {
		push    func(*server) client
		pull    func(*server) client
		through bool // the proxy, for the pull too
	}{
		{same(docker(image, dockerd)), same(crane(image)), false},
		{same(podman(image, storage)), same(oras(image)), false},
		{same(skopeo(image)), ctr, true},
		{same(crane(image)), same(skopeo(image)), true},
		{same(oras(image)), same(regctl(image)), false},
		{same(regctl(image)), same(docker(image, dockerd)), true},
		{ctr, same(podman(image, storage)), true},
	} {
		name := c.push(&server{}).name + " then " + c.pull(&server{}).name
		t.Run(name, func(t *testing.T) {
			// A registry for each: existing layers are not pushed.
			registry := startServer(t, "functions")
			proxy := startProxy(t, registry)
			push, pull := c.push(registry), c.pull(registry)
			repo := "e2e/" + push.name
			registry.checkPastFunctions(t, modelLayer, toolsLayer, func() { push.push(t, proxy.host+"/"+repo+":v1") })

			manifest, digest := registry.manifest(t, repo, "v1")
			if digest == "" || push.keeps && digest != image.amd64.Digest {
				t.Fatalf("the registry has %q, want %s", digest, image.amd64.Digest)
			}
			registry.checkBlobAnswer(t, "functions", repo, manifest.Layers[len(manifest.Layers)-1].Digest)
			from := registry
			if c.through {
				from = proxy
			}
			pull.fetchAnew(t, from.host+"/"+repo+":v1", digest)
			proxy.checkSpoolEmpty(t)
		})
	}
}

// checkSpoolEmpty fails unless a proxy frees the disk space of layers that it has sent.
func (s *server) checkSpoolEmpty(t *testing.T) {
	t.Helper()
	var used int64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if used = dirSize(t, s.spool); used == 0 {
			return
		}
	}
	t.Errorf("there are %d bytes in the spool", used)
}

// dirSize returns the size of all files under dir. Files may disappear meanwhile.
func dirSize(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	must(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return ignoreGone(err)
	}))
	return size
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
