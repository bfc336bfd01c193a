package images

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// requests records the requests to a registry: method and path, without the host.
type requests struct {
	mu   sync.Mutex
	list []string
}

func (r *requests) record(_ http.ResponseWriter, req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, req.Method+" "+req.URL.Path)
	return false
}

func (r *requests) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.list
	r.list = nil
	return taken
}

// deleteBlob removes a blob from a repository as an operator would.
func deleteBlob(t *testing.T, reg *testRegistry, name string, d oci.Digest) {
	t.Helper()
	if err := must(reg.Repository(name))(t).DeleteBlob(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// TestRepair: a registry that has a manifest without all of its blobs gets the missing
// ones, and only these, from every source and for every size.
func TestRepair(t *testing.T) {
	const image, index = "app:1", "multi:1"
	layers := [][]byte{tarLayer(t, 1, 1000), tarLayer(t, 2, 200_000), tarLayer(t, 3, 9<<20)}
	for name, tt := range map[string]struct {
		at   string
		lost func(l []Layer) []Layer
	}{
		"one small":   {image, func(l []Layer) []Layer { return l[:1] }},
		"one large":   {image, func(l []Layer) []Layer { return l[2:3] }},
		"all of them": {image, func(l []Layer) []Layer { return l }},
		"in an index": {index, func(l []Layer) []Layer { return l[1:] }},
	} {
		t.Run(name, func(t *testing.T) {
			reg, spool := newTestRegistry(t), testSpool(t)
			from := newTestRegistry(t)
			if tt.at == index {
				pushIndex(t, from, spool, index)
			} else {
				saved := must(FromArchive(place(t, "docker-archive:"+writeFile(t, oldArchive(t, image, layers...))), nil, spool))(t)
				must(copyImage(t, saved, from.to(t, image), Options{}))(t)
			}
			first := must(copyImage(t, from.from(t, tt.at), reg.to(t, tt.at), Options{}))(t)
			slices.SortFunc(first.Layers, func(a, b Layer) int { return int(a.Size - b.Size) })
			lost := tt.lost(first.Layers)
			for _, l := range lost {
				deleteBlob(t, reg, strings.TrimSuffix(tt.at, ":1"), l.Digest)
			}
			w := &watcher{}
			again, err := copyImage(t, from.from(t, tt.at), reg.to(t, tt.at), Options{Observer: w})
			if err != nil || again.Digest != first.Digest {
				t.Fatalf("the second push: %+v, %v", again, err)
			}
			var sent int64
			for _, l := range lost {
				sent += l.Size
			}
			if again.Sent != sent || hows(again)[client.Existed] != len(first.Layers)-len(lost) || len(again.Layers) != len(first.Layers) {
				t.Errorf("sent %d bytes of %d that were lost: %+v", again.Sent, sent, again.Layers)
			}
			must(copyImage(t, reg.from(t, tt.at), must(ToLayout(t.TempDir(), ""))(t), Options{}))(t)
		})
	}
}

// TestRepairOnce: if the registry rejects the manifest again, the copy fails.
// An error of another kind sends nothing, nor does one about blobs that were just sent.
func TestRepairOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		to          string
		code        oci.Code
		puts, posts int32
	}{
		"still unknown": {"app:1", oci.ManifestBlobUnknown, 2, 1},
		"another error": {"app:1", oci.ManifestInvalid, 1, 0},
		"just sent":     {"new:1", oci.ManifestBlobUnknown, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			reg, spool := newTestRegistry(t), testSpool(t)
			path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000)))
			dir := t.TempDir()
			must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), must(ToLayout(dir, "1"))(t), Options{}))(t)
			r := must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, "app:1"), Options{}))(t)
			var puts, posts atomic.Int32
			reg.intercept(func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method == http.MethodPost {
					posts.Add(1)
				}
				if req.Method != http.MethodPut {
					return false
				}
				puts.Add(1)
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"errors":[{"code":%q,"detail":{"digest":%q}}]}`, tt.code, r.Layers[0].Digest)
				return true
			})
			_, err := copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, tt.to), Options{Jobs: 1})
			if err == nil || puts.Load() != tt.puts || posts.Load() != tt.posts {
				t.Errorf("%v after %d PUTs of the manifest and %d uploads, want %d and %d", err, puts.Load(), posts.Load(), tt.puts, tt.posts)
			}
		})
	}
}

// TestUnchangedImage: an image that is there costs two requests, as without repairs.
func TestUnchangedImage(t *testing.T) {
	reg, spool := newTestRegistry(t), testSpool(t)
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 1000), tarLayer(t, 2, 100_000)))
	dir := t.TempDir()
	must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), must(ToLayout(dir, "1"))(t), Options{}))(t)
	r := must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, "app:1"), Options{}))(t)
	asked := &requests{}
	reg.intercept(asked.record)
	must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), reg.to(t, "app:1"), Options{}))(t)
	want := []string{"HEAD /v2/app/manifests/" + string(r.Digest), "PUT /v2/app/manifests/1"}
	if got := asked.take(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// forms of the detail of MANIFEST_BLOB_UNKNOWN: ours, that of distribution, none, and one
// that names other blobs than the manifest.
func detailForms(d oci.Digest) map[string]string {
	return map[string]string{
		"object": fmt.Sprintf(`,"detail":{"digest":%q}`, d), "upper case": fmt.Sprintf(`,"detail":{"Digest":%q}`, d),
		"text": fmt.Sprintf(`,"detail":%q`, d), "none": "", "another": fmt.Sprintf(`,"detail":%q`, oci.SHA256.FromBytes([]byte("x"))),
	}
}

// peer is a registry of another maker that lost a blob: it names it in its own form, or
// not at all, and knows no direct uploads.
type peer struct {
	mu     sync.Mutex
	sizes  map[string]int64 // of the blobs, by digest
	lost   string
	code   oci.Code
	detail string
	heads  int      // of blobs
	posts  []string // digests that were sent
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	_, digest, isBlob := strings.Cut(r.URL.Path, "/blobs/")
	switch {
	case r.Method == http.MethodHead && isBlob:
		if p.heads++; digest == p.lost {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(p.sizes[digest], 10))
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Type", oci.MediaTypeDockerManifest)
		w.Header().Set("Content-Length", "100")
	case r.Method == http.MethodPost:
		sent := r.URL.Query().Get("digest")
		if p.posts = append(p.posts, sent); sent == p.lost {
			p.lost = ""
		}
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && p.lost != "":
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"blob unknown to registry"%s}]}`, p.code, p.detail)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	}
}

