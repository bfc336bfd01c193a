package verify

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func clientReadCases() []Case {
	return []Case{
		{
			"client-accept-lines", Clients, Must, "docker, podman, regctl",
			"A manifest is served alike for one Accept line with all types and for one line per type, by GET and by HEAD.",
			"docker and podman send several lines, containerd and crane one", clientAcceptLines,
		},
		{
			"client-accept-any", Clients, Should, "RFC 9110 12.5.1",
			"A manifest is served for Accept: */*, as it was pushed.",
			"curl and scripts, which send nothing else", clientAcceptAny,
		},
		{
			"client-accept-none", Clients, Should, "RFC 9110 12.5.1",
			"A manifest is served where there is no Accept header, as it was pushed.",
			"scripts and scanners", clientAcceptNone,
		},
		{
			"client-accept-other", Clients, Must, "Pulling manifests",
			"A manifest of a type that is not in Accept is served as it is, or refused with 404 or 406: by digest it never becomes another one.",
			"old clients; content that is not what its digest says", clientAcceptOther,
		},
		{
			"client-index-stays", Clients, Must, "docker, containerd",
			"GET and HEAD of a tag that names an index answer with the index, never with one of its images.",
			"images for several platforms: copies lose all platforms but one", clientIndexStays,
		},
		{
			"client-head-agrees", Clients, Must, "containerd, docker, oras",
			"HEAD of a manifest says the same length, type and digest as GET, by tag and by digest.",
			"clients resolve with the one and pull with the other", clientHeadAgrees,
		},
		{
			"client-blob-redirect", Clients, Must, "docker, podman, containerd",
			"A blob is answered directly, or by a redirect (302, 303, 307, 308) to a URL that needs no Authorization.",
			"no client sends its credentials to another host", clientBlobRedirect,
		},
		{
			"client-blob-head-redirect", Clients, Must, "docker, podman, oras",
			"HEAD of a blob is answered directly, or by a redirect to where HEAD works and tells the true length.",
			"a URL that is signed for GET answers HEAD with 403: moby/moby#50065", clientBlobHeadRedirect,
		},
		{
			"client-redirect-place", Clients, Should, "crane",
			"Redirects do not lead from https to http, or to a private address that is not the registry's.",
			"crane refuses private addresses; proxies and policies refuse plain http", clientRedirectPlace,
		},
		{
			"client-error-json", Clients, Should, "docker",
			"Errors that users cause (manifest or blob unknown, name or digest invalid) come as JSON in the spec's form, with a message.",
			"docker says \"error parsing HTTP response body\" instead", clientErrorJSON,
		},
		{
			"client-missing-code", Clients, Should, "docker, containerd, helm",
			"The error of a manifest that is not there has the code MANIFEST_UNKNOWN or NAME_UNKNOWN.",
			"docker and helm tell by it that a tag does not exist", clientMissingCode,
		},
		{
			"client-api-version", Clients, May, "docker",
			"/v2/ carries Docker-Distribution-Api-Version: registry/2.0.",
			"docker before 1.13 and tools that detect a registry by it", clientAPIVersion,
		},
		{
			"client-ping-no-slash", Clients, May, "Determining Support",
			"GET /v2 answers like /v2/, directly or by a redirect.",
			"health checks that drop the slash", clientPingNoSlash,
		},
		{
			"client-if-none-match", Clients, May, "RFC 9110 13.1.2",
			"A manifest with an ETag is answered with 304 and no body where If-None-Match names it, and in full where it does not.",
			"caches transfer manifests again", clientIfNoneMatch,
		},
		{
			"client-parallel-pulls", Clients, Must, "docker, podman, containerd",
			"Blobs of one image are pulled at once, each with its own bytes.",
			"every pull of more than one layer", clientParallelPulls,
		},
		{
			"client-warnings", Clients, Must, "Warnings",
			"A Warning header has the form 299 - \"text\" without a date, and all of them together at most 4096 bytes.",
			"clients show them to users", clientWarnings,
		},
	}
}

