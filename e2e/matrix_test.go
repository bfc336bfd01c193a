//go:build e2e

package e2e

import (
	"slices"
	"testing"
)

// TestClients runs every command of every client on every store. Through the functions only
// regctl can push a large layer: see TestLargeLayer.
func TestClients(t *testing.T) {
	large, small := buildImage(t, t.TempDir(), largeLayer), buildImage(t, t.TempDir(), smallLayer)
	socket, storage := startDockerd(t), t.TempDir()
	for _, store := range everywhere {
		t.Run(store, func(t *testing.T) {
			image := large
			if store == "functions" {
				image = small
			}
			for _, c := range []client{
				docker(image, socket), podman(image, storage), skopeo(image), crane(image), regctl(image), oras(image),
				pierless(t, image),
			} {
				// An empty registry for each: regctl would mount existing layers and
				// upload nothing.
				t.Run(c.name, func(t *testing.T) { testClient(t, store, image, c) })
			}
		})
	}
}

func testClient(t *testing.T, store string, image *testImage, c client) {
	s := startServer(t, store)
	repo := "e2e/" + c.name
	name := s.host + "/" + repo
	var pushed string // digest of the pushed image

	step(t, c, "push", true, func(t *testing.T) {
		c.push(t, name+":v1")
		var manifest document
		manifest, pushed = s.manifest(t, repo, "v1")
		if pushed == "" || c.keeps && pushed != image.amd64.Digest {
			t.Fatalf("the registry has %q under v1, want %s", pushed, image.amd64.Digest)
		}
		s.checkBlobAnswer(t, store, repo, manifest.Layers[len(manifest.Layers)-1].Digest)
	})
	step(t, c, "pull", true, func(t *testing.T) { c.pull(t, name+":v1", pushed) })
	step(t, c, "list tags", c.tags != nil, func(t *testing.T) {
		if tags := c.tags(t, name); !slices.Equal(tags, []string{"v1"}) {
			t.Fatalf("tags are %q, want v1 alone", tags)
		}
	})
	step(t, c, "copy", true, func(t *testing.T) {
		c.copy(t, name+":v1", name+"-copy:v2")
		if _, copied := s.manifest(t, repo+"-copy", "v2"); copied != pushed {
			t.Fatalf("the copy is %q, want %s", copied, pushed)
		}
		c.pull(t, name+"-copy:v2", pushed)
	})
	testIndex(t, s, image, c, repo+"-index")
	step(t, c, "delete", c.remove != nil, func(t *testing.T) {
		c.remove(t, name+":v1")
		if _, left := s.manifest(t, repo, "v1"); left != "" {
			t.Fatalf("v1 is still %s", left)
		}
	})
}

// testIndex pushes an image for two platforms and pulls one of them.
func testIndex(t *testing.T, s *server, image *testImage, c client, repo string) {
	// First push the images that the client cannot push itself, and podman's parts.
	if !c.keeps {
		s.pushLayout(t, image.indexLayout, repo, "v1", image.index)
	}
	step(t, c, "push index", c.index != nil, func(t *testing.T) {
		c.index(t, s.host+"/"+repo+":v1")
		index, _ := s.manifest(t, repo, "v1")
		var digests []string
		for _, m := range index.Manifests {
			if m.Platform == nil {
				t.Fatalf("no platform in %+v", m)
			}
			digests = append(digests, m.Digest)
			if _, got := s.manifest(t, repo, m.Digest); got != m.Digest {
				t.Fatalf("manifest %s of the index is %q", m.Digest, got)
			}
		}
		slices.Sort(digests)
		want := []string{image.amd64.Digest, image.arm64.Digest}
		slices.Sort(want)
		if !slices.Equal(digests, want) {
			t.Fatalf("the index has %q, want %q", digests, want)
		}
	})
	step(t, c, "pull by platform", true, func(t *testing.T) { c.platform(t, s.host+"/"+repo+":v1") })
}

// step runs one cell of the matrix. A cell without a command is logged and not skipped: a skipped
// test suggests missing work.
func step(t *testing.T, c client, name string, can bool, test func(*testing.T)) {
	if !can {
		t.Logf("%s has no command to %s", c.name, name)
		return
	}
	if !t.Run(name, test) {
		t.FailNow() // later steps need it
	}
}
