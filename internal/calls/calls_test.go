//go:build localstack

package calls_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/pierless/pierless/internal/gendoc"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/server"
)

var update = flag.Bool("update", false, "write docs/calls.md")

// rig is the registry over AWS clients that count their calls.
type rig struct {
	t       *testing.T
	handler http.Handler
	fresh   func() http.Handler // another process over the same storage

	meta     registry.Metadata
	registry func() *registry.Registry // of another process

	deleteObject func(key string) error // not counted
	late         time.Duration
	digests      []string // of the last dockerPush
	mu           sync.Mutex
	calls        calls
}

type calls struct{ dynamo, s3 int }

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	clients, name := storetest.Create(t)
	countS3 := s3.New(clients.S3.Options(), func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, r.count(func(c *calls) { c.s3++ }))
	})
	countDynamo := dynamodb.New(clients.Dynamo.Options(), func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, r.count(func(c *calls) { c.dynamo++ }))
	})
	quiet := slog.New(slog.DiscardHandler)
	r.meta = ddbmeta.New(countDynamo, name)
	r.registry = func() *registry.Registry {
		return registry.New(r.meta, s3blobs.New(countS3, name, s3blobs.Options{}), registry.Options{
			Log: quiet, Now: func() time.Time { return time.Now().Add(r.late) },
		})
	}
	r.fresh = func() http.Handler { return server.All(r.registry(), server.Options{Log: quiet}) }
	r.deleteObject = func(key string) error {
		_, err := clients.S3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: &key})
		return err
	}
	r.handler = r.fresh()
	return r
}

// count adds one for each request that is sent, repetitions included; presigned
// URLs are made without one.
func (r *rig) count(add func(*calls)) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if _, presigns := stack.Finalize.Get("PresignHTTPRequest"); presigns {
			return nil
		}
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("count", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			r.mu.Lock()
			add(&r.calls)
			r.mu.Unlock()
			return next.HandleDeserialize(ctx, in)
		}), middleware.After)
	}
}

