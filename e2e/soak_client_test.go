//go:build e2e && soak

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// soakRepos are the repositories of the soak. In the last one, a few images are pushed and deleted by
// all clients; in the others each client has its own images, of layers that all share.
var soakRepos = []string{"soak/a", "soak/b", "soak/c/d", "soak/hot"}

// maxOwn is the number of images that a client keeps.
const maxOwn = 20

// hot is the repository of the shared images.
const hot = "soak/hot"

func (c *soakClient) repo() string { return soakRepos[c.rng.IntN(len(soakRepos))] }

// act does one thing that a client does.
func (c *soakClient) act() {
	n := c.rng.IntN(100)
	switch {
	case c.id%10 == 9 && n < 50:
		c.pushByCommand()
	case n < 35:
		c.pushOwn()
	case n < 50:
		c.pushHot()
	case n < 65:
		c.deleteOwn()
	case n < 72:
		c.deleteHot()
	case n < 80:
		c.untag()
	case n < 90:
		c.pullTag()
	case n < 95:
		c.abort()
	default:
		c.deleteBlob()
	}
	if c.rng.IntN(40) == 0 { // so that some garbage is due when it is pushed again
		time.Sleep(time.Duration(c.rng.Int64N(int64(2 * soakGrace))))
	}
}

// pushOwn pushes an image that no other client has, or an earlier one under another tag.
func (c *soakClient) pushOwn() {
	if len(c.own) > maxOwn {
		c.deleteOwn()
	}
	if len(c.own) > 0 && c.rng.IntN(4) == 0 {
		c.push(c.own[c.rng.IntN(len(c.own))])
		return
	}
	contents := [][]byte{fmt.Appendf(nil, `{"client":%d,"n":%d}`, c.id, c.rng.Uint64())}
	for range 1 + c.rng.IntN(3) {
		contents = append(contents, c.layers[c.rng.IntN(len(c.layers))])
	}
	if c.rng.IntN(3) == 0 {
		contents = append(contents, soakContent(c.rng.Uint64(), c.size()))
	}
	annotations := map[string]string{"client": fmt.Sprint(c.id)}
	if c.rng.IntN(10) == 0 {
		annotations["pad"] = strings.Repeat("x", 70_000) // too large for a row
	}
	doc := soakDocument(contents, annotations)
	if len(c.own) > 0 && c.rng.IntN(8) == 0 {
		doc.Subject = &descriptor{MediaType: typeManifest, Digest: c.own[0].digest, Size: int64(len(c.own[0].content))}
	}
	m := c.rec.manifest(soakRepos[c.rng.IntN(len(soakRepos)-1)], encode(c.t, doc))
	m.contents = contents
	c.own = append(c.own, m)
	c.push(m)
}

// pushHot pushes one of the images that all clients push and delete.
func (c *soakClient) pushHot() { c.push(c.hotImage()) }

func (c *soakClient) hotImage() *soakManifest {
	n := c.rng.IntN(4)
	contents := [][]byte{fmt.Appendf(nil, `{"hot":%d}`, n), c.layers[n], c.layers[n+1]}
	m := *c.rec.manifest(hot, encode(c.t, soakDocument(contents, nil)))
	m.contents = contents
	return &m
}

// push pushes an image to one of the client's tags. It may be refused for a missing blob only if more
// than half of the grace is over since its first request; then the client pushes it again.
func (c *soakClient) push(m *soakManifest) {
	tag := c.tag(m.repo)
	pushed, moved := c.rec.begin(m, pushes), c.rec.beginTag(m.repo, tag, m)
	for range 100 {
		start := time.Now()
		if !c.pushBlobs(m) {
			return
		}
		if c.rng.IntN(8) == 0 { // a slow push, which relies on the leases of what it has found
			time.Sleep(time.Duration(c.rng.Int64N(int64(soakGrace / 4))))
		}
		path := "/v2/" + m.repo + "/manifests/" + tag
		a := c.request(request{method: "PUT", path: path, mediaType: typeManifest, body: m.content})
		switch {
		case a.status == http.StatusCreated && a.header.Get("Docker-Content-Digest") == m.digest:
			pushed()
			moved()
			c.count("images pushed")
			return
		case a.code() == "MANIFEST_BLOB_UNKNOWN" && time.Since(start) > soakGrace/2:
			c.count("pushes refused after half a grace, and repeated")
		default:
			c.t.Errorf("push of %s:%s after %v: %d %s", m.repo, tag, time.Since(start), a.status, a.body)
			return
		}
	}
	c.t.Errorf("push of %s:%s: refused again and again", m.repo, tag)
}

// tag returns one of the tags that only this client moves.
func (c *soakClient) tag(repo string) string {
	tag := fmt.Sprintf("t%d-%d", c.id, c.rng.IntN(3))
	if name := repo + ":" + tag; !slices.Contains(c.tags, name) {
		c.tags = append(c.tags, name)
	}
	return tag
}

// pushBlobs uploads the blobs that the registry does not have.
func (c *soakClient) pushBlobs(m *soakManifest) bool {
	for _, content := range m.contents {
		if c.rng.IntN(4) > 0 {
			r := request{method: "HEAD", path: "/v2/" + m.repo + "/blobs/" + digestOf(content)}
			a, ok := c.wants(r, http.StatusOK, http.StatusNotFound)
			if !ok {
				return false
			}
			if a.status == http.StatusOK {
				continue
			}
		}
		if !c.upload(m.repo, content) {
			return false
		}
	}
	return true
}

