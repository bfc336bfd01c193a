package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// TestHidden: what a caller may not pull does not exist for it. Two registries get the same
// requests of one caller with random grants: the first has all repositories, the second only those
// that the caller may pull. Answers and calls of the stores are equal. Actions on a repository
// that a grant allows without pull are left out, as they tell by their nature.
func TestHidden(t *testing.T) {
	rounds, requests := 40, 60
	if !storetest.Embedded {
		rounds, requests = 4, 40
	}
	statuses := map[int]int{}
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(7, uint64(round)))
		own, open := randomGrants(rnd), randomPatterns(rnd)
		readable := func(repo string) bool {
			return own.Allow(repo, route.Pull) || slices.ContainsFunc(open, func(p string) bool { return access.Match(p, repo) })
		}
		all := newHalf(t, own, open, func(string) bool { return true })
		some := newHalf(t, own, open, readable)
		if rnd.IntN(4) == 0 {
			all.authorization, some.authorization = "Bearer anonymous", "Bearer anonymous"
			own = nil
		}
		for range requests {
			r := randomRequest(rnd)
			if need := route.API().Needs(r.parsed.Kind, r.method).Action; r.parsed.Name != "" && !readable(r.parsed.Name) && own.Allow(r.parsed.Name, need) {
				continue
			}
			late := time.Duration(rnd.IntN(3)) * 10 * time.Hour
			all.late, some.late = all.late+late, some.late+late
			a, b := all.send(r), some.send(r)
			statuses[a.status]++
			// Equal content is stored once: a client that sends all of it learns from the time whether
			// another repository has it.
			if a.answer != b.answer || a.calls != b.calls && !strings.Contains(r.target, "?digest=") {
				t.Errorf("round %d, own %v, open %v: %s %s %s tells of a hidden repository:\n%s\n%s\nwithout it:\n%s\n%s",
					round, own, open, r.method, r.target, r.body, a.answer, a.calls, b.answer, b.calls)
			}
		}
	}
	for _, status := range []int{200, 201, 202, 401, 403, 404} {
		if statuses[status] == 0 && storetest.Embedded {
			t.Errorf("no answer has the status %d: the test says little (%v)", status, statuses)
		}
	}
}

// pool has the repositories that exist. Each has a blob and an image of its own, a blob that all
// share, and a referrer of its image.
func pool() []string {
	return []string{"a", "open/a", "open/b", "other/x", "team/app", "team/web", "team/web/deep", "z"}
}

// patterns may be granted.
func patterns() []string {
	return []string{"**", "*", "team/*", "team/**", "team/app", "open/*", "*/a", "other/**", "z", "ghost/**", "**/web"}
}

func randomPatterns(rnd *rand.Rand) []string {
	var some []string
	for range rnd.IntN(3) {
		some = append(some, patterns()[1+rnd.IntN(len(patterns())-1)])
	}
	return some
}

func randomGrants(rnd *rand.Rand) access.Grants {
	actions := access.Actions()
	g := access.Grants{{Repositories: []string{"none"}, Actions: actions[:1]}}
	for range rnd.IntN(4) {
		var granted []route.Action
		for _, action := range actions[:3] {
			if rnd.IntN(2) == 0 {
				granted = append(granted, action)
			}
		}
		if len(granted) == 0 {
			granted = actions[3:]
		}
		g = append(g, access.Grant{Repositories: []string{patterns()[rnd.IntN(len(patterns()))]}, Actions: granted})
	}
	return g
}

func sharedBlob() []byte             { return []byte("shared by all repositories") }
func ownBlob(repo string) []byte     { return []byte("blob of " + repo) }
func digestOf(content []byte) string { return string(oci.SHA256.FromBytes(content)) }
func imageOf(repo string) []byte     { return imageWith(repo, ownBlob(repo), sharedBlob()) }

func imageWith(note string, blobs ...[]byte) []byte {
	m := map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "annotations": map[string]string{"note": note}}
	list := []any{}
	for _, b := range blobs {
		list = append(list, descriptor("application/x", oci.SHA256.FromBytes(b), len(b)))
	}
	m["config"], m["layers"] = list[0], list[1:]
	return marshal(m)
}

// referrerOf returns an image with the subject.
func referrerOf(repo string, subject []byte) []byte {
	var m map[string]any
	_ = json.Unmarshal(imageWith("referrer", ownBlob(repo)), &m) // it was encoded here
	m["subject"] = descriptor(oci.MediaTypeImageManifest, oci.SHA256.FromBytes(subject), len(subject))
	return marshal(m)
}

