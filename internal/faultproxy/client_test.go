//go:build localstack

package faultproxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/faultproxy"
	"github.com/pierless/pierless/pkg/registry"
)

// client pushes to and pulls from a registry behind a proxy by the protocol: it repeats a request
// that a fault has failed, and begins an upload again if the registry no longer knows it. It
// records what was acknowledged.
type client struct {
	t     *testing.T
	world *world
	url   string
	repo  string
	proxy *faultproxy.Proxy
	reg   *registry.Registry
	fresh func() (url string) // starts another process

	// refuses says which answers to a fault are allowed besides 503 and 429.
	refuses  func(status int) bool
	failures int      // requests that a fault has failed
	failed   []string // their requests and answers
	stays    bool     // the fault stays until a request of the client fails

	pushed    [][]byte          // manifests that may be there
	manifests map[string][]byte // acknowledged, by tag
	blobs     [][]byte          // acknowledged
	gone      []string          // paths of what was deleted

	mu     sync.Mutex
	causes []string // of answers 5xx, from the registry's log
}

func (c *client) log() *slog.Logger { return slog.New(causes{slog.DiscardHandler, c}) }

// causes is a log that keeps the causes of failed requests.
type causes struct {
	slog.Handler
	c *client
}

func (causes) Enabled(context.Context, slog.Level) bool { return true }

func (h causes) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" || a.Key == "cause" {
			h.c.mu.Lock()
			h.c.causes = append(h.c.causes, a.Value.String())
			h.c.mu.Unlock()
		}
		return true
	})
	return nil
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// restart replaces the process by one with empty caches.
func (c *client) restart() { c.url = c.fresh() }

// try sends one request. The status is 0 if there was no complete answer.
func (c *client) try(method, target string, body []byte, head ...string) answer {
	if !strings.HasPrefix(target, "http") {
		target = c.url + target
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // follows no redirects
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}
	}
	return answer{resp.StatusCode, resp.Header, content}
}

// tries is how often a client sends a request. One suffices without a fault.
const tries = 5

// send repeats a request until no fault answers it.
func (c *client) send(method, target string, body []byte, head ...string) answer {
	c.t.Helper()
	for range tries {
		a := c.try(method, target, body, head...)
		if a.status > 0 && a.status < 500 && a.status != http.StatusTooManyRequests {
			return a
		}
		c.fail(method, target, a)
	}
	c.t.Fatalf("%s %s fails without a fault: %v", method, target, c.failed)
	return answer{}
}

// fail checks the answer to a request that a fault has failed, and ends the fault.
func (c *client) fail(method, target string, a answer) {
	c.t.Helper()
	c.failures++
	c.failed = append(c.failed, fmt.Sprintf("%s %s: %d %s", method, target, a.status, a.body))
	switch {
	case a.status == 0: // bytes that were cut off
	case c.refuses != nil && c.refuses(a.status):
	case a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests:
		c.t.Errorf("%s %s: %d %s, because of %q", method, target, a.status, a.body, c.causes)
	case a.header.Get("Retry-After") == "":
		c.t.Errorf("%s %s: %d without Retry-After", method, target, a.status)
	}
	var errs struct{ Errors []struct{ Code string } }
	if a.status > 0 && method != http.MethodHead && (json.Unmarshal(a.body, &errs) != nil || len(errs.Errors) == 0 || errs.Errors[0].Code == "") {
		c.t.Errorf("%s %s: %d with the body %q", method, target, a.status, a.body)
	}
	if c.stays {
		c.proxy.Break()
	}
	c.proxy.Release()
}

// want fails unless an answer has one of these statuses.
func (c *client) want(a answer, statuses ...int) answer {
	c.t.Helper()
	for _, status := range statuses {
		if a.status == status {
			return a
		}
	}
	c.t.Fatalf("%d %s, want %v; before: %v", a.status, a.body, statuses, c.failed)
	return a
}

func (c *client) path(format string, args ...any) string {
	return "/v2/" + c.repo + "/" + fmt.Sprintf(format, args...)
}

// postBlob pushes a blob in one request.
func (c *client) postBlob(content []byte) {
	c.want(c.send("POST", c.path("blobs/uploads/?digest=%s", digest(content)), content), http.StatusCreated)
	c.blobs = append(c.blobs, content)
}

func (c *client) start() string {
	return c.want(c.send("POST", c.path("blobs/uploads/"), nil), http.StatusAccepted).header.Get("Location")
}

// upload pushes a blob in chunks and a last request with the rest. It starts again if a fault has
// left the upload unusable.
func (c *client) upload(last []byte, chunks ...[]byte) {
	c.t.Helper()
	content := append(bytes.Join(chunks, nil), last...)
	for range tries {
		at, intact := c.start(), true
		for _, chunk := range chunks {
			intact = intact && c.patch(at, chunk)
		}
		if !intact {
			continue
		}
		a := c.send("PUT", at+"?digest="+digest(content), last, "Content-Type", "application/octet-stream")
		if a.status == http.StatusCreated {
			c.blobs = append(c.blobs, content)
			return
		}
		if c.failures == 0 || a.status != http.StatusNotFound && a.status != http.StatusBadRequest {
			c.want(a, http.StatusCreated)
		}
	}
	c.t.Fatal("no upload is completed")
}

