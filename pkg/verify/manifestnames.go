package verify

import (
	"net/http"
	"strings"
)

func manifestNameCases() []Case {
	const everyTag = "releases whose tags are legal but not plain"
	const everyName = "repositories whose names are legal but not plain"
	return []Case{
		{
			"manifest-tag-characters", Push, Must, "Pulling manifests",
			"Every tag that the spec's grammar allows is pushed and pulled.",
			everyTag, manifestTagCharacters,
		},
		{
			"manifest-tag-longest", Push, Must, "Pulling manifests",
			"A tag of 128 characters is pushed and pulled.",
			everyTag, manifestTagLongest,
		},
		{
			"manifest-tag-too-long", Push, Must, "Pulling manifests",
			"A tag of 129 characters is refused with a 4xx status.",
			"tags that other registries and clients do not take", manifestTagTooLong,
		},
		{
			"manifest-tag-malformed", Push, Must, "Pulling manifests",
			"A tag that the spec's grammar does not allow is refused with a 4xx status.",
			"tags that clients cannot ask for", manifestTagMalformed,
		},
		{
			"manifest-tag-case", Push, Must, "Pulling manifests",
			"Tags that differ in upper and lower case are different tags.",
			"one release overwrites the other", manifestTagCase,
		},
		{
			"manifest-tag-like-digest", Push, Must, "Pulling manifests",
			"A tag that looks like a digest is a tag all the same.",
			"cosign and the referrers tag schema: tags like sha256-…", manifestTagLikeDigest,
		},
		{
			"manifest-tag-like-route", Push, Must, "Pulling manifests",
			"A tag that is a word of the API, like list or uploads, is a tag all the same.",
			everyTag, manifestTagLikeRoute,
		},
		{
			"manifest-name-separators", Push, Should, "Pulling manifests",
			"Repositories with the separators of the spec's grammar (. _ __ - --) are pushed to and pulled from.",
			everyName, manifestNameSeparators,
		},
		{
			"manifest-name-components", Push, Should, "Pulling manifests",
			"A repository whose name has fifteen components is pushed to and pulled from.",
			everyName, manifestNameComponents,
		},
		{
			"manifest-name-longest", Push, Should, "Pulling manifests",
			"A repository whose name, with the host, has 255 characters is pushed to and pulled from.",
			everyName, manifestNameLongest,
		},
		{
			"manifest-name-like-route", Push, Should, "Pulling manifests",
			"A repository that has words of the API in its name is a repository all the same.",
			everyName, manifestNameLikeRoute,
		},
	}
}

// takesTags pushes a manifest of its own to each tag, then pulls them all.
func (p *probe) takesTags(tags ...string) {
	m := p.newImage(p.repo)
	pushed := make([]manifest, len(tags))
	for i, tag := range tags {
		m = p.variant(m)
		pushed[i] = m
		p.putManifest(p.repo, tag, m).is(http.StatusCreated)
	}
	for i, tag := range tags {
		p.pulls(p.repo, tag, pushed[i])
	}
}

func manifestTagCharacters(p *probe) {
	p.takesTags("a", "Z", "0", "_", "__", "a.b-c_D9", "_.-", "a..b", "x--y", "1.0.0-rc.1_build", "v1.", "v1-")
}

func manifestTagLongest(p *probe) {
	p.takesTags(strings.Repeat("a", 128), strings.Repeat("a", 127)+"-")
}

func manifestTagTooLong(p *probe) {
	p.putManifest(p.repo, strings.Repeat("a", 129), p.newImage(p.repo)).refused()
}

func manifestTagMalformed(p *probe) {
	m := p.newImage(p.repo)
	for _, tag := range []string{".hidden", "-dash", "a%20b", "a+b", "a~b", "a@b", "%C3%BCber", "a%00b", "a%0Ab"} {
		p.putManifest(p.repo, tag, m).refused()
	}
}

func manifestTagCase(p *probe) { p.takesTags("latest", "Latest", "LATEST") }

func manifestTagLikeDigest(p *probe) {
	hex := p.newBlob(10).digest.Encoded()
	p.takesTags(hex, "sha256-"+hex, "sha256-"+hex+".sig", "sha256")
}

func manifestTagLikeRoute(p *probe) {
	p.takesTags("list", "tags", "manifests", "blobs", "uploads", "referrers", "v2", "_catalog")
}

// takesRepository pushes an image to a repository, and pulls it.
func (p *probe) takesRepository(repo repository) {
	config, layer := p.newBlob(200), p.newBlob(1000)
	for _, b := range []blob{config, layer} {
		p.upload(repo, b).is(http.StatusCreated)
		p.isPulled(repo, b)
	}
	m := p.imageOf(config, layer).encode()
	p.putManifest(repo, "v1", m).is(http.StatusCreated)
	p.pulls(repo, "v1", m)
	p.pulls(repo, string(m.digest), m)
}

func manifestNameSeparators(p *probe) {
	p.takesRepository(p.repo + "/a.b/c_d/e__f/g-h/i--j/k---l/0.1_2")
}

func manifestNameComponents(p *probe) {
	p.takesRepository(p.repo + repository(strings.Repeat("/a", 12)))
}

func manifestNameLongest(p *probe) {
	room := 255 - len(p.conn.base.Host) - len("/") - len(p.repo)
	if room < 2 {
		return // the names of this run are that long already
	}
	name := p.repo + "/" + repository(strings.Repeat("n", room-1))
	p.takesRepository(name)
}

func manifestNameLikeRoute(p *probe) {
	for _, words := range []repository{"/manifests", "/blobs/uploads", "/tags/list", "/referrers"} {
		p.takesRepository(p.repo + words)
	}
}
