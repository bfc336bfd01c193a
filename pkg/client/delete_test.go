package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// pushTagged pushes an image with a tag, and returns its descriptor.
func pushTagged(t *testing.T, r *client.Repository, tag, note string) oci.Descriptor {
	t.Helper()
	config := []byte("{}")
	if _, err := r.PushBlob(t.Context(), blobOf(config)); err != nil {
		t.Fatal(err)
	}
	m := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[],"annotations":{"n":%q}}`,
		oci.SHA256.FromBytes(config), note)
	desc, err := r.PushManifest(t.Context(), oci.Reference{Tag: tag}, oci.MediaTypeImageManifest, m)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

func pushIndex(t *testing.T, r *client.Repository, tag string, of ...oci.Descriptor) {
	t.Helper()
	m, err := json.Marshal(oci.Index{SchemaVersion: 2, MediaType: oci.MediaTypeImageIndex, Manifests: of})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PushManifest(t.Context(), oci.Reference{Tag: tag}, oci.MediaTypeImageIndex, m); err != nil {
		t.Fatal(err)
	}
}

// TestDelete: a repository is deleted at once in Pierless, and by its tags in other registries. An
// index is deleted before the manifests that it lists.
func TestDelete(t *testing.T) {
	for name, refusal := range map[string]int{"pierless": 0, "404": http.StatusNotFound, "405": http.StatusMethodNotAllowed} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var deleted []string
			registry := newRegistry(t)
			c, _ := newClient(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodDelete {
					mu.Lock()
					deleted = append(deleted, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
					mu.Unlock()
				}
				if strings.HasSuffix(r.URL.Path, "/_pierless/repository") && refusal != 0 {
					http.Error(w, "page not found", refusal)
					return
				}
				registry.ServeHTTP(w, r)
			})), client.Options{})
			r := repository(t, c, "a/b")
			one := pushTagged(t, r, "one", "one")
			pushTagged(t, r, "same", "one")
			two := pushTagged(t, r, "two", "two")
			if err := r.DeleteManifest(t.Context(), oci.Reference{Tag: "two"}); err != nil { // only the index leads to it
				t.Fatal(err)
			}
			pushIndex(t, r, "all", one, two)
			deleted = nil
			reports := 0
			did, err := r.Delete(t.Context(), func(client.Deleted) { reports++ })
			if want := (client.Deleted{Manifests: 3, Tags: 3, Partial: refusal != 0}); err != nil || did != want || reports == 0 {
				t.Errorf("%+v, %v, %d reports; want %+v", did, err, reports, want)
			}
			if want := map[bool]int{true: 1, false: 4}[refusal == 0]; len(deleted) != want {
				t.Errorf("deleted %q", deleted)
			}
			if refusal != 0 && !slices.Equal(slices.Sorted(slices.Values(deleted[2:])), slices.Sorted(slices.Values([]string{string(one.Digest), string(two.Digest)}))) {
				t.Errorf("the index was not deleted first: %q", deleted)
			}
			for tag, err := range r.Tags(t.Context()) {
				if err == nil {
					t.Errorf("the tag %s is left", tag)
				}
			}
			if _, err := repository(t, c, "unknown").Delete(t.Context(), nil); !errors.Is(err, &oci.Error{Code: oci.NameUnknown}) {
				t.Errorf("an unknown repository: %v", err)
			}
		})
	}
}

// TestDeleteGoesOn: the request is repeated while there is more, and after a lost answer.
func TestDeleteGoesOn(t *testing.T) {
	more := `{"manifests":2,"tags":1,"more":true}`
	for name, tt := range map[string]struct {
		answers []string // status and body; the last one is for all that follow
		want    client.Deleted
		fails   bool
	}{
		"steps":             {[]string{"202 " + more, "202 " + more, `202 {"manifests":1,"tags":0,"more":false}`}, client.Deleted{Manifests: 5, Tags: 2}, false},
		"another is faster": {[]string{"202 " + more, "404 "}, client.Deleted{Manifests: 2, Tags: 1}, false},
		"answer is lost":    {[]string{"504 ", `404 {"errors":[{"code":"NAME_UNKNOWN"}]}`}, client.Deleted{Partial: true}, false},
		"never there":       {[]string{`404 {"errors":[{"code":"NAME_UNKNOWN"}]}`}, client.Deleted{Partial: true}, true},
		"no permission":     {[]string{`403 {"errors":[{"code":"DENIED"}]}`}, client.Deleted{}, true},
		"a strange 200":     {[]string{"200 <html>"}, client.Deleted{}, true},
		"a strange 202":     {[]string{"202 <html>"}, client.Deleted{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				var status int
				var body string
				answer := tt.answers[min(n, len(tt.answers)-1)]
				n++
				_, _ = fmt.Sscanf(answer, "%d", &status)
				_, body, _ = strings.Cut(answer, " ")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			})), "a", client.Options{})
			if did, err := r.Delete(t.Context(), nil); did != tt.want || (err != nil) != tt.fails {
				t.Errorf("%+v, %v; want %+v", did, err, tt.want)
			}
		})
	}
}