// TestRepairPeers: if the answer does not name a blob that was taken to be there, every
// blob of the image is checked: by HEAD, except for small ones, which are sent.
func TestRepairPeers(t *testing.T) {
	spool := testSpool(t)
	dir := t.TempDir()
	path := writeFile(t, oldArchive(t, "app:1", tarLayer(t, 1, 300_000), tarLayer(t, 2, 300_000), tarLayer(t, 3, 300_000)))
	made := must(copyImage(t, must(FromArchive(place(t, "docker-archive:"+path), nil, spool))(t), must(ToLayout(dir, "1"))(t), Options{}))(t)
	sizes, lost, config := map[string]int64{}, "", ""
	for _, l := range made.Layers {
		sizes[string(l.Digest)] = l.Size
		if l.Size > 64<<10 {
			lost = string(l.Digest)
		} else {
			config = string(l.Digest)
		}
	}
	for _, code := range []oci.Code{oci.ManifestBlobUnknown, oci.BlobUnknown} {
		for name, detail := range detailForms(oci.Digest(lost)) {
			t.Run(string(code)+" "+name, func(t *testing.T) {
				p := &peer{lost: lost, detail: detail, code: code, sizes: sizes}
				srv := httptest.NewServer(p)
				defer srv.Close()
				c := must(client.New(srv.URL, client.Options{Attempts: 1}))(t)
				to := must(ToRegistry(c, must(ParseName(c.Host()+"/app:1"))(t)))(t)
				if _, err := copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), to, Options{}); err != nil {
					t.Fatal(err)
				}
				heads, posts := 1, []string{lost}
				if name == "none" || name == "another" {
					heads, posts = 3, []string{config, lost}
				}
				slices.Sort(posts)
				slices.Sort(p.posts)
				if p.heads != heads || !slices.Equal(p.posts, posts) {
					t.Errorf("%d blobs were asked for and %v sent, want %d and %v", p.heads, p.posts, heads, posts)
				}
			})
		}
	}
}