// isManifest expects exactly this manifest.
func (a *answer) isManifest(m manifest) {
	a.is(http.StatusOK).has("Content-Type", m.mediaType).hasDigest(m.digest)
	if a.exchange.Method == http.MethodHead {
		a.hasLength(len(m.content))
		return
	}
	a.hasBody(m.content)
}

func clientAcceptLines(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, ref := range []string{"v1", string(m.digest)} {
			p.do(method, p.repo.manifest(ref), withHeader("Accept", acceptedByMost)).isManifest(m)
			p.do(method, p.repo.manifest(ref), acceptLines()).isManifest(m)
		}
	}
}

func clientAcceptAny(p *probe) {
	image := p.hasImage(p.repo, "v1")
	index := p.hasManifest(p.repo, "v2", p.indexOf(image).encode())
	for ref, m := range map[string]manifest{"v1": image, "v2": index} {
		p.get(p.repo.manifest(ref), withHeader("Accept", "*/*")).isManifest(m)
		p.head(p.repo.manifest(ref), withHeader("Accept", "*/*")).isManifest(m)
		p.get(p.repo.manifest(string(m.digest)), acceptContainerd()).isManifest(m)
	}
}

func clientAcceptNone(p *probe) {
	image := p.hasImage(p.repo, "v1")
	p.get(p.repo.manifest("v1")).isManifest(image)
	p.head(p.repo.manifest(string(image.digest))).isManifest(image)
}

func clientAcceptOther(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, accept := range []string{oci.MediaTypeDockerManifest, "application/vnd.docker.distribution.manifest.v1+json", "text/html"} {
		for _, ref := range []string{"v1", string(m.digest)} {
			a := p.get(p.repo.manifest(ref), withHeader("Accept", accept)).is(http.StatusOK, http.StatusNotFound, http.StatusNotAcceptable)
			if a.status != http.StatusOK {
				continue
			}
			a.hasDigest(oci.SHA256.FromBytes(a.body))
			if ref != "v1" {
				a.isManifest(m)
			}
		}
	}
}

func clientIndexStays(p *probe) {
	image := p.hasImage(p.repo, "v1")
	index := p.hasManifest(p.repo, "v2", p.indexOf(image).encode())
	p.get(p.repo.manifest("v2"), acceptLines()).isManifest(index)
	p.head(p.repo.manifest("v2"), acceptContainerd()).isManifest(index)
	p.get(p.repo.manifest(string(index.digest)), acceptLines()).isManifest(index)
}

func clientHeadAgrees(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		got, head := p.getManifest(p.repo, ref).is(http.StatusOK), p.headManifest(p.repo, ref).is(http.StatusOK)
		head.hasLength(len(got.body)).has("Content-Type", got.header.Get("Content-Type"))
		head.want(head.digest() == got.digest(), "expected the digest that GET says, %s", got.digest())
	}
}

// places are the URLs that the answers before this one sent the client to.
func (a *answer) places() []*url.URL {
	var urls []*url.URL
	from, err := a.p.conn.resolve(request{target: a.exchange.URL}, nil)
	for _, h := range a.hops {
		if err == nil {
			from, err = from.Parse(h.header.Get("Location"))
		}
		a.want(err == nil && h.header.Get("Location") != "", "expected a Location with a URL in the redirect")
		urls = append(urls, from)
	}
	return urls
}

func clientBlobRedirect(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	a := p.get(p.repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content)
	for _, h := range a.hops {
		a.want(h.status != http.StatusMovedPermanently, "expected a redirect that is not for ever: 302, 303, 307 or 308")
	}
	for _, place := range a.places() {
		if place.Host != p.conn.base.Host {
			p.get(place.String(), anonymous()).is(http.StatusOK).hasBody(b.content)
		}
	}
}

func clientBlobHeadRedirect(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	a := p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
	for _, place := range a.places() {
		if place.Host != p.conn.base.Host {
			p.head(place.String(), anonymous()).is(http.StatusOK).hasLength(len(b.content))
		}
	}
}

