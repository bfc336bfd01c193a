//go:build e2e && soak

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const octets = "application/octet-stream"

// takenOver is the code for a request whose upload a later one has taken over.
const takenOver = "BLOB_UPLOAD_INVALID"

// upload uploads a blob, in one of the ways of the spec. It reports whether it could.
func (c *soakClient) upload(repo string, content []byte) bool {
	digest := digestOf(content)
	start := "/v2/" + repo + "/blobs/uploads/"
	switch c.rng.IntN(5) {
	case 0:
		c.count("uploads by POST")
		r := request{method: "POST", path: start + "?digest=" + digest, mediaType: octets, body: content}
		_, ok := c.wants(r, http.StatusCreated)
		return ok
	case 1:
		c.count("mounts tried")
		r := request{method: "POST", path: start + "?mount=" + digest + "&from=" + c.repo()}
		a, ok := c.wants(r, http.StatusCreated, http.StatusAccepted)
		if !ok || a.status == http.StatusCreated {
			return ok
		}
		return c.finish(path(a), digest, content)
	case 2:
		c.count("uploads by PUT")
		a, ok := c.wants(request{method: "POST", path: start}, http.StatusAccepted)
		return ok && c.finish(path(a), digest, content)
	default:
		c.count("uploads by PATCH")
		a, ok := c.wants(request{method: "POST", path: start}, http.StatusAccepted)
		if !ok {
			return false
		}
		at, ok := c.patch(path(a), content, c.rng.IntN(3) == 0)
		return ok && c.finish(at, digest, nil)
	}
}

// finish sends the last request of an upload, and all of the content if there is any. If its answer
// was lost and the blob is freed before the request is repeated, the upload is unknown.
func (c *soakClient) finish(upload, digest string, content []byte) bool {
	start := time.Now()
	r := request{method: "PUT", path: withDigest(upload, digest), mediaType: octets, body: content}
	a := c.request(r)
	for lost := c.lost; lost && a.code() == takenOver && time.Since(start) < patience; {
		c.count("uploads taken over by a killed process")
		a = c.request(r)
	}
	if a.code() == "BLOB_UPLOAD_UNKNOWN" && time.Since(start) > soakGrace/2 {
		c.count("uploads that were freed before the repetition")
		return true // the push of the manifest says whether it is there
	}
	if a.status != http.StatusCreated {
		c.t.Errorf("last request of an upload: %d %s", a.status, a.body)
	}
	return a.status == http.StatusCreated
}

// patch sends content in chunks, or as a stream. After a lost answer it asks for the offset and
// continues there, with Content-Range: nothing that was acknowledged may be missing. The store may
// apply the last write of a killed process after that, so the next chunk may be refused, as too early or
// because that write took over the upload: then patch asks again.
func (c *soakClient) patch(upload string, content []byte, stream bool) (next string, ok bool) {
	sent, lost := 0, false
	chunk := len(content)/(1+c.rng.IntN(4)) + 1
	for at := 0; at < len(content); {
		end := min(at+chunk, len(content))
		r := request{method: "PATCH", path: upload, mediaType: octets, body: content[at:end]}
		r.contentRange = fmt.Sprintf("%d-%d", at, end-1)
		if stream && !lost {
			end = len(content)
			r.body, r.contentRange, r.stream = content[at:], "", true
		}
		sent = max(sent, end)
		a, err := c.once(r)
		switch {
		case err == nil && a.status == http.StatusAccepted:
			if upload, at = path(a), end; received(a) != at {
				c.t.Errorf("the upload has %d bytes, want %d", received(a), at)
				return upload, false
			}
		case err != nil || a.status == http.StatusServiceUnavailable,
			lost && a.status == http.StatusRequestedRangeNotSatisfiable, lost && a.code() == takenOver:
			lost = true
			c.count("uploads resumed")
			status, ok := c.wants(request{method: "GET", path: upload}, http.StatusNoContent)
			if !ok {
				return upload, false
			}
			have := received(status)
			if have < at || have > sent {
				c.t.Errorf("after a lost answer the upload has %d bytes, want %d to %d", have, at, sent)
				return upload, false
			}
			upload, at = path(status), have
		default:
			c.t.Errorf("PATCH at %d of %d: %d %s", at, len(content), a.status, a.body)
			return upload, false
		}
	}
	return upload, true
}

// received returns the number of bytes that an upload has.
func received(a answer) int {
	last, err := strconv.Atoi(strings.TrimPrefix(a.header.Get("Range"), "0-"))
	if err != nil {
		return -1
	}
	if last == 0 { // no chunk of the soak has one byte
		return 0
	}
	return last + 1
}

// path returns the path and the query of an upload, which every process serves.
func path(a answer) string {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return "/no-location"
	}
	return u.RequestURI()
}

func withDigest(upload, digest string) string {
	separator := "?"
	if strings.Contains(upload, "?") {
		separator = "&"
	}
	return upload + separator + "digest=" + url.QueryEscape(digest)
}

// abort begins an upload, and cancels or abandons it.
func (c *soakClient) abort() {
	a, ok := c.wants(request{method: "POST", path: "/v2/" + c.repo() + "/blobs/uploads/"}, http.StatusAccepted)
	if !ok {
		return
	}
	content := soakContent(c.rng.Uint64(), c.size())
	upload, ok := c.patch(path(a), content, false)
	if !ok {
		return
	}
	if c.rng.IntN(2) == 0 {
		c.count("uploads abandoned")
		return
	}
	// After a lost answer the upload is unknown.
	if _, ok := c.wants(request{method: "DELETE", path: upload}, http.StatusNoContent, http.StatusNotFound); ok {
		c.count("uploads cancelled")
		c.wants(request{method: "GET", path: upload}, http.StatusNotFound)
	}
}

// size returns the size of a blob: most are small, few do not fit into one part.
func (c *soakClient) size() int {
	if c.rng.IntN(40) == 0 {
		return 6*mib + c.rng.IntN(mib)
	}
	return 2 + c.rng.IntN(100*kib)
}
