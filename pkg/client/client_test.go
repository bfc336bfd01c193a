package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"registry.example": "registry.example", "Registry.example:5000": "registry.example:5000", "127.0.0.1:5000": "127.0.0.1:5000",
		"https://registry.example/": "registry.example", "http://[::1]:5000": "[::1]:5000", "docker.io": "registry-1.docker.io",
	} {
		c, err := client.New(address, client.Options{})
		if err != nil || c.Host() != want {
			t.Errorf("New(%q) is at %q, %v; want %q", address, c.Host(), err, want)
		}
	}
	for _, bad := range []string{"", "https://", "ftp://x", "user:secret@host", "https://user:secret@host", "host/path", "host?x", "http://host#x", "a b"} {
		_, err := client.New(bad, client.Options{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%q) gives %v", bad, err)
		}
	}
	c, _ := newClient(t, "registry.example", client.Options{})
	if _, err := c.Repository("No"); !errors.Is(err, &oci.Error{Code: oci.NameInvalid}) {
		t.Errorf("a bad name gives %v", err)
	}
}

// image pushes a config and returns a manifest that names it.
func image(t *testing.T, r *client.Repository, extra map[string]any) []byte {
	t.Helper()
	config := []byte(`{"os":"linux"}`)
	if _, err := r.PushBlob(t.Context(), blobOf(config)); err != nil {
		t.Fatal(err)
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "layers": []any{},
		"config": oci.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: oci.SHA256.FromBytes(config), Size: int64(len(config))},
	}
	for k, v := range extra {
		m[k] = v
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImagesAndLists(t *testing.T) {
	ctx := t.Context()
	c, _ := newClient(t, serve(t, newRegistry(t)), client.Options{})
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	r := repository(t, c, "team/app")
	manifest := image(t, r, nil)
	desc, err := r.PushManifest(ctx, oci.Reference{Tag: "v0"}, oci.MediaTypeImageManifest, manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []oci.Reference{{Tag: "v0"}, {Digest: desc.Digest}} {
		got, err := r.Resolve(ctx, ref)
		if err != nil || got.Digest != desc.Digest || got.Size != int64(len(manifest)) || got.MediaType != oci.MediaTypeImageManifest {
			t.Errorf("Resolve(%s) = %+v, %v", ref, got, err)
		}
		m, err := r.Manifest(ctx, ref)
		if err != nil || string(m.Content) != string(manifest) || m.Digest != desc.Digest || m.MediaType != oci.MediaTypeImageManifest {
			t.Errorf("Manifest(%s) = %+v, %v", ref, m.Descriptor, err)
		}
	}
	var want []string
	for i := range 1100 { // more than a page
		tag := fmt.Sprintf("v%04d", i)
		want = append(want, tag)
		if _, err := r.PushManifest(ctx, oci.Reference{Tag: tag}, oci.MediaTypeImageManifest, manifest); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, "v0")
	slices.Sort(want)
	if got := collect(t, r.Tags(ctx)); !slices.Equal(got, want) {
		t.Errorf("%d tags, want %d", len(got), len(want))
	}
	if err := r.DeleteManifest(ctx, oci.Reference{Tag: "v0"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Resolve(ctx, oci.Reference{Tag: "v0"}); !errors.Is(err, &oci.Error{Code: oci.ManifestUnknown}) {
		t.Errorf("a deleted tag resolves: %v", err)
	}
	for range r.Tags(ctx) {
		break // a list may be left
	}
}

func collect[T any](t *testing.T, list func(func(T, error) bool)) []T {
	t.Helper()
	var all []T
	for one, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func TestReferrers(t *testing.T) {
	ctx := t.Context()
	r := newRepository(t, serve(t, newRegistry(t)), "team/app", client.Options{})
	manifest := image(t, r, nil)
	subject, err := r.PushManifest(ctx, oci.Reference{Tag: "x"}, oci.MediaTypeImageManifest, manifest)
	if err != nil {
		t.Fatal(err)
	}
	var want []oci.Digest
	for _, artifactType := range []string{"a/sbom", "a/signature"} {
		m := image(t, r, map[string]any{"artifactType": artifactType, "subject": subject})
		d, err := r.PushManifest(ctx, oci.Reference{Digest: oci.SHA256.FromBytes(m)}, oci.MediaTypeImageManifest, m)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d.Digest)
	}
	if got := collect(t, r.Referrers(ctx, subject.Digest, "")); len(got) != 2 {
		t.Errorf("referrers %+v, want two", got)
	}
	got := collect(t, r.Referrers(ctx, subject.Digest, "a/signature"))
	if len(got) != 1 || got[0].Digest != want[1] || got[0].ArtifactType != "a/signature" {
		t.Errorf("referrers %+v, want the signature", got)
	}
}

// TestDigestsThatAreNone: neither a registry nor a caller can use an algorithm that no one
// knows as far as a hash.
func TestDigestsThatAreNone(t *testing.T) {
	list := `{"schemaVersion":2,"manifests":[{"mediaType":"m/m","digest":"md5:abc","size":2}]}`
	r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
		_, _ = w.Write([]byte(list))
	})), "a", client.Options{})
	ctx := t.Context()
	for _, err := range r.Referrers(ctx, oci.SHA256.FromBytes(nil), "") {
		if !errors.Is(err, &oci.Error{Code: oci.DigestInvalid}) {
			t.Errorf("a referrer with another digest gives %v", err)
		}
	}
	_, err := r.Manifest(ctx, oci.Reference{Digest: "md5:abc"})
	_, pushErr := r.PushManifest(ctx, oci.Reference{Digest: "md5:abc"}, oci.MediaTypeImageIndex, []byte(list))
	_, blobErr := r.Blob(ctx, "md5:abc", 1)
	for _, err := range []error{err, pushErr, blobErr} {
		if !errors.Is(err, &oci.Error{Code: oci.DigestInvalid}) {
			t.Errorf("another digest gives %v", err)
		}
	}
	if _, err := r.BlobSize(ctx, "md5:abc"); err != nil {
		t.Errorf("BlobSize: %v", err) // it hashes nothing: what the registry says counts
	}
}

