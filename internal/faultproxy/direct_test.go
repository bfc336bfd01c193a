//go:build localstack

package faultproxy_test

import (
	"fmt"
	"net/http"
)

// store sends a presigned request to S3, whose answers are not the registry's.
func (c *client) store(request presigned, content []byte) {
	c.t.Helper()
	var head []string
	for name, v := range request.Headers {
		head = append(head, name, v)
	}
	var a answer
	for range tries {
		a = c.try(request.Method, request.URL, content, head...)
		if a.status == http.StatusOK || a.status == http.StatusPreconditionFailed {
			return
		}
		c.failures++
		if c.stays {
			c.proxy.Break()
		}
		c.proxy.Release()
	}
	c.want(a, http.StatusOK)
}

type presigned struct {
	Method, URL string
	Headers     map[string]string
}

// direct pushes a blob straight to S3.
func (c *client) direct(content []byte, inParts bool) {
	c.t.Helper()
	for range tries {
		if c.tryDirect(content, inParts) {
			c.blobs = append(c.blobs, content)
			return
		}
		if c.failures == 0 {
			break
		}
	}
	c.t.Fatalf("no direct upload is completed: %v", c.failed)
}

func (c *client) tryDirect(content []byte, inParts bool) bool {
	offer := fmt.Appendf(nil, `{"digest":%q,"size":%d,"parts":%v}`, digest(content), len(content), inParts)
	a := c.want(c.send("POST", c.path("_pierless/uploads"), offer), http.StatusAccepted, http.StatusCreated)
	if a.status == http.StatusCreated { // a fault has hidden the success of the first try
		return c.failures > 0
	}
	var u struct {
		ID  string
		Put presigned
	}
	c.decode(a, &u)
	if inParts {
		var signed struct{ Parts []presigned }
		ask := fmt.Appendf(nil, `{"parts":[{"number":1,"size":%d,"digest":%q}]}`, len(content), digest(content))
		c.decode(c.want(c.send("POST", c.path("_pierless/parts/%s", u.ID), ask), http.StatusOK), &signed)
		u.Put = signed.Parts[0]
	}
	c.store(u.Put, content)
	a = c.send("PUT", c.path("_pierless/uploads/%s", u.ID), nil)
	for i := 0; i < 10 && a.status == http.StatusAccepted; i++ {
		a = c.send("POST", c.path("_pierless/verifications/%s", u.ID), nil)
	}
	if a.status == http.StatusCreated {
		return true
	}
	if a.status != http.StatusBadRequest && a.status != http.StatusNotFound || c.failures == 0 {
		c.want(a, http.StatusCreated)
	}
	return false
}