// pushByCommand pushes one of the shared images with "pierless push", which may be killed, and is
// repeated until it succeeds.
func (c *soakClient) pushByCommand() {
	image := c.images[c.rng.IntN(len(c.images))]
	m := c.rec.manifest(hot, readBlob(c.t, image.amd64Layout, image.amd64.Digest))
	tag := c.tag(hot)
	pushed, moved := c.rec.begin(m, pushes), c.rec.beginTag(hot, tag, m)
	for range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		if c.rng.IntN(4) == 0 {
			time.AfterFunc(time.Duration(c.rng.IntN(500))*time.Millisecond, cancel) // sends SIGKILL
		}
		start := time.Now()
		cmd := exec.CommandContext(ctx, built(c.t, "pierless"), "push", "oci:"+image.amd64Layout+":v1",
			c.servers[c.rng.IntN(len(c.servers))].host+"/"+hot+":"+tag)
		cmd.Env = append(os.Environ(), "HOME="+c.home, "XDG_CACHE_HOME="+c.home, "DOCKER_CONFIG="+c.home)
		out, err := cmd.CombinedOutput()
		killed := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			pushed()
			moved()
			c.count("images pushed by pierless push")
			return
		case killed:
			c.count("pierless push killed")
		case strings.Contains(string(out), "MANIFEST_BLOB_UNKNOWN") && time.Since(start) > soakGrace/2:
			c.count("pushes refused after half a grace, and repeated")
		case strings.Contains(string(out), "connection refused"):
			c.count("pierless push without a registry")
		default:
			c.t.Errorf("pierless push after %v: %v\n%s", time.Since(start), err, out)
			return
		}
	}
	c.t.Errorf("pierless push of %s fails again and again", tag)
}

// deleteOwn deletes one of the client's images. It ends its tags, and is not pushed again.
func (c *soakClient) deleteOwn() {
	if len(c.own) == 0 {
		return
	}
	i := c.rng.IntN(len(c.own))
	m := c.own[i]
	c.own = slices.Delete(c.own, i, i+1)
	c.deleteManifest(m)
	c.pull(m, m.digest, false, false)
	m.contents = nil
}

// deleteHot deletes an image that others may be pushing.
func (c *soakClient) deleteHot() {
	m := c.hotImage()
	if c.rng.IntN(2) == 0 {
		image := c.images[c.rng.IntN(len(c.images))]
		m = c.rec.manifest(hot, readBlob(c.t, image.amd64Layout, image.amd64.Digest))
	}
	c.deleteManifest(m)
}

// deleteManifest deletes a manifest. It is unknown if it was deleted before, or if an answer was lost.
func (c *soakClient) deleteManifest(m *soakManifest) {
	must := m.repo != hot && c.rec.mustExist(m)
	deleted := c.rec.begin(m, deletes)
	r := request{method: "DELETE", path: "/v2/" + m.repo + "/manifests/" + m.digest}
	a, err := c.once(r)
	switch {
	case err != nil || a.status == http.StatusServiceUnavailable:
		if _, ok := c.wants(r, http.StatusAccepted, http.StatusNotFound); !ok {
			return
		}
	case a.status == http.StatusNotFound && !must:
	case a.status != http.StatusAccepted:
		c.t.Errorf("delete of %s@%s: %d %s", m.repo, m.digest, a.status, a.body)
		return
	}
	deleted()
	c.count("images deleted")
}

// untag deletes a tag of the client.
func (c *soakClient) untag() {
	if repo, tag, ok := c.anyTag(); ok {
		deleted := c.rec.beginTag(repo, tag, nil)
		r := request{method: "DELETE", path: "/v2/" + repo + "/manifests/" + tag}
		if _, ok := c.wants(r, http.StatusAccepted, http.StatusNotFound); ok {
			deleted()
			c.count("tags deleted")
		}
	}
}

// pullTag pulls the image of a tag of the client.
func (c *soakClient) pullTag() {
	if repo, tag, ok := c.anyTag(); ok && c.pullByTag(repo, tag) {
		c.count("images pulled")
	}
}

func (c *soakClient) anyTag() (repo, tag string, ok bool) {
	if len(c.tags) == 0 {
		return "", "", false
	}
	return strings.Cut(c.tags[c.rng.IntN(len(c.tags))], ":")
}

// deleteBlob uploads a blob that no manifest names, and deletes it. It may be freed by then if that
// takes more than half of the grace.
func (c *soakClient) deleteBlob() {
	repo, content, start := c.repo(), soakContent(c.rng.Uint64(), c.size()), time.Now()
	if !c.upload(repo, content) {
		return
	}
	r := request{method: "GET", path: "/v2/" + repo + "/blobs/" + digestOf(content)}
	a := c.request(r)
	if gone := a.status == http.StatusNotFound && time.Since(start) > soakGrace/2; !gone && !bytes.Equal(a.body, content) {
		c.t.Errorf("%s: %d, %d bytes, want the %d that were sent", r.path, a.status, len(a.body), len(content))
	}
	r.method = "DELETE"
	if _, ok := c.wants(r, http.StatusAccepted, http.StatusNotFound); ok {
		r.method = "GET"
		c.wants(r, http.StatusNotFound)
		c.count("blobs deleted")
	}
}

// soakManifestDocument is a manifest with annotations and a subject.
type soakManifestDocument struct {
	document
	Subject     *descriptor       `json:"subject,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// soakDocument returns the manifest of an image whose first content is the configuration.
func soakDocument(contents [][]byte, annotations map[string]string) soakManifestDocument {
	doc := soakManifestDocument{Annotations: annotations}
	doc.SchemaVersion, doc.MediaType = 2, typeManifest
	for _, content := range contents {
		doc.Layers = append(doc.Layers, descriptor{MediaType: typeLayer, Digest: digestOf(content), Size: int64(len(content))})
	}
	doc.Config, doc.Layers = &doc.Layers[0], doc.Layers[1:]
	doc.Config.MediaType = typeConfig
	return doc
}
