package verify

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// digest is Docker-Content-Digest of the answer or, where the registry sent the
// client on to a store that cannot know the header, of the redirect.
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
	a.wantStatus(http.StatusOK).wantHeader("Content-Type", m.mediaType).wantDigest(m.digest)
	if a.Exchange.Method == http.MethodHead {
		a.wantLength(len(m.content))
		return
	}
	a.wantBody(m.content)
}

// wantOneOf expects one of the manifests, whole and with its digest.
func (a *answer) wantOneOf(versions []manifest) {
	a.wantStatus(http.StatusOK)
	for _, m := range versions {
		switch {
		case a.digest() != string(m.digest):
		case a.Exchange.Method == http.MethodHead:
			a.wantLength(len(m.content))
			return
		default:
			a.wantBody(m.content)
			return
		}
	}
	a.want(false, "expected one of the %d manifests that were pushed, with its digest in Docker-Content-Digest", len(versions))
}

// wantWhole expects this manifest, whole.
func (a *answer) wantWhole(m manifest) { a.wantOneOf([]manifest{m}) }

// wantMissingOr expects 404, or 200 with these bytes and, where there is one, their
// true length. It tells whether they are there.
func (a *answer) wantMissingOr(content []byte) bool {
	if a.wantStatus(http.StatusOK, http.StatusNotFound).Status == http.StatusNotFound {
		return false
	}
	if a.Exchange.Method == http.MethodHead {
		a.wantLength(len(content))
	} else {
		a.wantBody(content)
	}
	return true
}

// wantPullable expects a Location from which the blob can be pulled.
func (a *answer) wantPullable(b blob) {
	a.t.get(a.location()).wantStatus(http.StatusOK).wantBody(b.content)
}

// location is the URL in Location, which may be relative.
func (a *answer) location() string {
	raw := a.Header.Get("Location")
	u, err := a.URL.Parse(raw)
	a.want(raw != "" && err == nil, "expected a Location header with a URL")
	return u.String()
}

// merged adds the digest to an upload's location as most clients do: the query is
// read, sorted and written anew.
func (a *answer) merged(d oci.Digest) string {
	u, err := url.Parse(a.location())
	a.want(err == nil, "expected a Location header with a URL")
	q := u.Query()
	q.Set("digest", string(d))
	u.RawQuery = q.Encode()
	return u.String()
}

// appended adds the digest to an upload's location as regctl does: at the end, and
// with its colon.
func (a *answer) appended(d oci.Digest) string {
	sep := "?"
	if strings.Contains(a.location(), "?") {
		sep = "&"
	}
	return a.location() + sep + "digest=" + string(d)
}
