package pierless

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// recorder notes the permissions that the calls of one family need.
type recorder struct {
	mu           sync.Mutex
	seen         map[string]bool
	transactions []string // those of seen that are items of transactions
}

func (r *recorder) note(permissions ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range permissions {
		r.seen[p] = true
	}
}

// inTransaction notes the permission of one item of a transaction.
func (r *recorder) inTransaction(permission string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transactions = append(r.transactions, permission)
}

func partition(key registry.Key) string {
	if kind, _, found := strings.Cut(key.PK, "#"); found && kind != "A" {
		return kind + "#*"
	}
	return key.PK
}

// names is a registry.Metadata that notes the DynamoDB call that pkg/registry/ddbmeta
// makes for each row.
type names struct {
	registry.Metadata
	*recorder
}

func (n names) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	action := "dynamodb:BatchGetItem "
	if len(keys) == 1 {
		action = "dynamodb:GetItem "
	}
	for _, key := range keys {
		n.note(action + partition(key))
	}
	return n.Metadata.Get(ctx, keys...)
}

func (n names) Query(ctx context.Context, q registry.Query) (registry.Page, error) {
	n.note("dynamodb:Query " + partition(registry.Key{PK: q.PK}))
	return n.Metadata.Query(ctx, q)
}

func permission(w registry.Write) string {
	action := map[registry.Op]string{
		registry.Set: "UpdateItem", registry.Put: "PutItem", registry.Delete: "DeleteItem", registry.Check: "ConditionCheckItem",
	}[w.Op]
	return "dynamodb:" + action + " " + partition(w.Key)
}

func (n names) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	n.note(permission(w))
	return n.Metadata.Update(ctx, w)
}

func (n names) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	for _, w := range writes {
		n.note(permission(w))
		n.inTransaction(permission(w))
	}
	return n.Metadata.Transact(ctx, token, writes...)
}

// blobs is a registry.Blobs that notes every S3 call that a method of
// pkg/registry/s3blobs may make.
type blobs struct {
	registry.Blobs
	*recorder
	inParts *sync.Map // keys of direct uploads in parts, which have no tails
}

func (b blobs) Put(ctx context.Context, key string, content []byte) error {
	b.note("s3:PutObject blobs/*")
	return b.Blobs.Put(ctx, key, content)
}

func (b blobs) Append(ctx context.Context, key string, claim registry.Claim, stored registry.Stored, body io.Reader) (registry.Stored, error) {
	b.note("s3:PutObject blobs/*", "s3:PutObject tails/*", "s3:GetObject tails/*", "s3:AbortMultipartUpload blobs/*", "s3:DeleteObject tails/*")
	return b.Blobs.Append(ctx, key, claim, stored, body)
}

func (b blobs) Complete(ctx context.Context, key string, stored registry.Stored) error {
	b.note("s3:PutObject blobs/*", "s3:GetObject tails/*", "s3:AbortMultipartUpload blobs/*")
	return b.Blobs.Complete(ctx, key, stored)
}

func (b blobs) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	if stored.State != nil {
		b.note("s3:AbortMultipartUpload blobs/*")
		if _, parts := b.inParts.Load(key); !parts {
			b.note("s3:DeleteObject tails/*")
		}
	}
	return b.Blobs.Discard(ctx, key, stored, keep)
}

func (b blobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.note("s3:GetObject blobs/*", "s3:ListBucket bucket")
	return b.Blobs.Open(ctx, key, offset, length)
}

func (b blobs) Presign(_ context.Context, _, key string) (string, error) {
	b.note("s3:GetObject blobs/*")
	return "https://bucket.invalid/" + key, nil
}

func (b blobs) Delete(ctx context.Context, key string) error {
	b.note("s3:DeleteObject blobs/*")
	return b.Blobs.Delete(ctx, key)
}

