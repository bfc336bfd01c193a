package verify

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// digest returns Docker-Content-Digest of the response or, if the client was redirected to a
// store, which cannot know the header, of the redirect.
func (a *answer) digest() string {
	if d := a.Header.Get("Docker-Content-Digest"); d != "" {
		return d
	}
	for _, h := range a.hops {
		if d := h.header.Get("Docker-Content-Digest"); d != "" {
			return d
		}
	}
	return ""
}

// wantDigest expects d in Docker-Content-Digest.
func (a *answer) wantDigest(d oci.Digest) *answer {
	return a.want(a.digest() == string(d), "expected the header Docker-Content-Digest: %s", d)
}

// wantManifest expects exactly this manifest.
func (a *answer) wantManifest(m manifest) {
	a.wantStatus(http.StatusOK).wantHeader("Content-Type", m.mediaType).wantDigest(m.digest).wantContent(m.content)
}

// wantOneOf expects one of the manifests, complete and with its digest.
func (a *answer) wantOneOf(versions []manifest) {
	a.wantStatus(http.StatusOK)
	i := slices.IndexFunc(versions, func(m manifest) bool { return a.digest() == string(m.digest) })
	a.want(i >= 0, "expected one of the %d pushed manifests, with its digest in Docker-Content-Digest", len(versions))
	a.wantContent(versions[i].content)
}

// wantWhole expects this manifest, complete.
func (a *answer) wantWhole(m manifest) { a.wantOneOf([]manifest{m}) }

// wantMissingOr expects 404, or 200 with this content. It reports whether the content exists.
func (a *answer) wantMissingOr(content []byte) bool {
	if a.wantStatus(http.StatusOK, http.StatusNotFound).Status == http.StatusNotFound {
		return false
	}
	a.wantContent(content)
	return true
}

// wantContent expects the content or, of HEAD, its length.
func (a *answer) wantContent(content []byte) *answer {
	if a.Exchange.Method == http.MethodHead {
		return a.wantLength(len(content))
	}
	return a.wantBody(content)
}

// wantPullable expects a Location from which the blob can be pulled.
func (a *answer) wantPullable(b blob) *answer {
	return a.t.get(a.location()).wantStatus(http.StatusOK).wantBody(b.content)
}

// wantDigestOf expects the digest of the blob.
func (a *answer) wantDigestOf(b blob) *answer { return a.wantDigest(b.digest) }

// location returns the URL in Location, which may be relative.
func (a *answer) location() string {
	raw := a.Header.Get("Location")
	u, err := a.URL.Parse(raw)
	a.want(raw != "" && err == nil, "expected a Location header with a URL")
	return u.String()
}

// merged adds the digest to the location of an upload as most clients do: they parse, sort
// and encode the query.
func (a *answer) merged(d oci.Digest) string {
	u, err := url.Parse(a.location())
	a.want(err == nil, "expected a Location header with a URL")
	q := u.Query()
	q.Set("digest", string(d))
	u.RawQuery = q.Encode()
	return u.String()
}

// appended adds the digest to the location of an upload as regctl does: at the end, with an
// unescaped colon.
func (a *answer) appended(d oci.Digest) string {
	sep := "?"
	if strings.Contains(a.location(), "?") {
		sep = "&"
	}
	return a.location() + sep + "digest=" + string(d)
}

// wantStored expects 201, and that the blob can be pulled from the repository.
func (a *answer) wantStored(repo repository, b blob) {
	a.wantStatus(http.StatusCreated)
	a.t.wantBlob(repo, b)
}

// wantOwnHost expects the location of an upload on the registry's own scheme and host.
func (a *answer) wantOwnHost() *answer {
	u, err := url.Parse(a.location())
	own := err == nil && u.Host == a.t.client.Base.Host && u.Scheme == a.t.client.Base.Scheme
	return a.want(own, "expected a location at %s://%s, or a relative one", a.t.client.Base.Scheme, a.t.client.Base.Host)
}
