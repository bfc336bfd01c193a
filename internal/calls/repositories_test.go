//go:build localstack

package calls_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// repositoryOperations are deletes of repositories, and lists after them. Each has a store of its own,
// as idle repositories cost calls of the catalog.
func repositoryOperations(t *testing.T) []operation {
	t.Helper()
	in := func(prepare func(g *rig) (measured func())) func(*rig) func() {
		return func(r *rig) func() {
			g := newRig(t)
			measured := prepare(g)
			g.calls = calls{}
			return func() {
				measured()
				r.calls = g.calls
			}
		}
	}
	get := func(g *rig, path string, status int) {
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != status {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	remove := func(g *rig, repo string) { g.do("DELETE", "/v2/"+repo+"/_pierless/repository", nil) }
	fill := func(g *rig, images int) {
		for i := range images {
			g.put(fmt.Sprint("v", i), g.image(2))
		}
	}
	// deleted are repositories that were deleted, beside one that was not.
	deleted := func(g *rig, n int) {
		fill(g, 1)
		for i := range n {
			repo := fmt.Sprint("deleted/", i)
			empty := []byte(`{"manifests":[]}`)
			g.do("PUT", "/v2/"+repo+"/manifests/latest", empty, "Content-Type", oci.MediaTypeImageIndex)
			remove(g, repo)
		}
	}
	return []operation{
		{"DELETE repository, 1 manifest", calls{6, 0}, in(func(g *rig) func() { fill(g, 1); return func() { remove(g, "a") } })},
		{"DELETE repository, 20 manifests", calls{44, 0}, in(func(g *rig) func() { fill(g, 20); return func() { remove(g, "a") } })},
		{"catalog page, 10 repositories were deleted within a day", calls{11, 0}, in(func(g *rig) func() {
			deleted(g, 10)
			return func() { get(g, "/v2/_catalog", http.StatusOK) }
		})},
		{"tags list page of a deleted repository", calls{3, 0}, in(func(g *rig) func() {
			deleted(g, 1)
			return func() { get(g, "/v2/deleted/0/tags/list", http.StatusNotFound) }
		})},
	}
}