// cloud has a registry for each function, all over one store.
type cloud struct {
	t       *testing.T
	handler http.Handler
	guarded map[route.Family]http.Handler // with access control
	secret  string                        // the administrator's token
	sum     string
	quiet   *slog.Logger
	sweeper *registry.Registry
	rows    registry.Metadata
	content registry.Blobs
	seen    map[route.Family]*recorder
	late    time.Duration
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	rows, content := storetest.OpenDirect(t)
	c := &cloud{t: t, rows: rows, content: content, seen: map[route.Family]*recorder{}}
	quiet := slog.New(slog.DiscardHandler)
	c.quiet = quiet
	inParts := &sync.Map{}
	open := func(f route.Family) *registry.Registry {
		r := &recorder{seen: map[string]bool{}}
		c.seen[f] = r
		return registry.New(names{rows, r}, blobs{content, r, inParts}, registry.Options{
			Log: quiet, Now: func() time.Time { return time.Now().Add(c.late) },
		})
	}
	handlers := map[route.Family]http.Handler{}
	for f, serve := range server.Families() {
		handlers[f] = serve(open(f), server.Options{Log: quiet})
	}
	c.guard()
	c.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := route.ParseEscaped(r.URL.EscapedPath())
		if err != nil {
			t.Errorf("%s: %v", r.URL, err)
			return
		}
		handlers[req.Kind.Family()].ServeHTTP(w, r)
	})
	c.sweeper = open(sweeper)
	return c
}

func (c *cloud) do(want int, method, target string, body []byte) http.Header {
	c.t.Helper()
	req := httptest.NewRequestWithContext(c.t.Context(), method, target, bytes.NewReader(body))
	if strings.Contains(target, "/manifests/") && body != nil {
		req.Header.Set("Content-Type", mediaType(body))
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, req)
	if w.Code != want {
		c.t.Fatalf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
	}
	return w.Header()
}

func mediaType(manifest []byte) string {
	if bytes.Contains(manifest, []byte(`"manifests"`)) {
		return oci.MediaTypeImageIndex
	}
	return oci.MediaTypeImageManifest
}

func (c *cloud) blob(repo, content string) oci.Digest {
	c.t.Helper()
	d := oci.SHA256.FromBytes([]byte(content))
	c.do(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), []byte(content))
	return d
}

// manifest returns an image manifest with a new config and with the given extra fields.
func (c *cloud) manifest(repo string, more map[string]any) []byte {
	c.t.Helper()
	content := rand.Text()
	m := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "layers": []any{},
		"config": map[string]any{"mediaType": "x/y", "digest": c.blob(repo, content), "size": len(content)},
	}
	maps.Copy(m, more)
	packed, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	return packed
}

func digest(content []byte) string { return string(oci.SHA256.FromBytes(content)) }

func (c *cloud) put(repo, ref string, manifest []byte) {
	c.t.Helper()
	c.do(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+ref, manifest)
}

// lose deletes the object that a row names without telling the registry.
func (c *cloud) lose(pk, sk string) {
	c.t.Helper()
	rows, err := c.rows.Get(c.t.Context(), registry.Key{PK: pk, SK: sk})
	if err != nil {
		c.t.Fatal(err)
	}
	key, named := rows[0].Attrs["k"].(string)
	if !named {
		c.t.Fatalf("the row %s %s names no object: %v", pk, sk, rows[0].Attrs)
	}
	if err := c.content.Delete(c.t.Context(), key); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) loseBlob(content []byte) { c.lose("B#"+digest(content), "B") }

func (c *cloud) uploads() {
	start := func() string { return c.do(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).Get("Location") }
	c.blob("a", "one")
	c.blob("a", "one")
	at := start()
	c.do(http.StatusAccepted, "PATCH", at, []byte("two "))
	c.do(http.StatusNoContent, "GET", at, nil)
	c.do(http.StatusCreated, "PUT", at+"?digest="+digest([]byte("two three")), []byte("three"))
	at = start()
	c.do(http.StatusAccepted, "PATCH", at, []byte("one")) // exists: the new object is deleted
	c.do(http.StatusCreated, "PUT", at+"?digest="+digest([]byte("one")), nil)
	at = start()
	c.do(http.StatusAccepted, "PATCH", at, []byte("gone"))
	c.do(http.StatusNoContent, "DELETE", at, nil)
	at = start()
	c.do(http.StatusAccepted, "PATCH", at, []byte("surprise")) // digest of the stored bytes is wrong: discarded
	c.do(http.StatusBadRequest, "PUT", at+fmt.Sprintf("?digest=sha512:%x", sha512.Sum512(nil)), nil)
	one := digest([]byte("one"))
	c.do(http.StatusCreated, "POST", "/v2/b/blobs/uploads/?from=a&mount="+one, nil)
	c.do(http.StatusCreated, "POST", "/v2/c/blobs/uploads/?mount="+one, nil)
	c.do(http.StatusCreated, "POST", "/v2/c/blobs/uploads/?from=c&mount="+one, nil)
	c.loseBlob([]byte("one"))
	c.blob("a", "one") // heals, b and c too
	at = start()
	c.do(http.StatusCreated, "PUT", at+"?digest="+one, []byte("one"))
	c.do(http.StatusCreated, "PUT", at+"?digest="+one, []byte("one")) // the same again
}

