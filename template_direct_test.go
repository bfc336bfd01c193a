package pierless

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

func (b blobs) PresignPut(ctx context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	b.note("s3:PutObject blobs/*")
	return b.Blobs.PresignPut(ctx, key, d, size)
}

func (b blobs) StartParts(ctx context.Context, key string) (registry.Stored, error) {
	b.note("s3:PutObject blobs/*")
	b.inParts.Store(key, true)
	return b.Blobs.StartParts(ctx, key)
}

func (b blobs) PresignPart(ctx context.Context, key string, stored registry.Stored, p direct.Part) (direct.Request, error) {
	b.note("s3:PutObject blobs/*")
	return b.Blobs.PresignPart(ctx, key, stored, p)
}

func (b blobs) ListParts(ctx context.Context, key string, stored registry.Stored) ([]direct.Part, error) {
	b.note("s3:ListMultipartUploadParts blobs/*")
	return b.Blobs.ListParts(ctx, key, stored)
}

func (b blobs) CompleteParts(ctx context.Context, key string, stored registry.Stored, check func([]direct.Part) error) error {
	b.note("s3:ListMultipartUploadParts blobs/*", "s3:PutObject blobs/*", "s3:AbortMultipartUpload blobs/*")
	return b.Blobs.CompleteParts(ctx, key, stored, check)
}

func (b blobs) Stat(ctx context.Context, key string, sum bool) (int64, oci.Digest, error) {
	b.note("s3:GetObject blobs/*", "s3:ListBucket bucket")
	return b.Blobs.Stat(ctx, key, sum)
}

// offer starts a direct upload of content; parts asks for parts.
func (c *cloud) offer(repo string, content []byte, parts bool) (u direct.Upload) {
	c.t.Helper()
	body := fmt.Appendf(nil, `{"digest":%q,"size":%d,"parts":%v}`, digest(content), len(content), parts)
	c.read(&u, http.StatusAccepted, "POST", "/v2/"+repo+"/_pierless/uploads", body)
	return u
}

// read is like do and decodes a JSON response.
func (c *cloud) read(into any, want int, method, target string, body []byte) {
	c.t.Helper()
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, httptest.NewRequestWithContext(c.t.Context(), method, target, bytes.NewReader(body)))
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != want {
		c.t.Fatalf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
	}
}

// send makes a presigned request.
func (c *cloud) send(r direct.Request, content []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), r.Method, r.URL, bytes.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, value := range r.Headers {
		if name != "Content-Length" { // set by net/http
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("the store answered %d", resp.StatusCode)
	}
}

// inParts sends content in one part and completes the upload.
func (c *cloud) inParts(repo string, u direct.Upload, content []byte) {
	c.t.Helper()
	named, err := json.Marshal(direct.Parts{Parts: []direct.Part{{Number: 1, Size: int64(len(content)), Digest: oci.SHA256.FromBytes(content)}}})
	if err != nil {
		c.t.Fatal(err)
	}
	var signed direct.SignedParts
	c.read(&signed, http.StatusOK, "POST", "/v2/"+repo+"/_pierless/parts/"+u.ID, named)
	c.send(signed.Parts[0].Request, content)
	c.do(http.StatusOK, "GET", "/v2/"+repo+"/_pierless/uploads/"+u.ID, nil)
	c.do(http.StatusAccepted, "PUT", "/v2/"+repo+"/_pierless/uploads/"+u.ID, nil)
}