// patch sends a chunk. It reports false if the upload is gone.
func (c *client) patch(at string, chunk []byte) bool {
	c.t.Helper()
	status := c.want(c.send("GET", at, nil), http.StatusNoContent)
	first := 0
	if r := status.header.Get("Range"); r != "0-0" {
		_, _ = fmt.Sscanf(r, "0-%d", &first)
		first++
	}
	a := c.send("PATCH", at, chunk, "Content-Range", fmt.Sprintf("%d-%d", first, first+len(chunk)-1))
	switch {
	case a.status == http.StatusAccepted:
		return true
	case a.status == http.StatusRequestedRangeNotSatisfiable && c.failures > 0: // the failed request was recorded
		return a.header.Get("Range") == fmt.Sprintf("0-%d", first+len(chunk)-1)
	case c.failures > 0 && (a.status == http.StatusNotFound || a.status == http.StatusBadRequest): // a late copy has taken the upload over
		return false
	}
	c.want(a, http.StatusAccepted)
	return false
}

func (c *client) decode(a answer, into any) {
	c.t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		c.t.Fatal(err)
	}
}

const imageManifest = "application/vnd.oci.image.manifest.v1+json"

// subject is a digest that no manifest has.
var subject = digest([]byte("subject"))

// manifest returns a manifest over the pushed blobs with a subject.
func (c *client) manifest(pad int) []byte {
	var layers []string
	for _, b := range c.blobs {
		layers = append(layers, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, digest(b), len(b)))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"of":%q,"pad":%q},`+
		`"subject":{"mediaType":%q,"digest":%q,"size":7}}`,
		imageManifest, layers[0], strings.Join(layers, ","), c.repo, strings.Repeat("x", pad), imageManifest, subject)
}

// put pushes a manifest to a tag. After a fault, nothing of it may be visible, or all.
func (c *client) put(tag string, manifest []byte) {
	c.t.Helper()
	c.pushed = append(c.pushed, manifest)
	for range tries {
		a := c.try("PUT", c.path("manifests/%s", tag), manifest, "Content-Type", imageManifest)
		if a.status == http.StatusCreated {
			if c.manifests == nil {
				c.manifests = map[string][]byte{}
			}
			c.manifests[tag] = manifest
			return
		}
		if a.status < 500 && a.status > 0 {
			c.want(a, http.StatusCreated)
		}
		c.fail("PUT", tag, a)
		c.whole(tag, manifest)
	}
	c.t.Fatalf("the manifest is refused: %v", c.failed)
}

// whole fails if a part of a manifest is visible without the others.
func (c *client) whole(tag string, manifest []byte) {
	c.t.Helper()
	a := c.ask("GET", c.path("manifests/%s", tag))
	if a.status == http.StatusNotFound {
		return
	}
	if a.status != http.StatusOK || !bytes.Equal(a.body, manifest) {
		c.t.Errorf("a manifest whose push failed: %d %s", a.status, a.body)
	}
	c.visible(manifest)
}

// visible checks a manifest by its digest and as a referrer.
func (c *client) visible(manifest []byte) {
	c.t.Helper()
	if a := c.ask("GET", c.path("manifests/%s", digest(manifest))); a.status != http.StatusOK || !bytes.Equal(a.body, manifest) {
		c.t.Errorf("by digest: %d %s", a.status, a.body)
	}
	if a := c.ask("GET", c.path("referrers/%s", subject)); !strings.Contains(string(a.body), digest(manifest)) {
		c.t.Errorf("not among the referrers: %d %s", a.status, a.body)
	}
}

// ask sends a request to the process without faults.
func (c *client) ask(method, target string) answer {
	w := httptest.NewRecorder()
	c.world.sound.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

// remove deletes something, and records that it is gone.
func (c *client) remove(target string) {
	c.t.Helper()
	a := c.send("DELETE", target, nil)
	if a.status == http.StatusNotFound && c.failures > 0 {
		a.status = http.StatusAccepted // the failed request was applied
	}
	c.want(a, http.StatusAccepted)
	c.gone = append(c.gone, target)
}

// check pulls what was acknowledged from the process without faults.
func (c *client) check() {
	c.t.Helper()
	for _, b := range c.blobs {
		if a := c.ask("GET", c.path("blobs/%s", digest(b))); a.status != http.StatusOK || !bytes.Equal(a.body, b) {
			c.t.Errorf("an acknowledged blob: %d, %d bytes of %d; after %v", a.status, len(a.body), len(b), c.failed)
		}
	}
	for tag, m := range c.manifests {
		if a := c.ask("GET", c.path("manifests/%s", tag)); a.status != http.StatusOK || !bytes.Equal(a.body, m) {
			c.t.Errorf("acknowledged manifest %s: %d %s; after %v", tag, a.status, a.body, c.failed)
		}
		c.visible(m)
	}
	for _, path := range c.gone {
		if a := c.ask("GET", path); a.status != http.StatusNotFound {
			c.t.Errorf("GET %s after the delete: %d; after %v", path, a.status, c.failed)
		}
	}
}

// clear deletes every manifest. Then the sweep frees the blobs too.
func (c *client) clear() {
	c.t.Helper()
	for _, m := range c.pushed {
		if a := c.ask("DELETE", c.path("manifests/%s", digest(m))); a.status != http.StatusAccepted && a.status != http.StatusNotFound {
			c.t.Errorf("delete: %d %s", a.status, a.body)
		}
	}
}