func (c *cloud) pulls() {
	one := "/v2/a/blobs/" + digest([]byte("one"))
	c.do(http.StatusOK, "HEAD", one, nil)
	c.do(http.StatusTemporaryRedirect, "GET", one, nil)
	c.late = 13 * time.Hour
	c.do(http.StatusOK, "HEAD", one, nil)
	c.late = 0
	c.do(http.StatusAccepted, "DELETE", one, nil)
}

func (c *cloud) manifests() {
	m := c.manifest("a", nil)
	c.put("a", "latest", m)
	c.put("a", "again", m)
	c.do(http.StatusOK, "GET", "/v2/a/manifests/latest", nil)
	large := c.manifest("a", map[string]any{"pad": strings.Repeat("x", 100_000)})
	c.put("a", "large", large)
	c.do(http.StatusOK, "GET", "/v2/a/manifests/large", nil)
	c.lose("C#a#"+digest(large), "C")
	c.put("a", "large", large) // heals
	c.late = 13 * time.Hour
	c.put("a", "late", m) // checks one row only, and its lease has expired
	c.late = 0
	index := func(of ...[]byte) []byte {
		list := []any{}
		for _, child := range of {
			list = append(list, map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": digest(child), "size": len(child)})
		}
		packed, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": list, "note": rand.Text()})
		return packed
	}
	c.put("a", "index", index(m, large))
	c.put("a", "single", index(m))
	c.put("empty", "index", index()) // checks the catalog only
	subject := map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": digest(m), "size": len(m)}
	signature := c.manifest("a", map[string]any{"subject": subject})
	c.put("a", digest(signature), signature)
	long := c.manifest("a", map[string]any{"subject": subject, "annotations": map[string]string{"long": strings.Repeat("x", 70_000)}})
	c.put("a", digest(long), long)
	c.do(http.StatusOK, "GET", "/v2/a/referrers/"+digest(m), nil)
	c.do(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+digest(signature), nil)
	c.do(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+digest(large), nil)
	c.do(http.StatusAccepted, "DELETE", "/v2/a/manifests/again", nil)
	moved := c.manifest("a", nil)
	c.put("a", "late", moved)
	c.put("a", "latest", moved)
	c.do(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+digest(m), nil) // its back-references are of tags that have moved
	many := c.manifest("a", nil)
	for i := range 5 {
		q := url.Values{}
		for range registry.MaxTagsPerPush {
			q.Add("tag", fmt.Sprintf("t%d-%s", i, rand.Text()))
		}
		c.put("a", digest(many)+"?"+q.Encode(), many)
	}
	c.do(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+digest(many), nil)
}

func (c *cloud) lists() {
	c.do(http.StatusOK, "GET", "/v2/", nil)
	c.do(http.StatusOK, "GET", "/v2/_catalog", nil)
	c.do(http.StatusOK, "GET", "/v2/a/tags/list", nil)
	c.do(http.StatusNotFound, "GET", "/v2/unknown/tags/list", nil)
	c.do(http.StatusAccepted, "DELETE", "/v2/empty/_pierless/repository", nil)
	c.do(http.StatusOK, "GET", "/v2/_catalog", nil) // without it
	c.do(http.StatusNotFound, "GET", "/v2/empty/tags/list", nil)
}

// TestTemplateRowsAreAllowed plays every operation and compares the rows and objects
// that each family then used with its policy: the policy grants all of them, and
// nothing else but the other items of the family's transactions.
func TestTemplateRowsAreAllowed(t *testing.T) {
	root := loadTemplate(t)
	c := newCloud(t)
	c.uploads()
	c.manifests()
	c.pulls()
	c.lists()
	c.direct()
	c.sweep()
	c.access()
	for _, f := range functions() {
		granted, used := grants(t, root, f), c.seen[f]
		wanted := everyItemOf(used.transactions)
		maps.Copy(wanted, used.seen)
		for _, permission := range slices.Sorted(maps.Keys(wanted)) {
			if !granted[permission] {
				t.Errorf("%s needs %s, which its policy does not grant", f, permission)
			}
		}
		for _, permission := range slices.Sorted(maps.Keys(granted)) {
			if !wanted[permission] && !strings.HasPrefix(permission, "kms:") {
				t.Errorf("%s is granted %s, which it does not use", f, permission)
			}
		}
	}
}
