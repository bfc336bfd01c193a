package verify

import (
	"net/http"
	"strings"
)

// wantTagsAccepted pushes a different manifest to each tag, and expects that all can be
// pulled.
func (t *T) wantTagsAccepted(tags ...string) {
	m := t.newImage(t.repo)
	pushed := make([]manifest, len(tags))
	for i, tag := range tags {
		m = t.variant(m)
		pushed[i] = m
		t.putManifest(t.repo, tag, m).wantStatus(http.StatusCreated)
	}
	for i, tag := range tags {
		t.wantManifest(t.repo, tag, pushed[i])
	}
}

func manifestTagMalformed(t *T) {
	m := t.newImage(t.repo)
	for _, tag := range []string{".hidden", "-dash", "a%20b", "a+b", "a~b", "a@b", "%C3%BCber", "a%00b", "a%0Ab"} {
		t.putManifest(t.repo, tag, m).wantRefused()
	}
}

func manifestTagLikeDigest(t *T) {
	hex := t.newBlob(10).digest.Encoded()
	t.wantTagsAccepted(hex, "sha256-"+hex, "sha256-"+hex+".sig", "sha256")
}

// wantRepositoryAccepted pushes an image to a repository, and expects that it can be pulled.
func (t *T) wantRepositoryAccepted(repo repository) {
	config, layer := t.newBlob(200), t.newBlob(1000)
	for _, b := range []blob{config, layer} {
		t.upload(repo, b).wantStored(repo, b)
	}
	m := t.imageOf(config, layer).encode()
	t.wantPushed(repo, "v1", m)
	t.wantManifest(repo, string(m.digest), m)
}

func manifestNameLongest(t *T) {
	room := 255 - len(t.client.Base.Host) - len("/") - len(t.repo)
	if room < 2 {
		return // the names of this run are too long already
	}
	name := t.repo + "/" + repository(strings.Repeat("n", room-1))
	t.wantRepositoryAccepted(name)
}

func manifestNameLikeRoute(t *T) {
	for _, words := range []repository{"/manifests", "/blobs/uploads", "/tags/list", "/referrers"} {
		t.wantRepositoryAccepted(t.repo + words)
	}
}
