package verify

import (
	"net/http"
	"strings"
)

// wantTagsAccepted pushes a manifest of its own to each tag, then pulls them all.
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

func manifestTagCharacters(t *T) {
	t.wantTagsAccepted("a", "Z", "0", "_", "__", "a.b-c_D9", "_.-", "a..b", "x--y", "1.0.0-rc.1_build", "v1.", "v1-")
}

func manifestTagLongest(t *T) {
	t.wantTagsAccepted(strings.Repeat("a", 128), strings.Repeat("a", 127)+"-")
}

func manifestTagTooLong(t *T) {
	t.putManifest(t.repo, strings.Repeat("a", 129), t.newImage(t.repo)).wantRefused()
}

func manifestTagMalformed(t *T) {
	m := t.newImage(t.repo)
	for _, tag := range []string{".hidden", "-dash", "a%20b", "a+b", "a~b", "a@b", "%C3%BCber", "a%00b", "a%0Ab"} {
		t.putManifest(t.repo, tag, m).wantRefused()
	}
}

func manifestTagCase(t *T) { t.wantTagsAccepted("latest", "Latest", "LATEST") }

func manifestTagLikeDigest(t *T) {
	hex := t.newBlob(10).digest.Encoded()
	t.wantTagsAccepted(hex, "sha256-"+hex, "sha256-"+hex+".sig", "sha256")
}

func manifestTagLikeRoute(t *T) {
	t.wantTagsAccepted("list", "tags", "manifests", "blobs", "uploads", "referrers", "v2", "_catalog")
}

// wantRepositoryAccepted pushes an image to a repository, and pulls it.
func (t *T) wantRepositoryAccepted(repo repository) {
	config, layer := t.newBlob(200), t.newBlob(1000)
	for _, b := range []blob{config, layer} {
		t.upload(repo, b).wantStatus(http.StatusCreated)
		t.wantBlob(repo, b)
	}
	m := t.imageOf(config, layer).encode()
	t.putManifest(repo, "v1", m).wantStatus(http.StatusCreated)
	t.wantManifest(repo, "v1", m)
	t.wantManifest(repo, string(m.digest), m)
}

func manifestNameSeparators(t *T) {
	t.wantRepositoryAccepted(t.repo + "/a.b/c_d/e__f/g-h/i--j/k---l/0.1_2")
}

func manifestNameComponents(t *T) {
	t.wantRepositoryAccepted(t.repo + repository(strings.Repeat("/a", 12)))
}

func manifestNameLongest(t *T) {
	room := 255 - len(t.client.Base.Host) - len("/") - len(t.repo)
	if room < 2 {
		return // the names of this run are that long already
	}
	name := t.repo + "/" + repository(strings.Repeat("n", room-1))
	t.wantRepositoryAccepted(name)
}

func manifestNameLikeRoute(t *T) {
	for _, words := range []repository{"/manifests", "/blobs/uploads", "/tags/list", "/referrers"} {
		t.wantRepositoryAccepted(t.repo + words)
	}
}
