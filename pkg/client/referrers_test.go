package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// withoutReferrers hides the referrers API of a registry, as most registries of 2023 lack
// it. before sees each request first; it may be nil.
func withoutReferrers(h http.Handler, before func(r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(r)
		}
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(hidesSubject{w}, r)
	})
}

type hidesSubject struct{ http.ResponseWriter }

func (h hidesSubject) WriteHeader(status int) {
	h.Header().Del("OCI-Subject")
	h.ResponseWriter.WriteHeader(status)
}

// signature is an artifact that refers to subject.
func signature(t *testing.T, repo *client.Repository, subject oci.Digest, i int) []byte {
	t.Helper()
	empty := blobOf([]byte("{}"))
	if _, err := repo.PushBlob(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"application/x-signature","layers":[],`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},`+
		`"subject":{"mediaType":%q,"digest":%q,"size":7},"annotations":{"number":"%d"}}`,
		oci.MediaTypeImageManifest, empty.Digest, oci.MediaTypeImageManifest, subject, i)
}

// listed are the annotations "number" of the referrers of a subject.
func listed(t *testing.T, repo *client.Repository, subject oci.Digest) map[string]int {
	t.Helper()
	found := map[string]int{}
	for d, err := range repo.Referrers(t.Context(), subject, "application/x-signature") {
		if err != nil {
			t.Fatal(err)
		}
		found[d.Annotations["number"]]++
	}
	return found
}

func pushSignature(t *testing.T, repo *client.Repository, subject oci.Digest, i int) {
	t.Helper()
	content := signature(t, repo, subject, i)
	ref := oci.Reference{Digest: oci.SHA256.FromBytes(content)}
	if _, err := repo.PushManifest(t.Context(), ref, oci.MediaTypeImageManifest, content); err != nil {
		t.Fatal(err)
	}
}

// TestReferrersTagIsWritten: with the referrers API no tag is written; without, the list is.
func TestReferrersTagIsWritten(t *testing.T) {
	subject := oci.SHA256.FromBytes([]byte("image"))
	h := newRegistry(t)
	repo := newRepository(t, serve(t, h), "app", client.Options{})
	pushSignature(t, repo, subject, 0)
	if _, err := repo.Resolve(t.Context(), oci.Reference{Tag: client.ReferrersTag(subject)}); err == nil {
		t.Error("a registry with the referrers API got a list")
	}
	repo = newRepository(t, serve(t, withoutReferrers(h, nil)), "app", client.Options{})
	for range 2 { // the second time adds nothing
		for i := 1; i < 4; i++ {
			pushSignature(t, repo, subject, i)
		}
	}
	if got, want := fmt.Sprint(listed(t, repo, subject)), "map[1:1 2:1 3:1]"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
}

// TestReferrersTagKeeps: entries, annotations and fields of other clients stay.
func TestReferrersTagKeeps(t *testing.T) {
	subject := oci.SHA256.FromBytes([]byte("image"))
	repo := newRepository(t, serve(t, withoutReferrers(newRegistry(t), nil)), "app", client.Options{})
	other := signature(t, repo, subject, 9)
	ref := oci.Reference{Digest: oci.SHA256.FromBytes(other)}
	if _, _, err := repo.PutManifest(t.Context(), ref, oci.MediaTypeImageManifest, other); err != nil {
		t.Fatal(err)
	}
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"application/x-signature",`+
		`"annotations":{"number":"9"},"data":"e30=","x":1e2}`, oci.MediaTypeImageManifest, ref.Digest, len(other))
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"annotations":{"by":"others"},"manifests":[%s]}`,
		oci.MediaTypeImageIndex, entry)
	tag := oci.Reference{Tag: client.ReferrersTag(subject)}
	if _, err := repo.PushManifest(t.Context(), tag, oci.MediaTypeImageIndex, []byte(index)); err != nil {
		t.Fatal(err)
	}
	pushSignature(t, repo, subject, 1)
	m, err := repo.Manifest(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{entry, `"annotations":{"by":"others"}`} {
		if !strings.Contains(string(m.Content), want) {
			t.Errorf("%s\nhas lost %s", m.Content, want)
		}
	}
	if got, want := fmt.Sprint(listed(t, repo, subject)), "map[1:1 9:1]"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	var list struct{ Manifests []oci.Descriptor }
	if err := json.Unmarshal(m.Content, &list); err != nil || list.Manifests[1].ArtifactType != "application/x-signature" {
		t.Errorf("the new entry: %+v, %v", list.Manifests, err)
	}
}