func (r *rig) do(method, target string, body []byte, head ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequest(method, target, bytes.NewReader(body))
	for i := 0; i+1 < len(head); i += 2 {
		if head[i] == "Transfer-Encoding" {
			req.ContentLength = -1
			continue
		}
		req.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	if w.Code >= 400 {
		r.t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

func (r *rig) start() string {
	return r.do("POST", "/v2/a/blobs/uploads/", nil).Header().Get("Location")
}

func (r *rig) post(content []byte) oci.Digest {
	d := oci.SHA256.FromBytes(content)
	r.do("POST", "/v2/a/blobs/uploads/?digest="+string(d), content)
	return d
}

// lose deletes the object of a blob behind the registry's back.
func (r *rig) lose(content []byte) {
	r.t.Helper()
	location, err := url.Parse(r.do("GET", "/v2/a/blobs/"+string(oci.SHA256.FromBytes(content)), nil).Header().Get("Location"))
	if err != nil {
		r.t.Fatal(err)
	}
	at := location.Path[strings.Index(location.Path, "/blobs/")+1:]
	if err := r.deleteObject(at); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) patch(at string, chunk []byte) { r.do("PATCH", at, chunk) }

func (r *rig) finish(at string, content []byte) {
	r.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(content)), nil)
}

// image returns a manifest over n blobs, the config among them, that it pushes.
func (r *rig) image(n int) []byte {
	type desc map[string]any
	describe := func(c string) desc {
		return desc{"mediaType": "x/y", "digest": r.post([]byte(c)), "size": len(c)}
	}
	m := map[string]any{"schemaVersion": 2, "note": rand.Text()}
	var layers []desc
	for i := range n - 1 {
		layers = append(layers, describe(fmt.Sprint("layer ", i)))
	}
	m["config"], m["layers"] = describe("config"), layers
	b, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) put(ref string, manifest []byte) {
	r.do("PUT", "/v2/a/manifests/"+ref, manifest, "Content-Type", oci.MediaTypeImageManifest)
}

// dockerPush makes the requests of docker with its classic store: per blob a session, a
// stream of unknown length, an empty PUT and a HEAD; then the manifest.
func (r *rig) dockerPush() {
	r.digests = nil
	var descriptors []string
	for i := range 6 {
		content := unique(1 << 20)
		if i == 0 {
			content = content[:1500] // the config
		}
		d := string(oci.SHA256.FromBytes(content))
		at := r.start()
		r.do("PATCH", at, content, "Transfer-Encoding", "chunked")
		r.finish(at, content)
		r.do("HEAD", "/v2/a/blobs/"+d, nil)
		r.digests = append(r.digests, d)
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"x/y","digest":%q,"size":%d}`, d, len(content)))
	}
	r.put("pushed", []byte(`{"config":`+descriptors[0]+`,"layers":[`+strings.Join(descriptors[1:], ",")+`]}`))
}

func (r *rig) dockerPull() {
	head := r.do("HEAD", "/v2/a/manifests/pushed", nil)
	r.do("GET", "/v2/a/manifests/"+head.Header().Get("Docker-Content-Digest"), nil)
	for _, d := range r.digests {
		r.do("GET", "/v2/a/blobs/"+d, nil)
	}
}

// tagged pushes a manifest under n tags and returns its path.
func (r *rig) tagged(n int) string {
	m := r.image(2)
	path := "/v2/a/manifests/" + string(oci.SHA256.FromBytes(m))
	for first := 0; first < n; first += registry.MaxTagsPerPush {
		q := url.Values{}
		for i := first; i < min(n, first+registry.MaxTagsPerPush); i++ {
			q.Add("tag", fmt.Sprint(rand.Text(), i))
		}
		r.do("PUT", path+"?"+q.Encode(), m, "Content-Type", oci.MediaTypeImageManifest)
	}
	return path
}

func unique(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // documented never to fail
	return b
}

// operation is a row of the budget: prepare returns the function whose calls are counted.
type operation struct {
	name    string
	limit   calls
	prepare func(r *rig) func()
}

const chunk = 4 << 20

func operations() []operation {
	get := func(method, path string) func(*rig) func() {
		return func(r *rig) func() { return func() { r.do(method, path, nil) } }
	}
	chunks := func(before int) func(*rig) func() {
		return func(r *rig) func() {
			at := r.start()
			for range before {
				r.patch(at, unique(chunk))
			}
			return func() { r.patch(at, unique(chunk)) }
		}
	}
	complete := func(n int, exists bool) func(*rig) func() {
		return func(r *rig) func() {
			content := unique(n * chunk)
			upload := func() string {
				at := r.start()
				for i := range n {
					r.patch(at, content[i*chunk:(i+1)*chunk])
				}
				return at
			}
			if exists {
				r.finish(upload(), content)
			}
			at := upload()
			return func() { r.finish(at, content) }
		}
	}
	putManifest := func(blobs int) func(*rig) func() {
		return func(r *rig) func() {
			m := r.image(blobs)
			r.put("warm", r.image(1))
			return func() { r.put("new", m) }
		}
	}
	deleteTagged := func(n int) func(*rig) func() {
		return func(r *rig) func() {
			path := r.tagged(n)
			return func() { r.do("DELETE", path, nil) }
		}
	}
	small := func(exists bool, push func(r *rig, content []byte)) func(*rig) func() {
		return func(r *rig) func() {
			content := unique(100_000)
			if exists {
				r.post(content)
			}
			return func() { push(r, content) }
		}
	}
	post := func(r *rig, content []byte) { r.post(content) }
	postPut := func(r *rig, content []byte) {
		r.do("PUT", r.start()+"?digest="+string(oci.SHA256.FromBytes(content)), content)
	}
	return []operation{
		{"GET manifest by digest", calls{1, 0}, func(r *rig) func() { path := r.tagged(1); return func() { r.do("GET", path, nil) } }},
		{"GET manifest by digest, bytes in S3", calls{1, 1}, func(r *rig) func() {
			m := []byte(`{"config":{"mediaType":"x/y","digest":"` + string(r.post([]byte("{}"))) + `","size":2},"pad":"` + strings.Repeat("x", 100_000) + `"}`)
			r.put("big", m)
			return func() { r.do("GET", "/v2/a/manifests/"+string(oci.SHA256.FromBytes(m)), nil) }
		}},
		{"GET manifest by tag, warm process", calls{1, 0}, func(r *rig) func() {
			r.put("latest", r.image(2))
			return func() { r.do("GET", "/v2/a/manifests/latest", nil) }
		}},
		{"GET manifest by tag, cold process", calls{2, 0}, func(r *rig) func() {
			r.put("latest", r.image(2))
			r.handler = r.fresh()
			return func() { r.do("GET", "/v2/a/manifests/latest", nil) }
		}},
		{"HEAD manifest by tag, warm process", calls{1, 0}, func(r *rig) func() {
			r.put("latest", r.image(2))
			return func() { r.do("HEAD", "/v2/a/manifests/latest", nil) }
		}},
		{"HEAD blob", calls{1, 0}, func(r *rig) func() {
			d := r.post(unique(9))
			return func() { r.do("HEAD", "/v2/a/blobs/"+string(d), nil) }
		}},
		{"HEAD blob with an expired lease", calls{2, 0}, func(r *rig) func() {
			d := r.post(unique(9))
			r.late = 13 * time.Hour
			return func() { r.do("HEAD", "/v2/a/blobs/"+string(d), nil) }
		}},
		{"GET blob (307, presigned here)", calls{1, 0}, func(r *rig) func() {
			d := r.post(unique(9))
			return func() { r.do("GET", "/v2/a/blobs/"+string(d), nil) }
		}},
		{"start upload", calls{1, 0}, func(r *rig) func() { return func() { r.start() } }},
		{"small blob, one POST", calls{2, 1}, small(false, post)},
		{"small blob that exists, one POST", calls{2, 1}, small(true, post)},
		{"small blob whose object is lost, one POST", calls{6, 3}, func(r *rig) func() {
			content := unique(100_000)
			r.do("POST", "/v2/b/blobs/uploads/?digest="+string(oci.SHA256.FromBytes(content)), content)
			r.post(content)
			r.lose(content)
			return func() { r.post(content) }
		}},
		{"small blob, POST and PUT", calls{4, 1}, small(false, postPut)},
		{"small blob that exists, POST and PUT", calls{4, 1}, small(true, postPut)},
		{"first chunk of 4 MiB", calls{2, 2}, chunks(0)},
		{"second chunk, creates the multipart upload", calls{2, 3}, chunks(1)},
		{"third chunk", calls{2, 2}, chunks(2)},
		{"fourth chunk", calls{2, 2}, chunks(3)},
		{"complete a multipart upload", calls{3, 1}, complete(4, false)},
		{"complete a multipart upload, odd chunks", calls{3, 1}, complete(3, false)},
		{"complete a multipart upload, digest exists", calls{3, 3}, complete(4, true)},
		{"complete an upload again", calls{2, 1}, func(r *rig) func() {
			content, at := unique(9), r.start()
			again := func() { r.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(content)), content) }
			again()
			return again
		}},
		{"PUT manifest by tag, 5 blobs", calls{3, 0}, putManifest(5)},
		{"PUT manifest by tag, 100 blobs", calls{3, 0}, putManifest(100)},
		{"PUT manifest by tag, 101 blobs", calls{4, 0}, putManifest(101)},
		{"PUT manifest again, unchanged", calls{3, 0}, func(r *rig) func() {
			m := r.image(5)
			r.put("latest", m)
			return func() { r.put("latest", m) }
		}},
		{"PUT manifest again, unchanged, bytes in S3", calls{3, 1}, func(r *rig) func() {
			m := r.image(5)
			m = append(m, bytes.Repeat([]byte(" "), 100_000)...)
			r.put("latest", m)
			return func() { r.put("latest", m) }
		}},
		{"mount", calls{2, 1}, func(r *rig) func() {
			d := r.post(unique(9))
			return func() { r.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil) }
		}},
		{"mount from anywhere", calls{2, 1}, func(r *rig) func() {
			d := r.post(unique(9))
			return func() { r.do("POST", "/v2/b/blobs/uploads/?mount="+string(d), nil) }
		}},
		{"tags list page", calls{1, 0}, func(r *rig) func() { r.tagged(1); return func() { r.do("GET", "/v2/a/tags/list?n=100", nil) } }},
		{"catalog page", calls{1, 0}, get("GET", "/v2/_catalog")},
		{"referrers page", calls{1, 0}, get("GET", "/v2/a/referrers/"+string(oci.SHA256.FromBytes(nil)))},
		{"DELETE manifest, 1 tag on it", calls{3, 0}, deleteTagged(1)},
		{"DELETE manifest, 94 tags on it", calls{3, 0}, deleteTagged(94)},
		{"DELETE manifest, 100 tags on it", calls{4, 0}, deleteTagged(100)},
		{"DELETE manifest, 250 tags on it", calls{5, 0}, deleteTagged(250)},
		{"docker push, 5 new layers of 1 MiB", calls{39, 18}, func(r *rig) func() { return r.dockerPush }},
		{"docker pull of it, blobs redirected", calls{8, 0}, func(r *rig) func() { r.dockerPush(); return r.dockerPull }},
		{"DELETE tag", calls{2, 0}, func(r *rig) func() {
			r.put("latest", r.image(2))
			return func() { r.do("DELETE", "/v2/a/manifests/latest", nil) }
		}},
		{"DELETE blob", calls{1, 0}, func(r *rig) func() {
			d := r.post(unique(9))
			return func() { r.do("DELETE", "/v2/a/blobs/"+string(d), nil) }
		}},
	}
}

// TestCallBudget counts the AWS calls of each operation, compares them with their limits,
// and docs/calls.md with the counts.
func TestCallBudget(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("# Calls per operation\n\n<!-- Written by TestCallBudget in internal/calls, run with -tags localstack -update. -->\n\n" +
		"The AWS calls of one request, counted on LocalStack with the real adapters, and their limits: one\n" +
		"call more fails `make test`. The number of calls does not grow with the size of the bucket or the\n" +
		"table, with three exceptions. Healing a lost object takes one Query and one transaction for each 99\n" +
		"repositories that have the blob. The catalog, and a mount without a source, of a caller that may not\n" +
		"pull all repositories take one Query for each 1,000 repositories that they read. The catalog takes\n" +
		"one Query for each repository that was deleted, or lost its last image, within a day or two.\n" +
		"Access control is on only in the rows that name a caller, a refusal or access.\n\n" +
		"| operation | DynamoDB | S3 | limit |\n| --- | --- | --- | --- |\n")
	r := newRig(t)
	r.put("warm", r.image(1)) // the process knows the repository, as nearly all do
	for _, op := range slices.Concat(operations(), directOperations(), accessOperations(), repositoryOperations(t), collectOperations(t)) {
		r.late = 0
		measured := op.prepare(r)
		r.calls = calls{}
		measured()
		got := r.calls
		if got.dynamo > op.limit.dynamo || got.s3 > op.limit.s3 {
			t.Errorf("%s: %d DynamoDB and %d S3 calls, the budget is %d and %d", op.name, got.dynamo, got.s3, op.limit.dynamo, op.limit.s3)
		}
		fmt.Fprintf(&doc, "| %s | %d | %d | %d, %d |\n", op.name, got.dynamo, got.s3, op.limit.dynamo, op.limit.s3)
	}
	gendoc.Check(t, "../../docs/calls.md", []byte(doc.String()), *update, "with -update this test writes it:\n"+doc.String())
}

// TestRedirect follows a pull to S3.
func TestRedirect(t *testing.T) {
	r := newRig(t)
	content := unique(100_000)
	d := r.post(content)
	w := r.do("GET", "/v2/a/blobs/"+string(d), nil)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Docker-Content-Digest") != string(d) {
		t.Fatalf("status %d, headers %v", w.Code, w.Header())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Header().Get("Location"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=500-1499")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got.Bytes(), content[500:1500]) {
		t.Errorf("status %d, %d bytes, %v", resp.StatusCode, got.Len(), err)
	}
}