// TestReferrersTag: a registry without the list has an index under a tag.
func TestReferrersTag(t *testing.T) {
	d := oci.SHA256.FromBytes([]byte("subject"))
	one, two := oci.SHA256.FromBytes([]byte("1")), oci.SHA256.FromBytes([]byte("2"))
	index := marshal(t, oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{
		{MediaType: "m/m", Digest: one, Size: 1, ArtifactType: "a/b"}, {MediaType: "m/m", Digest: two, Size: 1, ArtifactType: "c/d"},
	}})
	r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/v2/a/manifests/"+strings.Replace(string(d), ":", "-", 1) {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
		_, _ = w.Write(index)
	})), "a", client.Options{})
	if got := collect(t, r.Referrers(t.Context(), d, "c/d")); len(got) != 1 || got[0].Digest != two {
		t.Errorf("referrers %+v", got)
	}
	if got := collect(t, r.Referrers(t.Context(), one, "")); len(got) != 0 {
		t.Errorf("referrers %+v of nothing", got)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBlobs(t *testing.T) {
	ctx := t.Context()
	c, _ := newClient(t, serve(t, newRegistry(t)), client.Options{})
	r := repository(t, c, "team/app")
	for size, how := range map[int]client.PushMethod{0: client.Whole, 1: client.Whole, 100_000: client.Whole, 4 << 20: client.Whole, 4<<20 + 1: client.Chunked, 9 << 20: client.Chunked} {
		content := randomBytes(uint64(size), size)
		b, seen := blobOf(content), &progress{}
		b.Progress = seen.add
		got, err := r.PushBlob(ctx, b)
		if err != nil || got != (client.PushResult{Method: how, Sent: int64(size)}) || seen.sum != int64(size) {
			t.Fatalf("%d bytes: %+v, %v, progress %d; want %s", size, got, err, seen.sum, how)
		}
		wantBlob(t, r, content)
		if got, err := r.BlobSize(ctx, b.Digest); err != nil || got != int64(size) {
			t.Errorf("BlobSize = %d, %v; want %d", got, err, size)
		}
		if got, err := pull(t, r, b.Digest, -1); err != nil || len(got) != size {
			t.Errorf("%d of %d bytes without a size, %v", len(got), size, err)
		}
		if size < 100_000 {
			continue
		}
		if got, err := r.PushBlob(ctx, b); err != nil || got != (client.PushResult{Method: client.Existed}) {
			t.Errorf("pushed again: %+v, %v", got, err)
		}
	}
}

func TestMountAndDelete(t *testing.T) {
	ctx := t.Context()
	c, _ := newClient(t, serve(t, newRegistry(t)), client.Options{})
	a, b := repository(t, c, "a"), repository(t, c, "b")
	blob := blobOf(randomBytes(1, 5<<20))
	if mounted, err := b.Mount(ctx, blob.Digest, "a"); mounted || err != nil {
		t.Errorf("mounted what is not there: %v, %v", mounted, err)
	}
	if _, err := a.PushBlob(ctx, blob); err != nil {
		t.Fatal(err)
	}
	blob.MountFrom = []string{"c", "a"}
	if got, err := b.PushBlob(ctx, blob); err != nil || got != (client.PushResult{Method: client.Mounted}) {
		t.Errorf("pushed %+v, %v; want it mounted", got, err)
	}
	if err := b.DeleteBlob(ctx, blob.Digest); err != nil {
		t.Error(err)
	}
	if _, err := b.BlobSize(ctx, blob.Digest); !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
		t.Errorf("a deleted blob gives %v", err)
	}
	if _, err := b.Blob(ctx, blob.Digest, blob.Size); !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
		t.Errorf("a deleted blob gives %v", err)
	}
}

// TestSHA512: the registry is told the algorithm before the bytes.
func TestSHA512(t *testing.T) {
	r := newRepository(t, serve(t, newRegistry(t)), "a", client.Options{})
	content := randomBytes(2, 5<<20)
	b := blobOf(content)
	b.Digest = oci.SHA512.FromBytes(content)
	if got, err := r.PushBlob(t.Context(), b); err != nil || got.Method != client.Chunked {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := pull(t, r, b.Digest, b.Size); err != nil || int64(len(got)) != b.Size {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestWrongBytes: content that does not match its size or digest is ErrContent.
func TestWrongBytes(t *testing.T) {
	r := newRepository(t, serve(t, newRegistry(t)), "a", client.Options{})
	for _, size := range []int{10, 9 << 20} {
		lying := blobOf(randomBytes(3, size))
		lying.Digest = oci.SHA256.FromBytes([]byte("something else"))
		if _, err := r.PushBlob(t.Context(), lying); !errors.Is(err, client.ErrContent) || !errors.Is(err, &oci.Error{Code: oci.DigestInvalid}) {
			t.Errorf("%d bytes of another digest give %v", size, err)
		}
		for name, short := range map[string]client.Blob{"memory": blobOf(randomBytes(4, size)), "file": fileOf(t, randomBytes(4, size))} {
			short.Size += 10
			if _, err := r.PushBlob(t.Context(), short); !errors.Is(err, client.ErrSource) {
				t.Errorf("a source in %s of %d bytes that ends early gives %v", name, size, err)
			}
		}
		if _, err := r.BlobSize(t.Context(), lying.Digest); !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
			t.Errorf("something is visible: %v", err)
		}
	}
}
