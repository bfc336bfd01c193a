//go:build localstack

package faultproxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
)

// scenario is one kind of request, whose calls of AWS meet the faults.
type scenario struct {
	name string
	// serve has the registry send blobs itself, from S3.
	serve bool
	// large scenarios move megabytes: they meet a selection of the faults.
	large bool
	// prepare makes the state before the request and returns the request.
	prepare func(c *client) (request func())
}

func (c *client) content(i int) []byte { return fmt.Appendf(nil, "blob %d of %s", i, c.repo) }

// image pushes an image without faults.
func (c *client) image(tag string, pad int) []byte {
	c.postBlob(c.content(0))
	m := c.manifest(pad)
	c.put(tag, m)
	return m
}

// padding makes a manifest too large for a row.
const padding = 70_000

func scenarios() []scenario {
	get := func(pad int, methods []string, paths ...string) func(c *client) func() {
		return func(c *client) func() {
			m := c.image("v1", pad)
			return func() {
				for _, method := range methods {
					for _, path := range paths {
						path = string(bytes.ReplaceAll([]byte(path), []byte("DIGEST"), []byte(digest(m))))
						a := c.want(c.send(method, c.path("%s", path), nil), http.StatusOK)
						if method == http.MethodGet && !bytes.Equal(a.body, m) {
							c.t.Errorf("GET %s: %q", path, a.body)
						}
					}
				}
			}
		}
	}
	read, both := []string{http.MethodGet}, []string{http.MethodHead, http.MethodGet}
	list := func(path func(c *client) string, has func(c *client) string) func(c *client) func() {
		return func(c *client) func() {
			c.image("v1", 0)
			return func() {
				a := c.want(c.send("GET", path(c), nil), http.StatusOK)
				if !bytes.Contains(a.body, []byte(has(c))) {
					c.t.Errorf("%s is not in %s", has(c), a.body)
				}
			}
		}
	}
	push := func(pad int) func(c *client) func() {
		return func(c *client) func() {
			c.postBlob(c.content(0))
			c.postBlob(c.content(1))
			m := c.manifest(pad)
			return func() { c.put("v1", m) }
		}
	}
	again := func(pad int) func(c *client) func() {
		return func(c *client) func() {
			m := c.image("v1", pad)
			return func() { c.put("v2", m) }
		}
	}
	remove := func(pad int, path func(m []byte) string) func(c *client) func() {
		return func(c *client) func() {
			m := c.image("v1", pad)
			c.manifests, c.blobs = nil, nil
			return func() { c.remove(c.path("%s", path(m))) }
		}
	}
	mount := func(from string) func(c *client) func() {
		return func(c *client) func() {
			content := c.content(0)
			c.postBlob(content)
			other := c.repo
			c.repo += "-mounted"
			return func() {
				query := "mount=" + digest(content)
				if from != "" {
					query += "&from=" + other
				}
				c.want(c.send("POST", c.path("blobs/uploads/?%s", query), nil), http.StatusCreated)
			}
		}
	}
	five := bytes.Repeat([]byte("5 MiB of"), 5<<20/8)
	return []scenario{
		{name: "POST", prepare: func(c *client) func() { return func() { c.postBlob(c.content(0)) } }},
		{name: "POST of what another repository has", prepare: func(c *client) func() {
			content := c.content(0)
			c.postBlob(content)
			c.repo += "-other"
			return func() { c.postBlob(content) }
		}},
		{name: "POST and PUT", prepare: func(c *client) func() { return func() { c.upload(c.content(0)) } }},
		{name: "POST, PATCH, PATCH and PUT", prepare: func(c *client) func() {
			return func() { c.upload(nil, c.content(0), c.content(1)) }
		}},
		{name: "chunks of 5 MiB", large: true, prepare: func(c *client) func() {
			return func() { c.upload(c.content(0), append(c.content(1), five...), c.content(2)) }
		}},
		{name: "mount", prepare: mount("from")},
		{name: "mount from anywhere", prepare: mount("")},
		{name: "direct upload", prepare: func(c *client) func() { return func() { c.direct(c.content(0), false) } }},
		{name: "direct upload in parts", prepare: func(c *client) func() { return func() { c.direct(c.content(0), true) } }},
		{name: "cancel", prepare: func(c *client) func() {
			at := c.start()
			c.patch(at, c.content(0))
			return func() {
				a := c.send("DELETE", at, nil)
				if c.failures > 0 && a.status == http.StatusNotFound {
					return
				}
				c.want(a, http.StatusNoContent)
			}
		}},
		{name: "PUT manifest", prepare: push(0)},
		{name: "PUT manifest above 64 KiB", prepare: push(padding)},
		{name: "PUT manifest again", prepare: again(0)},
		{name: "PUT manifest above 64 KiB again", prepare: again(padding)},
		{name: "GET manifest", prepare: get(0, both, "manifests/v1", "manifests/DIGEST")},
		{name: "GET manifest above 64 KiB in a cold process", prepare: func(c *client) func() {
			request := get(padding, read, "manifests/DIGEST")(c)
			return func() { c.restart(); request() }
		}},
		{name: "GET manifest by tag in a cold process", prepare: func(c *client) func() {
			request := get(0, read, "manifests/v1")(c)
			return func() { c.restart(); request() }
		}},
		{name: "HEAD and GET blob", prepare: func(c *client) func() {
			c.postBlob(c.content(0))
			return func() {
				path := c.path("blobs/%s", digest(c.content(0)))
				c.want(c.send("HEAD", path, nil), http.StatusOK)
				at := c.want(c.send("GET", path, nil), http.StatusTemporaryRedirect).header.Get("Location")
				c.fetch(at, c.content(0))
			}
		}},
		{name: "GET blob through the registry", serve: true, prepare: func(c *client) func() {
			c.postBlob(c.content(0))
			return func() {
				a := c.want(c.send("GET", c.path("blobs/%s", digest(c.content(0))), nil), http.StatusOK)
				if !bytes.Equal(a.body, c.content(0)) {
					c.t.Errorf("the blob is %q", a.body)
				}
			}
		}},
		{name: "tags", prepare: list(func(c *client) string { return c.path("tags/list") }, func(*client) string { return `"v1"` })},
		{name: "catalog", prepare: list(func(c *client) string { return "/v2/_catalog?n=1&last=" + c.repo[:len(c.repo)-1] },
			func(c *client) string { return c.repo })},
		{name: "referrers", prepare: list(func(c *client) string { return c.path("referrers/%s", subject) }, func(*client) string { return "sha256:" })},
		{name: "DELETE tag", prepare: remove(0, func([]byte) string { return "manifests/v1" })},
		{name: "DELETE manifest", prepare: remove(0, func(m []byte) string { return "manifests/" + digest(m) })},
		{name: "DELETE manifest above 64 KiB", prepare: remove(padding, func(m []byte) string { return "manifests/" + digest(m) })},
		{name: "DELETE blob", prepare: func(c *client) func() {
			c.postBlob(c.content(0))
			path := c.path("blobs/%s", digest(c.content(0)))
			c.blobs = nil
			return func() { c.remove(path) }
		}},
	}
}

// fetch follows a redirect to S3, whose faults the client of the registry meets itself.
func (c *client) fetch(at string, want []byte) {
	c.t.Helper()
	for range tries {
		a := c.try("GET", at, nil)
		if a.status == http.StatusOK && slices.Equal(a.body, want) {
			return
		}
		c.failures++
		if c.stays {
			c.proxy.Break()
		}
	}
	c.t.Errorf("no bytes from %s", at)
}