// half is one of the two registries.
type half struct {
	site
	calls         *trace
	meta          registry.Metadata
	administrate  http.Handler // without access control
	authorization string
}

func newHalf(t *testing.T, own access.Grants, open []string, exists func(repo string) bool) *half {
	t.Helper()
	meta, blobs := storetest.OpenDirect(t)
	h := &half{site: site{t: t}, calls: &trace{}, meta: meta}
	clock := func() time.Time { return time.Now().Add(h.late) }
	quiet := slog.New(slog.DiscardHandler)
	h.handler = server.All(registry.New(meta, blobs, registry.Options{Log: quiet, Now: clock}), server.Options{Log: quiet})
	h.administrate = h.handler
	for _, repo := range pool() {
		if exists(repo) {
			h.pushBlob(repo, ownBlob(repo))
			h.pushBlob(repo, sharedBlob())
			h.pushManifest(repo, "t", imageOf(repo))
			h.pushManifest(repo, digestOf(referrerOf(repo, imageOf(repo))), referrerOf(repo, imageOf(repo)))
		}
	}
	admin, root := access.NewAdmin(access.NewDirectory(meta, access.Options{})), access.Actor{Caller: access.Administrator()}
	issued, err := admin.Create(t.Context(), root, access.NewTokenRequest{Name: "caller", Grants: own})
	if err != nil {
		t.Fatal(err)
	}
	h.authorization = "Bearer " + issued.Secret
	if err := admin.SetSettings(t.Context(), root, access.Settings{Anonymous: open}, "*"); err != nil {
		t.Fatal(err)
	}
	// Another process serves the caller.
	counted := countedMetadata{meta, h.calls}
	_, sum := access.NewToken()
	guard, err := auth.New(sum, access.NewDirectory(counted, access.Options{Log: quiet, Now: clock}))
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(counted, countedBlobs{blobs, h.calls}, registry.Options{Log: quiet, Now: clock})
	h.handler = server.All(reg, server.Options{Log: quiet, Authorize: guard.Authorize})
	return h
}

// TestManyHidden: repositories that a caller may not pull do not push its own out of a page.
func TestManyHidden(t *testing.T) {
	h := newHalf(t, access.Grants{{Repositories: []string{"aa", "zz/*"}, Actions: []route.Action{route.Pull, route.Push}}}, nil, func(string) bool { return false })
	guarded := h.handler
	h.handler = h.administrate
	for i := range 130 { // more than the first page of the blob's links
		h.pushBlob(fmt.Sprintf("hidden/%03d", i), sharedBlob())
	}
	h.pushBlob("aa", ownBlob("aa"))
	h.pushManifest("aa", "t", imageWith("", ownBlob("aa")))
	names := []string{"aa", "zz/a", "zz/b", "zz/c"}
	for _, repo := range names[1:] {
		h.pushBlob(repo, sharedBlob())
		h.pushManifest(repo, "t", imageWith("", sharedBlob()))
	}
	for i := range 11 {
		var rows []registry.Write // of the catalog
		for j := range 100 {
			key := registry.Key{PK: "N", SK: fmt.Sprintf("hidden/%d/%d", i, j)}
			rows = append(rows, registry.Write{Key: key, Op: registry.Put, Attrs: registry.Attrs{"x": int64(1)}})
		}
		if err := h.meta.Transact(t.Context(), "", rows...); err != nil {
			t.Fatal(err)
		}
	}
	h.handler = guarded
	if a := h.send(request{method: "POST", target: "/v2/zz/new/blobs/uploads/?mount=" + digestOf(sharedBlob())}); a.status != http.StatusCreated {
		t.Errorf("a blob that many hidden repositories have was not mounted: %s", a.answer)
	}
	var seen []string
	next, calls := "/v2/_catalog?n=1", 0
	for ; next != ""; calls++ {
		a := h.do("GET", next, nil, "Authorization", h.authorization).want(t, http.StatusOK)
		var page struct{ Repositories []string }
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		if link := a.Header.Get("Link"); strings.Contains(link, "hidden") {
			t.Errorf("Link names a hidden repository: %s", link)
		}
		seen, next = append(seen, page.Repositories...), follow(t, a)
	}
	if !slices.Equal(seen, names) || calls != 4 {
		t.Errorf("%d pages with %q, want %q", calls, seen, names)
	}
}

// request is one that both registries get.
type request struct {
	method, target, body, contentType string
	parsed                            route.Request
}