func (c *cloud) direct() {
	at := func(u direct.Upload) string { return "/v2/a/_pierless/uploads/" + u.ID }
	verify := func(want int, u direct.Upload) {
		c.t.Helper()
		c.do(want, "POST", "/v2/a/_pierless/verifications/"+u.ID, nil)
	}
	one := []byte("straight to the store")
	u, twin := c.offer("a", one, false), c.offer("a", one, false)
	c.do(http.StatusOK, "GET", at(u), nil)
	c.send(*u.Put, one)
	c.do(http.StatusCreated, "PUT", at(u), nil)
	c.send(*twin.Put, one)
	c.do(http.StatusCreated, "PUT", at(twin), nil) // exists: its own object is deleted
	known := fmt.Appendf(nil, `{"digest":%q,"size":%d}`, digest(one), len(one))
	c.do(http.StatusCreated, "POST", "/v2/a/_pierless/uploads", known) // lease renewed
	c.do(http.StatusCreated, "POST", "/v2/z/_pierless/uploads", known) // linked
	c.loseBlob(one)
	u = c.offer("a", one, false)
	c.send(*u.Put, one)
	for range 2 {
		c.do(http.StatusCreated, "PUT", at(u), nil) // repairs the blob, also in z; repeated
	}
	two := []byte("in parts")
	u, twin = c.offer("a", two, true), c.offer("a", two, true)
	c.inParts("a", u, two)
	c.inParts("a", twin, two)
	verify(http.StatusCreated, u)
	verify(http.StatusCreated, twin)
	c.do(http.StatusCreated, "POST", "/v2/z/_pierless/uploads", fmt.Appendf(nil, `{"digest":%q,"size":%d}`, digest(two), len(two)))
	c.loseBlob(two)
	u = c.offer("a", two, true)
	c.inParts("a", u, two)
	for range 2 {
		verify(http.StatusCreated, u) // repairs the blob, also in z; repeated
	}
	u = c.offer("a", []byte("in lies"), true)
	c.inParts("a", u, []byte("in flies")[:7])
	verify(http.StatusBadRequest, u) // discarded
	for _, parts := range []bool{false, true} {
		c.do(http.StatusNoContent, "DELETE", at(c.offer("a", []byte("cancelled"), parts)), nil)
	}
}

// sweep abandons uploads of each kind and sweeps after they have expired.
func (c *cloud) sweep() {
	start := func() string { return c.do(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).Get("Location") }
	c.do(http.StatusAccepted, "PATCH", start(), []byte("left behind"))
	c.offer("a", []byte("left behind"), false)
	c.offer("a", []byte("left behind"), true)
	at := start()
	c.late = 23 * time.Hour
	c.do(http.StatusAccepted, "PATCH", at, []byte("goes on")) // kept
	c.late = 25 * time.Hour
	e, err := c.sweeper.ExpireUploads(c.t.Context(), 1000)
	c.late = 0
	if err != nil || e.Ended < 3 || e.Kept != 1 || e.Done == 0 || e.More {
		c.t.Fatalf("swept %+v, %v", e, err)
	}
	c.collect()
}

// collect lets the sweeper find every kind of garbage: blobs and pending manifests of pushes that
// ended early, deleted manifests with and without other tags, and a repository without manifests.
func (c *cloud) collect() {
	c.blob("idle", "of one link")
	c.blob("idles", "first")
	c.blob("idles", "second")
	missing := []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + digest([]byte("missing")) + `","size":7},"layers":[]}`)
	c.do(http.StatusBadRequest, "PUT", "/v2/idle/manifests/pending", missing)
	m := c.manifest("left", nil)
	c.put("left", "moves", m)
	c.put("left", "moves", c.manifest("left", nil))
	c.do(http.StatusAccepted, "DELETE", "/v2/left/manifests/"+digest(m), nil)
	last := c.manifest("ends", nil)
	c.put("ends", "v1", last)
	c.do(http.StatusAccepted, "DELETE", "/v2/ends/manifests/"+digest(last), nil)
	var sum registry.Collected
	for i := range 4 {
		c.late = time.Duration(i+1) * 25 * time.Hour
		for range 3 {
			got, err := c.sweeper.Collect(c.t.Context(), registry.MaxPage)
			if err != nil {
				c.t.Fatal(err)
			}
			sum.Links, sum.Blobs, sum.Repos, sum.Kept = sum.Links+got.Links, sum.Blobs+got.Blobs, sum.Repos+got.Repos, sum.Kept+got.Kept
		}
	}
	c.late = 0
	if sum.Links < 5 || sum.Blobs < 5 || sum.Repos == 0 || sum.Kept == 0 {
		c.t.Fatalf("collected %+v", sum)
	}
}
