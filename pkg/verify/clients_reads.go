package verify

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func clientAcceptLines(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, ref := range []string{"v1", string(m.digest)} {
			t.do(method, t.repo.manifest(ref), withHeader("Accept", acceptedByMost)).wantManifest(m)
			t.do(method, t.repo.manifest(ref), acceptLines()).wantManifest(m)
		}
	}
}

func clientAcceptAny(t *T) {
	image := t.seedImage(t.repo, "v1")
	index := t.seedManifest(t.repo, "v2", t.indexOf(image).encode())
	for ref, m := range map[string]manifest{"v1": image, "v2": index} {
		t.get(t.repo.manifest(ref), withHeader("Accept", "*/*")).wantManifest(m)
		t.head(t.repo.manifest(ref), withHeader("Accept", "*/*")).wantManifest(m)
		t.get(t.repo.manifest(string(m.digest)), acceptContainerd()).wantManifest(m)
	}
}

func clientAcceptNone(t *T) {
	image := t.seedImage(t.repo, "v1")
	t.get(t.repo.manifest("v1")).wantManifest(image)
	t.head(t.repo.manifest(string(image.digest))).wantManifest(image)
}

func clientAcceptOther(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, accept := range []string{oci.MediaTypeDockerManifest, "application/vnd.docker.distribution.manifest.v1+json", "text/html"} {
		for _, ref := range []string{"v1", string(m.digest)} {
			a := t.get(t.repo.manifest(ref), withHeader("Accept", accept)).wantStatus(http.StatusOK, http.StatusNotFound, http.StatusNotAcceptable)
			if a.Status != http.StatusOK {
				continue
			}
			a.wantDigest(oci.SHA256.FromBytes(a.Body))
			if ref != "v1" {
				a.wantManifest(m)
			}
		}
	}
}

func clientIndexStays(t *T) {
	image := t.seedImage(t.repo, "v1")
	index := t.seedManifest(t.repo, "v2", t.indexOf(image).encode())
	t.get(t.repo.manifest("v2"), acceptLines()).wantManifest(index)
	t.head(t.repo.manifest("v2"), acceptContainerd()).wantManifest(index)
	t.get(t.repo.manifest(string(index.digest)), acceptLines()).wantManifest(index)
}

func clientHeadAgrees(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, ref := range []string{"v1", string(m.digest)} {
		got, head := t.getManifest(t.repo, ref).wantStatus(http.StatusOK), t.headManifest(t.repo, ref).wantStatus(http.StatusOK)
		head.wantLength(len(got.Body)).wantHeader("Content-Type", got.Header.Get("Content-Type"))
		head.want(head.digest() == got.digest(), "expected the digest of GET, %s", got.digest())
	}
}

// places returns the targets of the redirects that were followed.
func (a *answer) places() []*url.URL {
	var urls []*url.URL
	from, err := a.t.client.resolve(Request{Target: a.Exchange.URL})
	for _, h := range a.hops {
		if err == nil {
			from, err = from.Parse(h.header.Get("Location"))
		}
		a.want(err == nil && h.header.Get("Location") != "", "expected a Location with a URL in the redirect")
		urls = append(urls, from)
	}
	return urls
}

func clientRedirectPlace(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, target := range []string{t.repo.blob(m.doc.Config.Digest), t.repo.manifest("v1")} {
		a := t.try(http.MethodGet, target, withHeader("Accept", acceptedByMost+", */*")) // the target may be unreachable
		for _, place := range a.places() {
			a.want(t.client.Base.Scheme != "https" || place.Scheme == "https", "expected a redirect to https, got one to %s", place.Scheme)
			addr, err := netip.ParseAddr(place.Hostname())
			private := err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast())
			a.want(!private || place.Hostname() == t.client.Base.Hostname(), "expected a redirect to a name or a public address, got one to %s", place.Hostname())
		}
	}
}

func clientErrorJSON(t *T) {
	m := t.seedImage(t.repo, "v1")
	upload := t.newUpload(t.repo, "")
	for _, a := range []*answer{
		t.getManifest(t.repo, "none"),
		t.getManifest(t.repo, string(t.newBlob(1).digest)),
		t.get(t.repo.blob(t.newBlob(1).digest)),
		t.post(repository(strings.ToUpper(string(t.repo))).uploads("")),
		t.put(AddQuery(upload, "digest", string(m.digest)), withBody([]byte("something else"))),
	} {
		if a.Status < http.StatusBadRequest {
			continue // another case reports it
		}
		errs := a.errors()
		a.want(len(errs) > 0, "expected an errors array in a JSON body")
		a.want(errs[0].Message != "", "expected a message in the error")
	}
}

func clientMissingCode(t *T) {
	t.seedImage(t.repo, "v1")
	t.getManifest(t.repo, "none").wantError(http.StatusNotFound, oci.ManifestUnknown, oci.NameUnknown)
	t.getManifest(t.other, "none").wantError(http.StatusNotFound, oci.ManifestUnknown, oci.NameUnknown)
}

func clientIfNoneMatch(t *T) {
	m := t.seedImage(t.repo, "v1")
	a := t.getManifest(t.repo, "v1").wantStatus(http.StatusOK)
	tag := a.Header.Get("ETag")
	if tag == "" {
		t.notOffered(a, "manifests have no ETag")
	}
	ask := func(etag string) *answer {
		return t.get(t.repo.manifest("v1"), withHeader("Accept", acceptedByMost), withHeader("If-None-Match", etag))
	}
	ask(tag).wantStatus(http.StatusNotModified).wantBody(nil)
	ask(`"another"`).wantStatus(http.StatusOK).wantBody(m.content)
	n := t.seedImage(t.repo, "v1") // the tag moves
	ask(tag).wantStatus(http.StatusOK).wantBody(n.content)
}

func clientParallelPulls(t *T) {
	img := t.pushed(t.newLocalImage(8))
	t.parallel(2*len(img.blobs()), func(i int) { t.wantBlob(t.repo, img.blobs()[i%len(img.blobs())]) })
}

func clientWarnings(t *T) {
	var last *answer
	seen := 0
	look := func(a *answer) {
		last = a
		size := 0
		for _, w := range a.Header.Values("Warning") {
			seen++
			size += len(w)
			text, ours := strings.CutPrefix(w, `299 - "`)
			// A date would be a second quoted text.
			ended := ours && strings.HasSuffix(text, `"`) && !strings.Contains(strings.ReplaceAll(text[:max(len(text)-1, 0)], `\"`, ""), `"`)
			a.want(ended, `expected warnings of the form 299 - "text"`)
		}
		a.want(size <= 4096, "expected at most 4096 bytes of warnings, got %d", size)
	}
	m := t.newImage(t.repo)
	look(t.putManifest(t.repo, "v1", m))
	look(t.getManifest(t.repo, "v1"))
	look(t.post(t.repo.uploads("")))
	look(t.get(t.repo.tags("")))
	look(t.get("/v2/"))
	if seen == 0 {
		t.notOffered(last, "no response has a warning")
	}
}
