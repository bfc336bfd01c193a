package verify

import (
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
)

// created records the content that the requests of a client have created, by repository. A
// request without a response may have created it too.
type created struct {
	mu           sync.Mutex
	repositories map[string]*holding // by name, as it was in the path
}

// holding is the content that was created in one repository.
type holding struct {
	manifests []string          // digests, in the order of the pushes
	blobs     []string          // digests
	uploads   map[string]string // open ones: the newest path and query by the path
}

// contentPath splits the path of a request below /v2/ into the repository and the rest. Names may
// have components such as "manifests": the longest name is the right one.
var contentPath = regexp.MustCompile(`^/v2/(.+)/(manifests/[^/]+|blobs/(?:uploads/?)?[^/]*|_pierless/.+)$`)

// note records a request to the registry at base.
func (c *created) note(base *url.URL, r Request, reply *Reply) {
	if !sameHost(reply.URL, base) || reply.Status != 0 && reply.Status/100 != 2 {
		return
	}
	target := reply.URL.Opaque // of a raw request
	if target == "" {
		target = reply.URL.RequestURI()
	}
	at, query, _ := strings.Cut(strings.TrimPrefix(target, base.Path), "?")
	match := contentPath.FindStringSubmatch(at)
	if match == nil {
		return
	}
	name, rest := match[1], match[2]
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.repositories[name]
	if h == nil {
		h = &holding{uploads: map[string]string{}}
	}
	if ref, ok := strings.CutPrefix(rest, "manifests/"); ok {
		h.noteManifest(r, reply, ref)
	} else {
		values, _ := url.ParseQuery(query) // the valid part of a malformed one
		h.noteBlob(r, reply, at, values)
		h.noteUpload(base, r, reply, at)
	}
	if len(h.manifests)+len(h.blobs)+len(h.uploads) > 0 {
		c.repositories[name] = h
	}
}

// noteManifest records a pushed manifest: under the digest in the path, else under that of the
// bytes. A faulty registry may report another one.
func (h *holding) noteManifest(r Request, reply *Reply, ref string) {
	if r.Method != http.MethodPut {
		return
	}
	if !strings.Contains(ref, ":") {
		ref = string(oci.SHA256.FromBytes(r.Body))
	}
	for _, d := range []string{ref, reply.Header.Get("Docker-Content-Digest")} {
		if d != "" && !slices.Contains(h.manifests, d) {
			h.manifests = append(h.manifests, d)
		}
	}
}

// noteBlob records a blob that was uploaded or mounted.
func (h *holding) noteBlob(r Request, reply *Reply, at string, query url.Values) {
	writes := r.Method == http.MethodPut || r.Method == http.MethodPost
	if !writes || reply.Status != http.StatusCreated && reply.Status != 0 {
		return
	}
	for _, d := range []string{query.Get("digest"), query.Get("mount"), path.Base(reply.Header.Get("Location"))} {
		if strings.Contains(d, ":") && !slices.Contains(h.blobs, d) {
			h.blobs = append(h.blobs, d)
		}
	}
	if reply.Status == http.StatusCreated {
		delete(h.uploads, at)
	}
}

// noteUpload records an upload that was opened, and its changed Location, until it is cancelled.
func (h *holding) noteUpload(base *url.URL, r Request, reply *Reply, at string) {
	_, known := h.uploads[at]
	opens := r.Method == http.MethodPost && strings.HasSuffix(strings.TrimSuffix(at, "/"), "/uploads")
	if known && r.Method == http.MethodDelete && reply.Status != 0 {
		delete(h.uploads, at)
		return
	}
	location := reply.Header.Get("Location")
	next, err := reply.URL.Parse(location)
	moves := known && strings.Contains(at, "/blobs/uploads/")
	if location == "" || err != nil || reply.Status == http.StatusCreated || !moves && !opens {
		return
	}
	delete(h.uploads, at)
	// Only path and query: the host may be another one, which gets no request.
	to := strings.TrimPrefix(next.EscapedPath(), base.Path)
	h.uploads[to] = to
	if next.RawQuery != "" {
		h.uploads[to] += "?" + next.RawQuery
	}
}