// TestReferrersTagTaken: a manifest that is not a list of referrers is not replaced.
func TestReferrersTagTaken(t *testing.T) {
	subject := oci.SHA256.FromBytes([]byte("image"))
	image := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":%q,"size":1}}`, subject)
	referrer := oci.Descriptor{MediaType: "a/b", Digest: subject, Size: 1}
	for name, tt := range map[string]struct{ mediaType, content, want string }{
		"image":    {oci.MediaTypeImageManifest, image, "not a list of referrers"},
		"no list":  {oci.MediaTypeImageIndex, `{"manifests":5}`, "read the index"},
		"no JSON":  {oci.MediaTypeImageIndex, `{`, "unexpected end"},
		"null":     {oci.MediaTypeImageIndex, `null`, ""},
		"no field": {oci.MediaTypeImageIndex, `{"manifests":null}`, ""},
		"no entry": {oci.MediaTypeImageIndex, `{"manifests":[5]}`, ""},
	} {
		var put []byte
		repo := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut:
				put, _ = io.ReadAll(r.Body)
				w.WriteHeader(http.StatusCreated)
			case put != nil:
				w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
				_, _ = w.Write(put)
			default:
				w.Header().Set("Content-Type", tt.mediaType)
				_, _ = io.WriteString(w, tt.content)
			}
		})), "app", client.Options{})
		err := repo.AddReferrers(t.Context(), subject, referrer)
		if tt.want == "" && (err != nil || !strings.Contains(string(put), string(subject))) {
			t.Errorf("%s: %q, %v", name, put, err)
		}
		if tt.want != "" && (put != nil || err == nil ||
			!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "sha256-")) {
			t.Errorf("%s: %q, %v, want %q", name, put, err, tt.want)
		}
	}
}

// TestReferrersTagRace: other writers add to the list between a read and its write. With
// If-Match nothing of theirs is lost.
func TestReferrersTagRace(t *testing.T) {
	subject := oci.SHA256.FromBytes([]byte("image"))
	h := newRegistry(t)
	other := newRepository(t, serve(t, withoutReferrers(h, nil)), "app", client.Options{})
	races := 0
	repo := newRepository(t, serve(t, withoutReferrers(checksIfMatch(h), func(r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, client.ReferrersTag(subject)) && races < 3 {
			races++
			pushSignature(t, other, subject, 10+races)
		}
	})), "app", client.Options{})
	pushSignature(t, other, subject, 10)
	pushSignature(t, repo, subject, 1)
	if got, want := fmt.Sprint(listed(t, repo, subject)), "map[1:1 10:1 11:1 12:1 13:1]"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
}

// TestReferrersTagReplaced: a list that another client replaced is written again, with
// the entries of both.
func TestReferrersTagReplaced(t *testing.T) {
	ours, theirs := oci.SHA256.FromBytes([]byte("ours")), oci.SHA256.FromBytes([]byte("theirs"))
	var list []byte
	writes := 0
	repo := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			writes++
			list, _ = io.ReadAll(r.Body)
			if writes == 1 {
				list = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":%q,"size":1}]}`, theirs)
			}
			w.WriteHeader(http.StatusCreated)
		case list == nil:
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
			_, _ = w.Write(list)
		}
	})), "app", client.Options{})
	err := repo.AddReferrers(t.Context(), ours, oci.Descriptor{MediaType: "a/b", Digest: ours, Size: 1})
	has := func(d oci.Digest) bool { return strings.Contains(string(list), string(d)) }
	if err != nil || writes != 2 || !has(ours) || !has(theirs) {
		t.Errorf("after %d writes: %s, %v", writes, list, err)
	}
}

// checksIfMatch makes PUTs of manifests conditional, which Pierless does not.
func checksIfMatch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := r.Header.Get("If-Match"); want != "" && r.Method == http.MethodPut {
			now := &etagOnly{header: http.Header{}}
			head := r.Clone(r.Context())
			head.Method, head.Body = http.MethodHead, http.NoBody
			h.ServeHTTP(now, head)
			if now.header.Get("ETag") != want {
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

type etagOnly struct{ header http.Header }

func (e *etagOnly) Header() http.Header         { return e.header }
func (e *etagOnly) Write(p []byte) (int, error) { return len(p), nil }
func (e *etagOnly) WriteHeader(int)             {}

// TestReferrersTagEndless: a list that is always replaced ends the push with an error.
func TestReferrersTagEndless(t *testing.T) {
	subject := oci.SHA256.FromBytes([]byte("image"))
	writes := 0
	c, naps := newClient(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			writes++
			if r.Header.Get("If-Match") != "" {
				t.Errorf("a weak ETag was sent as If-Match: %q", r.Header.Get("If-Match"))
			}
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
		w.Header().Set("ETag", `W/"1"`)
		_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
	})), client.Options{})
	referrer := oci.Descriptor{MediaType: "a/b", Digest: subject, Size: 1}
	err := repository(t, c, "app").AddReferrers(t.Context(), subject, referrer)
	if err == nil || !strings.Contains(err.Error(), "push again") || writes < 2 || writes > 10 || len(naps.list()) == 0 {
		t.Errorf("%v after %d writes and the waits %v", err, writes, naps.list())
	}
}
