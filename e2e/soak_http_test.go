//go:build e2e && soak

package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// soakClient is one client. It repeats requests whose connection is lost and those that are answered
// with 503, as docker does, and begins an upload or a push again where the protocol asks for it.
type soakClient struct {
	*soak
	t    *testing.T
	id   int
	home string // of "pierless push"
	rng  *rand.Rand

	lost bool            // the answer to an earlier attempt of the last request was lost
	own  []*soakManifest // pushed by this client only
	tags []string        // moved by this client only, with their repositories
}

// request is a request to any process of the registry.
type request struct {
	method, path string // path with the query
	mediaType    string
	accept       string
	contentRange string
	body         []byte
	stream       bool // hide the length of the body
}

// request repeats a request until it is answered. It gives up, and fails the test, after some minutes.
func (c *soakClient) request(r request) answer {
	c.lost = false
	for deadline := time.Now().Add(patience); ; time.Sleep(50*time.Millisecond + rand.N(100*time.Millisecond)) {
		a, err := c.once(r)
		if err == nil && a.status != http.StatusServiceUnavailable {
			if a.status >= 500 {
				c.t.Errorf("%s %s: %d %s", r.method, r.path, a.status, a.body)
			}
			return a
		}
		c.lost = true
		c.count("requests repeated")
		if time.Now().After(deadline) {
			c.t.Errorf("%s %s: no answer, at last %d %s, %v", r.method, r.path, a.status, a.body, err)
			return a
		}
	}
}

// once sends a request once, to any process.
func (c *soakClient) once(r request) (answer, error) {
	var body io.Reader = bytes.NewReader(r.body)
	if r.stream {
		body = io.MultiReader(body)
	}
	req, err := http.NewRequest(r.method, "http://"+c.servers[c.rng.IntN(len(c.servers))].host+r.path, body)
	if err != nil {
		return answer{}, err
	}
	headers := map[string]string{"Content-Type": r.mediaType, "Accept": r.accept, "Content-Range": r.contentRange}
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	c.count("requests")
	return answer{status: resp.StatusCode, body: content, header: resp.Header}, err
}

// wants sends a request until it is answered, and fails the test unless it has one of the statuses.
func (c *soakClient) wants(r request, statuses ...int) (a answer, ok bool) {
	a = c.request(r)
	for _, status := range statuses {
		if a.status == status {
			return a, true
		}
	}
	c.t.Errorf("%s %s: %d %s, want one of %d", r.method, r.path, a.status, a.body, statuses)
	return a, false
}
