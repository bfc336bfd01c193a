package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

func TestManifestRoundTrip(t *testing.T) {
	s := newSite(t)
	m := s.image("a/b", "layer one", "layer two")
	d := s.pushManifest("a/b", "latest", m)
	for _, ref := range []string{"latest", string(d)} {
		for _, method := range []string{"GET", "HEAD"} {
			a := s.do(method, "/v2/a/b/manifests/"+ref, nil).want(t, http.StatusOK)
			h := a.Header
			if h.Get("Docker-Content-Digest") != string(d) || h.Get("Content-Type") != oci.MediaTypeImageManifest ||
				h.Get("Content-Length") != fmt.Sprint(len(m)) {
				t.Errorf("%s %s has headers %v", method, ref, h)
			}
			if method == "GET" && !bytes.Equal(a.body, m) {
				t.Errorf("%s came back as %s, want %s", ref, a.body, m)
			}
			s.do(method, "/v2/a/b/manifests/"+ref, nil, "If-None-Match", h.Get("ETag")).want(t, http.StatusNotModified)
		}
	}
	s.do("GET", "/v2/a/b/manifests/other", nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	s.do("GET", "/v2/c/manifests/"+string(d), nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
}

// TestManifestBytesAreKept: a pull returns the pushed bytes, with white space, unknown fields
// and unknown types.
func TestManifestBytesAreKept(t *testing.T) {
	s := newSite(t)
	for name, tt := range map[string]struct{ contentType, content string }{
		"odd white space": {oci.MediaTypeImageIndex, "{ \"manifests\" :\n\t[ ], \"x\": 1e3}\n"},
		"docker list":     {oci.MediaTypeDockerList, `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeDockerList + `","manifests":[]}`},
		"unknown type":    {"application/vnd.example.thing+json", `{"anything":[true]}`},
	} {
		t.Run(name, func(t *testing.T) {
			d := oci.SHA256.FromBytes([]byte(tt.content))
			s.do("PUT", "/v2/a/manifests/"+string(d), strings.NewReader(tt.content), "Content-Type", tt.contentType).want(t, http.StatusCreated)
			a := s.do("GET", "/v2/a/manifests/"+string(d), nil).want(t, http.StatusOK)
			if string(a.body) != tt.content || a.Header.Get("Content-Type") != tt.contentType {
				t.Errorf("came back as %s %q", a.Header.Get("Content-Type"), a.body)
			}
		})
	}
}

// TestManifestTypes: no manifest is served with a type that browsers run, even if an earlier
// version stored it. Bytes without a mediaType have the type of their last push.
func TestManifestTypes(t *testing.T) {
	meta, blobs := storetest.Open(t)
	opts := server.Options{Log: slog.New(slog.DiscardHandler), ServeBlobs: true}
	s := &site{t: t, handler: server.All(registry.New(meta, blobs, registry.Options{Log: opts.Log}), opts)}
	const content = `{"annotations":{"x":"<script>"}}`
	d := oci.SHA256.FromBytes([]byte(content))
	push := func(mediaType string) answer {
		return s.do("PUT", "/v2/a/manifests/x", strings.NewReader(content), "Content-Type", mediaType)
	}
	served := func(want string) {
		t.Helper()
		for _, ref := range []string{"x", string(d), "x"} {
			for _, method := range []string{"GET", "HEAD"} {
				a := s.do(method, "/v2/a/manifests/"+ref, nil).want(t, http.StatusOK)
				if got := a.Header.Get("Content-Type"); got != want {
					t.Errorf("%s %s is served as %s, want %s", method, ref, got, want)
				}
			}
		}
	}
	for _, refused := range []string{"text/html", "image/svg+xml", "*/*", "application/json,text/html", "text/html;+json"} {
		push(refused).wantError(t, http.StatusBadRequest, oci.ManifestInvalid)
	}
	push("application/vnd.example.wrong+json").want(t, http.StatusCreated)
	served("application/vnd.example.wrong+json")
	push("application/vnd.example.right+json").want(t, http.StatusCreated)
	served("application/vnd.example.right+json")

	for _, key := range []registry.Key{{PK: "C#a#" + string(d), SK: "C"}, {PK: "T#a", SK: "x"}} {
		w := registry.Write{Key: key, Op: registry.Set, If: registry.Exists(), Attrs: registry.Attrs{"m": "text/html"}}
		if _, err := meta.Update(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	served("application/octet-stream")
}

func TestManifestSizes(t *testing.T) {
	s := newSite(t)
	for _, size := range []int{64 << 10, 64<<10 + 1, 4_000_000, registry.MaxManifest} {
		frame := `{"manifests":[],"annotations":{"pad":""}}`
		m := strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
		d := oci.SHA256.FromBytes([]byte(m))
		s.do("PUT", "/v2/a/manifests/big", strings.NewReader(m), "Content-Type", oci.MediaTypeImageIndex).want(t, http.StatusCreated)
		if got := s.do("GET", "/v2/a/manifests/"+string(d), nil).want(t, http.StatusOK).body; string(got) != m {
			t.Errorf("a manifest of %d bytes came back with %d", size, len(got))
		}
	}
	over := strings.Repeat(" ", registry.MaxManifest+1)
	s.do("PUT", "/v2/a/manifests/over", strings.NewReader(over), "Content-Type", oci.MediaTypeImageIndex).
		wantError(t, http.StatusRequestEntityTooLarge, oci.SizeInvalid)
}

func TestManifestFaults(t *testing.T) {
	s := newSite(t)
	there := s.pushBlob("a", []byte("there"))
	elsewhere := s.pushBlob("b", []byte("elsewhere"))
	gone := oci.SHA256.FromBytes([]byte("gone"))
	put := func(contentType string, m any) answer {
		b, ok := m.(string)
		if !ok {
			b = string(marshal(m))
		}
		return s.do("PUT", "/v2/a/manifests/x", strings.NewReader(b), "Content-Type", contentType)
	}
	image := func(layers ...any) map[string]any {
		return map[string]any{"config": descriptor("c", there, 5), "layers": layers}
	}
	put(oci.MediaTypeImageManifest, `{"config":`).wantError(t, http.StatusBadRequest, oci.ManifestInvalid)
	put(oci.MediaTypeDockerSchema1, `{}`).wantError(t, http.StatusBadRequest, oci.ManifestInvalid)

	errs := put(oci.MediaTypeImageManifest, image(descriptor("l", gone, 4), descriptor("l", elsewhere, 9), descriptor("l", there, 6))).
		wantError(t, http.StatusBadRequest, oci.ManifestBlobUnknown)
	if len(errs) != 3 || errs[1].Code != oci.ManifestBlobUnknown || errs[2].Code != oci.SizeInvalid {
		t.Errorf("want two unknown blobs and a wrong size named, got %v", errs)
	}
	for i, d := range []oci.Digest{gone, elsewhere, there} {
		if detail, _ := errs[i].Detail.(map[string]any); detail["digest"] != string(d) {
			t.Errorf("error %d has detail %v, want %s", i, errs[i].Detail, d)
		}
	}
	put(oci.MediaTypeImageManifest, image(descriptor("l", there, 0))).wantError(t, http.StatusBadRequest, oci.SizeInvalid)
	put(oci.MediaTypeImageIndex, map[string]any{"manifests": []any{descriptor(oci.MediaTypeImageManifest, gone, 4)}}).
		wantError(t, http.StatusBadRequest, oci.ManifestBlobUnknown)
	s.do("PUT", "/v2/a/manifests/"+string(gone), strings.NewReader(`{"manifests":[]}`), "Content-Type", oci.MediaTypeImageIndex).
		wantError(t, http.StatusBadRequest, oci.DigestInvalid)
	s.do("GET", "/v2/a/manifests/x", nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)

	foreign := descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", gone, 4)
	put(oci.MediaTypeImageManifest, image(foreign)).want(t, http.StatusCreated)
}

func TestIndexes(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	child := s.pushManifest("a", string(oci.SHA256.FromBytes(m)), m)
	index := marshal(map[string]any{"manifests": []any{descriptor(oci.MediaTypeImageManifest, child, len(m))}})
	nested := marshal(map[string]any{"manifests": []any{descriptor(oci.MediaTypeImageIndex, oci.SHA256.FromBytes(index), len(index))}})
	for ref, content := range map[string][]byte{string(oci.SHA256.FromBytes(index)): index} {
		s.do("PUT", "/v2/a/manifests/"+ref, bytes.NewReader(content), "Content-Type", oci.MediaTypeImageIndex).want(t, http.StatusCreated)
	}
	s.do("PUT", "/v2/a/manifests/nested", bytes.NewReader(nested), "Content-Type", oci.MediaTypeImageIndex).want(t, http.StatusCreated)
	s.do("PUT", "/v2/b/manifests/nested", bytes.NewReader(nested), "Content-Type", oci.MediaTypeImageIndex).
		wantError(t, http.StatusBadRequest, oci.ManifestBlobUnknown)
}

func TestTagParameters(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	d := oci.SHA256.FromBytes(m)
	q := url.Values{"tag": {"1.2.3", "1.2", "1", "latest", "1"}}
	a := s.do("PUT", "/v2/a/manifests/"+string(d)+"?"+q.Encode(), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).want(t, http.StatusCreated)
	if got := a.Header.Get("OCI-Tag"); got != "1.2.3, 1.2, 1, latest" {
		t.Errorf("OCI-Tag %q", got)
	}
	for _, tag := range q["tag"] {
		if got := s.do("GET", "/v2/a/manifests/"+tag, nil).want(t, http.StatusOK).Header.Get("Docker-Content-Digest"); got != string(d) {
			t.Errorf("%s is %s, want %s", tag, got, d)
		}
	}
	a = s.do("PUT", "/v2/a/manifests/"+string(d), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).want(t, http.StatusCreated)
	if got, sent := a.Header["Oci-Tag"]; sent {
		t.Errorf("a push without tags is answered with OCI-Tag %q", got)
	}
	for i := range registry.MaxTagsPerPush {
		q.Add("tag", fmt.Sprintf("t%d", i))
	}
	s.do("PUT", "/v2/a/manifests/"+string(d)+"?"+q.Encode(), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).
		wantError(t, http.StatusRequestURITooLong, oci.TagInvalid)
}

func TestDeleteManifest(t *testing.T) {
	s := newSite(t)
	m, other := s.image("a", "one"), s.image("a", "two")
	d := s.pushManifest("a", "one", m)
	s.pushManifest("a", "moved", m)
	s.pushManifest("a", "moved", other)
	s.pushManifest("a", "deleted", m)
	s.do("DELETE", "/v2/a/manifests/deleted", nil).want(t, http.StatusAccepted)
	s.do("DELETE", "/v2/a/manifests/deleted", nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	s.do("GET", "/v2/a/manifests/deleted", nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	s.do("DELETE", "/v2/a/manifests/"+string(d), nil).want(t, http.StatusAccepted)
	s.do("DELETE", "/v2/a/manifests/"+string(d), nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	for _, ref := range []string{"one", string(d)} {
		s.do("GET", "/v2/a/manifests/"+ref, nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	}
	s.do("GET", "/v2/a/manifests/moved", nil).want(t, http.StatusOK)
	s.pushManifest("a", "one", m) // it can come back
	s.do("GET", "/v2/a/manifests/one", nil).want(t, http.StatusOK)
}

func TestDeleteManifestWithManyTags(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	d := oci.SHA256.FromBytes(m)
	push := func(n int) {
		for first := 0; first < n; first += registry.MaxTagsPerPush {
			q := url.Values{}
			for i := first; i < min(n, first+registry.MaxTagsPerPush); i++ {
				q.Add("tag", fmt.Sprintf("tag-%d", i))
			}
			s.do("PUT", "/v2/a/manifests/"+string(d)+"?"+q.Encode(), bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest).want(t, http.StatusCreated)
		}
	}
	for _, n := range []int{0, 1, 47, 95, 96, 1200, 3, 120} {
		push(n)
		if n == 0 {
			s.pushManifest("a", string(d), m)
		}
		s.do("DELETE", "/v2/a/manifests/"+string(d), nil).want(t, http.StatusAccepted)
		var list struct{ Tags []string }
		a := s.do("GET", "/v2/a/tags/list", nil).want(t, http.StatusOK)
		if err := json.Unmarshal(a.body, &list); err != nil || len(list.Tags) != 0 {
			t.Errorf("after %d tags: %v are left, %v", n, list.Tags, err)
		}
	}
}

// TestDeleteRepository: the repository is gone at once, others stay, and a push brings it back. A path
// that was cut short deletes nothing.
func TestDeleteRepository(t *testing.T) {
	s := newSite(t)
	m := s.image("a/b", "layer")
	for _, tag := range []string{"one", "two"} {
		s.pushManifest("a/b", tag, m)
		s.pushManifest("a", tag, s.image("a", tag))
	}
	for _, path := range []string{"/v2/a/b/", "/v2/a/b/manifests/", "/v2/a/b/_pierless/", "/v2/a/b"} {
		if a := s.do("DELETE", path, nil); a.StatusCode < 400 {
			t.Errorf("DELETE %s: %d", path, a.StatusCode)
		}
	}
	a := s.do("DELETE", "/v2/a/b/_pierless/repository", nil).want(t, http.StatusAccepted)
	if want := `{"manifests":1,"tags":2,"more":false}`; strings.TrimSpace(string(a.body)) != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	s.do("GET", "/v2/a/b/tags/list", nil).wantError(t, http.StatusNotFound, oci.NameUnknown)
	s.do("GET", "/v2/a/b/manifests/one", nil).wantError(t, http.StatusNotFound, oci.ManifestUnknown)
	s.do("DELETE", "/v2/a/b/_pierless/repository", nil).wantError(t, http.StatusNotFound, oci.NameUnknown)
	catalog := func(want string) {
		t.Helper()
		if a := s.do("GET", "/v2/_catalog", nil).want(t, http.StatusOK); strings.TrimSpace(string(a.body)) != `{"repositories":[`+want+`]}` {
			t.Errorf("catalog %s, want %s", a.body, want)
		}
	}
	catalog(`"a"`)
	s.do("GET", "/v2/a/manifests/two", nil).want(t, http.StatusOK)
	s.pushManifest("a/b", "three", m)
	catalog(`"a","a/b"`)
	if a := s.do("GET", "/v2/a/b/tags/list", nil).want(t, http.StatusOK); !strings.Contains(string(a.body), `["three"]`) {
		t.Errorf("tags: %s", a.body)
	}
}

// TestDeleteAgainstPush: a manifest is deleted while its tag is pushed again.
// Whichever wins, every listed tag can be pulled, and the last push counts.
func TestDeleteAgainstPush(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	d := string(s.pushManifest("a", "latest", m))
	for range 30 {
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := s.do("DELETE", "/v2/a/manifests/"+d, nil); a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusNotFound {
				t.Errorf("delete: %d %s", a.StatusCode, a.body)
			}
		})
		wg.Go(func() {
			a := s.do("PUT", "/v2/a/manifests/latest", bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest)
			if a.StatusCode != http.StatusCreated {
				t.Errorf("push: %d %s", a.StatusCode, a.body)
			}
		})
		wg.Wait()
		byTag, byDigest := s.do("GET", "/v2/a/manifests/latest", nil), s.do("GET", "/v2/a/manifests/"+d, nil)
		if byTag.StatusCode != byDigest.StatusCode {
			t.Fatalf("by tag %d, by digest %d", byTag.StatusCode, byDigest.StatusCode)
		}
		s.pushManifest("a", "latest", m)
		s.do("GET", "/v2/a/manifests/latest", nil).want(t, http.StatusOK)
	}
}

// TestManyPushers: 20 images that share layers are pushed at once to one repository, half of
// them to one tag. None fails, none is lost.
func TestManyPushers(t *testing.T) {
	s := newSite(t)
	const pushers = 20
	s.pushBlob("base", []byte("shared base"))
	var wg sync.WaitGroup
	for i := range pushers {
		wg.Go(func() {
			shared := oci.SHA256.FromBytes([]byte("shared base"))
			a := s.do("POST", "/v2/app/blobs/uploads/?from=base&mount="+string(shared), nil)
			if a.StatusCode != http.StatusCreated {
				t.Errorf("mount: %d %s", a.StatusCode, a.body)
			}
			m := s.image("app", "shared base", "also shared", fmt.Sprint("own ", i))
			for _, tag := range []string{fmt.Sprint("v", i), "latest"} {
				a := s.do("PUT", "/v2/app/manifests/"+tag, bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest)
				if a.StatusCode != http.StatusCreated {
					t.Errorf("push: %d %s", a.StatusCode, a.body)
				}
			}
		})
	}
	wg.Wait()
	for i := range pushers {
		s.do("GET", fmt.Sprint("/v2/app/manifests/v", i), nil).want(t, http.StatusOK)
	}
	s.do("GET", "/v2/app/manifests/latest", nil).want(t, http.StatusOK)
}

// TestOneManifestManyPushers: 20 clients push the same new manifest to 20 tags.
func TestOneManifestManyPushers(t *testing.T) {
	s := newSite(t)
	m := s.image("app", "one")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { s.pushManifest("app", fmt.Sprint("v", i), m) })
	}
	wg.Wait()
	for i := range 20 {
		s.do("GET", fmt.Sprint("/v2/app/manifests/v", i), nil).want(t, http.StatusOK)
	}
}