func randomRequest(rnd *rand.Rand) request {
	repos := append(pool(), "ghost/y", "none")
	pick := func() string { return repos[rnd.IntN(len(repos))] }
	repo, other := pick(), pick()
	if rnd.IntN(2) == 0 {
		other = repo
	}
	blob := [][]byte{sharedBlob(), ownBlob(other), []byte("new " + fmt.Sprint(rnd.IntN(100)))}[rnd.IntN(3)]
	reference := []string{"t", "u", digestOf(imageOf(other)), digestOf(referrerOf(other, imageOf(other)))}[rnd.IntN(4)]
	name, d := "/v2/"+repo, digestOf(blob)
	image := imageWith("new", sharedBlob(), blob)
	if rnd.IntN(3) == 0 {
		image = referrerOf(repo, imageOf(other))
	}
	reads := []string{http.MethodGet, http.MethodHead}
	read := reads[rnd.IntN(2)]
	offer := fmt.Sprintf(`{"digest":%q,"size":%d,"parts":%v}`, d, len(blob)+rnd.IntN(8)/7, rnd.IntN(2) == 0)
	all := []request{
		{method: read, target: name + "/manifests/" + reference},
		{method: read, target: name + "/manifests/" + reference},
		{method: "PUT", target: name + "/manifests/u", body: string(image), contentType: oci.MediaTypeImageManifest},
		{method: "DELETE", target: name + "/manifests/" + reference},
		{method: "DELETE", target: name + "/_pierless/repository"},
		{method: read, target: name + "/blobs/" + d},
		{method: "HEAD", target: name + "/blobs/" + d},
		{method: "DELETE", target: name + "/blobs/" + d},
		{method: read, target: name + "/tags/list?n=" + fmt.Sprint(rnd.IntN(3))},
		{method: read, target: name + "/referrers/" + digestOf(imageOf(other))},
		{method: "POST", target: name + "/blobs/uploads/"},
		{method: "POST", target: name + "/blobs/uploads/?digest=" + d, body: string(blob)},
		{method: "POST", target: name + "/blobs/uploads/?mount=" + d + "&from=" + other},
		{method: "POST", target: name + "/blobs/uploads/?mount=" + d + "&from=" + pick()},
		{method: "POST", target: name + "/blobs/uploads/?mount=" + d},
		{method: "POST", target: name + "/_pierless/uploads", body: offer},
		{method: "PATCH", target: name + "/blobs/uploads/unknown", body: "x"},
		{method: "PATCH", target: name + "/manifests/t"},
		{method: read, target: "/v2/_catalog"},
		{method: read, target: fmt.Sprintf("/v2/_catalog?n=%d&last=%s", rnd.IntN(4), pick())},
		{method: "GET", target: "/v2/"},
	}
	r := all[rnd.IntN(len(all))]
	path, _, _ := strings.Cut(r.target, "?")
	r.parsed, _ = route.Parse(path) // all are paths of the API
	return r
}

// seen is what a caller learns from a request.
type seen struct {
	status        int
	answer, calls string
}

// send returns the answer without random parts, and the calls of the stores.
func (h *half) send(r request) seen {
	h.calls.taken = nil
	req := httptest.NewRequest(r.method, r.target, strings.NewReader(r.body))
	req.Header.Set("Authorization", h.authorization)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, req)
	header := w.Header().Clone()
	header.Del("X-Request-Id")
	header.Del("Docker-Upload-Uuid")
	if at := header.Get("Location"); strings.Contains(at, "uploads/") && !strings.HasSuffix(at, r.target) {
		header.Set("Location", at[:strings.LastIndex(at, "/")])
	}
	body := w.Body.Bytes()
	var upload map[string]any
	if r.parsed.Kind == route.DirectStart && json.Unmarshal(body, &upload) == nil && upload["id"] != nil {
		for _, random := range []string{"id", "expires", "put"} {
			delete(upload, random)
		}
		body = marshal(upload)
		header.Del("Content-Length")
	}
	if w.Code == http.StatusTemporaryRedirect {
		header.Del("Location") // a presigned URL of a random key
	}
	slices.Sort(h.calls.taken) // the delete of a repository makes some at the same time
	return seen{w.Code, fmt.Sprintf("%d\n%s\n%s", w.Code, sorted(header), bytes.TrimSpace(body)), strings.Join(h.calls.taken, ", ")}
}

func sorted(h http.Header) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		lines = append(lines, name+": "+strings.Join(h[name], ", "))
	}
	return strings.Join(lines, "\n")
}