func clientRedirectPlace(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, target := range []string{p.repo.blob(m.doc.Config.Digest), p.repo.manifest("v1")} {
		a := p.try(http.MethodGet, target, withHeader("Accept", acceptedByMost+", */*")) // the place itself may be out of reach
		for _, place := range a.places() {
			a.want(p.conn.base.Scheme != "https" || place.Scheme == "https", "expected a redirect to https, got one to %s", place.Scheme)
			addr, err := netip.ParseAddr(place.Hostname())
			private := err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast())
			a.want(!private || place.Hostname() == p.conn.base.Hostname(), "expected a redirect to a name or a public address, got one to %s", place.Hostname())
		}
	}
}

func clientErrorJSON(p *probe) {
	m := p.hasImage(p.repo, "v1")
	upload := p.newUpload(p.repo, "")
	for _, a := range []*answer{
		p.getManifest(p.repo, "none"),
		p.getManifest(p.repo, string(p.newBlob(1).digest)),
		p.get(p.repo.blob(p.newBlob(1).digest)),
		p.post(repository(strings.ToUpper(string(p.repo))).uploads("")),
		p.put(withQuery(upload, "digest", string(m.digest)), withBody([]byte("something else"))),
	} {
		if a.status < http.StatusBadRequest {
			continue // another case shows it
		}
		errs := a.errors()
		a.want(len(errs) > 0, "expected an errors array in a JSON body")
		a.want(errs[0].Message != "", "expected a message in the error")
	}
}

func clientMissingCode(p *probe) {
	p.hasImage(p.repo, "v1")
	p.getManifest(p.repo, "none").isError(http.StatusNotFound, oci.ManifestUnknown, oci.NameUnknown)
	p.getManifest(p.other, "none").isError(http.StatusNotFound, oci.ManifestUnknown, oci.NameUnknown)
}

func clientAPIVersion(p *probe) {
	p.get("/v2/").is(http.StatusOK).has("Docker-Distribution-Api-Version", "registry/2.0")
}

func clientPingNoSlash(p *probe) { p.get("/v2").is(http.StatusOK) }

func clientIfNoneMatch(p *probe) {
	m := p.hasImage(p.repo, "v1")
	a := p.getManifest(p.repo, "v1").is(http.StatusOK)
	tag := a.header.Get("ETag")
	if tag == "" {
		p.notOffered(a, "manifests have no ETag")
	}
	ask := func(etag string) *answer {
		return p.get(p.repo.manifest("v1"), withHeader("Accept", acceptedByMost), withHeader("If-None-Match", etag))
	}
	ask(tag).is(http.StatusNotModified).hasBody(nil)
	ask(`"another"`).is(http.StatusOK).hasBody(m.content)
	n := p.hasImage(p.repo, "v1") // the tag moves
	ask(tag).is(http.StatusOK).hasBody(n.content)
}

func clientParallelPulls(p *probe) {
	img := p.pushed(p.newLocalImage(8))
	p.each(2*len(img.blobs()), func(i int) {
		b := img.blobs()[i%len(img.blobs())]
		p.isPulled(p.repo, b)
	})
}

func clientWarnings(p *probe) {
	var last *answer
	seen := 0
	look := func(a *answer) {
		last = a
		size := 0
		for _, w := range a.header.Values("Warning") {
			seen++
			size += len(w)
			text, ours := strings.CutPrefix(w, `299 - "`)
			// A date would be a second quoted text behind the first.
			ended := ours && strings.HasSuffix(text, `"`) && !strings.Contains(strings.ReplaceAll(text[:max(len(text)-1, 0)], `\"`, ""), `"`)
			a.want(ended, `expected warnings of the form 299 - "text"`)
		}
		a.want(size <= 4096, "expected at most 4096 bytes of warnings, got %d", size)
	}
	m := p.newImage(p.repo)
	look(p.putManifest(p.repo, "v1", m))
	look(p.getManifest(p.repo, "v1"))
	look(p.post(p.repo.uploads("")))
	look(p.get(p.repo.tags("")))
	look(p.get("/v2/"))
	if seen == 0 {
		p.notOffered(last, "no answer has a warning")
	}
}
