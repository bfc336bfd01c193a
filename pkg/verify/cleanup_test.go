package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/verify"
)

// site is a registry that has an image, and whose clock can be set forward.
type site struct {
	t       *testing.T
	clock   storetest.Clock
	reg     *registry.Registry
	handler http.Handler
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	meta, blobs := storetest.Open(t)
	log := slog.New(slog.DiscardHandler)
	s.reg = registry.New(meta, blobs, registry.Options{Log: log, Now: s.clock.Now})
	s.handler = server.All(s.reg, server.Options{Log: log})
	s.push("team/app", "v1", "existing")
	return s
}

// do sends a request to the registry, and expects the status.
func (s *site) do(status int, method, target, contentType string, body []byte) *reply {
	s.t.Helper()
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	got := record(s.handler, r)
	if got.status != status {
		s.t.Fatalf("%s %s: %d %s", method, target, got.status, got.body)
	}
	return got
}

// push pushes an image with an empty config, which many images share.
func (s *site) push(repo, tag, note string) (manifest []byte) {
	s.t.Helper()
	config := []byte("{}")
	d := oci.SHA256.FromBytes(config)
	opened := s.do(http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	s.do(http.StatusCreated, "PUT", verify.AddQuery(opened.header.Get("Location"), "digest", string(d)), "application/octet-stream", config)
	manifest = imageOf(note)
	s.do(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, oci.MediaTypeImageManifest, manifest)
	return manifest
}

// imageOf returns a manifest whose only blob is {}.
func imageOf(note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[],"annotations":{"n":%q}}`,
		oci.SHA256.FromBytes([]byte("{}")), note)
}

func (s *site) catalog() []string {
	s.t.Helper()
	var list struct{ Repositories []string }
	if err := json.Unmarshal(s.do(http.StatusOK, "GET", "/v2/_catalog?n=1000", "", nil).body, &list); err != nil {
		s.t.Fatal(err)
	}
	return list.Repositories
}

// contents collects garbage and returns what is in the store then.
func (s *site) contents() []string {
	s.t.Helper()
	storetest.Sweep(s.t, s.reg, &s.clock)
	if !storetest.Embedded {
		return s.catalog()
	}
	return storetest.Contents(s.t)
}

// wantSame fails unless the store is as before the run after garbage collection, and the image is there.
func (s *site) wantSame(before []string, report *verify.Report) {
	s.t.Helper()
	did := report.CleanUp
	if did.Remaining != (verify.Counts{}) || did.Removed.Manifests+did.Removed.Uploads == 0 {
		s.t.Errorf("clean-up: %+v", did)
	}
	if after := s.contents(); !slices.Equal(before, after) {
		s.t.Errorf("%d rows and objects before, %d after:\n%s", len(before), len(after), strings.Join(after, "\n"))
	}
	s.do(http.StatusOK, "GET", "/v2/team/app/manifests/v1", "", nil)
	s.do(http.StatusOK, "HEAD", "/v2/team/app/blobs/"+string(oci.SHA256.FromBytes([]byte("{}"))), "", nil)
}

// TestRunCancelled: after Ctrl-C the run deletes its content, too.
func TestRunCancelled(t *testing.T) {
	s := newSite(t)
	addr, before := serve(t, s.handler), s.contents()
	ctx, cancel := context.WithCancel(t.Context())
	report, err := verify.Run(ctx, verify.Options{URL: addr, Progress: func(done, _ int, _ verify.Result) {
		if done == 60 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || report == nil {
		t.Fatalf("cancelled on the way: got %v", err)
	}
	s.wantSame(before, report)
	if _, err := verify.Run(ctx, verify.Options{URL: addr}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: got %v", err)
	}
}

// TestRunFails: the content of failed cases is deleted, and that of a run among existing images.
func TestRunFails(t *testing.T) {
	s := newSite(t)
	before := s.contents()
	wrong := drops(on("PUT|POST", "."), "Docker-Content-Digest")(turns(on("GET", toManifest), http.StatusOK, http.StatusTeapot)(s.handler))
	report := run(t, verify.Options{URL: serve(t, wrong), Groups: []verify.Group{verify.Pull, verify.Discovery}, Repositories: "team/app"})
	if report.Count(verify.Failed)+report.Count(verify.Skipped) == 0 {
		t.Error("no case has failed")
	}
	if !strings.HasPrefix(report.CleanUp.Prefix, "team/app/") {
		t.Errorf("the repositories begin with %s", report.CleanUp.Prefix)
	}
	s.wantSame(before, report)
}

// TestRunCannotDelete: a registry that deletes nothing passes nevertheless. It is not asked for
// each manifest and blob.
func TestRunCannotDelete(t *testing.T) {
	var mu sync.Mutex
	deletes := 0
	s := newSite(t)
	for _, status := range []int{http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusServiceUnavailable} {
		deletes = 0
		steps := 0
		addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodDelete {
				s.handler.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			deletes++
			w.WriteHeader(status)
		}))
		report := run(t, verify.Options{URL: addr, Groups: []verify.Group{verify.Pull}, CleaningUp: func(done, total int) {
			if steps++; done != steps || done > total {
				t.Errorf("progress: %d of %d after %d", done, total, steps-1)
			}
		}})
		did := report.CleanUp
		if !report.OK() || did.Removed != (verify.Counts{}) || did.Remaining.Manifests < 10 || did.Remaining.Blobs < 20 {
			t.Errorf("%d: OK is %t, %+v", status, report.OK(), did)
		}
		if deletes > steps+60 {
			t.Errorf("%d: %d requests for %d repositories", status, deletes, steps)
		}
		var text strings.Builder
		if err := did.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if got := text.String(); !strings.HasPrefix(got, "remaining: ") || strings.Count(got, "\n") != 1 ||
			!strings.Contains(got, fmt.Sprint("answered ", status)) || !strings.Contains(got, did.Prefix) {
			t.Errorf("%d: %s", status, got)
		}
		if names := s.catalog(); status == http.StatusMethodNotAllowed && len(names)-1 != did.Remaining.Repositories {
			t.Errorf("%d names, %+v", len(names), did)
		}
	}
}

// fake is a registry that stores nothing: it has one answer for each DELETE, and accepts everything else.
type fake struct {
	mu      sync.Mutex
	deleted []string
	answers func(path string, before []string) (status int, body string)
	tags    []string // of each repository, unless they are deleted
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	path := r.URL.EscapedPath()
	switch {
	case r.Method == http.MethodDelete:
		status, body := f.answers(path, f.deleted)
		f.deleted = append(f.deleted, path)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	case strings.HasSuffix(path, "/tags/list"):
		tags := slices.DeleteFunc(slices.Clone(f.tags), func(tag string) bool {
			return slices.Contains(f.deleted, strings.TrimSuffix(path, "tags/list")+"manifests/"+tag)
		})
		_ = json.NewEncoder(w).Encode(map[string][]string{"tags": tags})
	case r.Method == http.MethodPost && !r.URL.Query().Has("mount"):
		w.Header().Set("Location", "http://elsewhere.test"+path+"session?state=1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPatch:
		w.Header().Set("Location", path+"?state=2")
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

// notWhole answers a DELETE as a registry that cannot delete repositories.
func notWhole(path string, _ []string) (int, string) {
	if strings.HasSuffix(path, "/_pierless/repository") {
		return http.StatusNotFound, "page not found"
	}
	return http.StatusAccepted, ""
}

// pushed is a request to the fake.
type pushed struct{ method, target, body string }

// TestCleanUp: which requests delete what was pushed.
func TestCleanUp(t *testing.T) {
	const own, more = "/v2/own/1-", `{"manifests":2,"tags":1,"more":true}`
	digest := func(s string) string { return string(oci.SHA256.FromBytes([]byte(s))) }
	one, two := pushed{"PUT", own + "a/manifests/v1", "one"}, pushed{"PUT", own + "a/manifests/" + digest("two"), "two"}
	blob := pushed{"PUT", own + "a/blobs/uploads/session?digest=" + digest("blob"), ""}
	for name, tt := range map[string]struct {
		pushes  []pushed
		answers func(string, []string) (int, string)
		tags    []string
		want    []string // DELETE requests, without /v2/
		removed verify.Counts
		remain  verify.Counts
	}{
		"nothing": {pushes: []pushed{{"GET", own + "a/manifests/v1", ""}, {"DELETE", own + "a/manifests/v1", ""}}, answers: notWhole},
		"the last first": {
			pushes: []pushed{one, blob, two, one}, answers: notWhole,
			want:    []string{own + "a/_pierless/repository", own + "a/manifests/" + digest("two"), own + "a/manifests/" + digest("one"), own + "a/blobs/" + digest("blob")},
			removed: verify.Counts{Manifests: 2, Blobs: 1}, remain: verify.Counts{Repositories: 1},
		},
		"tags that outlive their manifests": {
			pushes: []pushed{one}, answers: notWhole, tags: []string{"v1", "v2"},
			want:    []string{own + "a/_pierless/repository", own + "a/manifests/" + digest("one"), own + "a/manifests/v2", own + "a/manifests/v1"},
			removed: verify.Counts{Manifests: 1, Tags: 2}, remain: verify.Counts{Repositories: 1},
		},
		"a manifest that another one refers to": {
			pushes: []pushed{one, two}, answers: func(path string, before []string) (int, string) {
				if strings.HasSuffix(path, digest("two")) && !slices.Contains(before, own+"a/manifests/"+digest("one")) {
					return http.StatusConflict, ""
				}
				return notWhole(path, before)
			},
			want:    []string{own + "a/_pierless/repository", own + "a/manifests/" + digest("two"), own + "a/manifests/" + digest("one"), own + "a/manifests/" + digest("two")},
			removed: verify.Counts{Manifests: 2}, remain: verify.Counts{Repositories: 1},
		},
		"busy once": {
			pushes: []pushed{blob}, answers: func(path string, before []string) (int, string) {
				if slices.Contains(before, path) {
					return notWhole(path, before)
				}
				return http.StatusServiceUnavailable, ""
			},
			want:    []string{own + "a/_pierless/repository", own + "a/_pierless/repository", own + "a/blobs/" + digest("blob"), own + "a/blobs/" + digest("blob")},
			removed: verify.Counts{Blobs: 1}, remain: verify.Counts{Repositories: 1},
		},
		"whole, in two steps": {
			pushes: []pushed{one, blob}, answers: func(_ string, before []string) (int, string) {
				return http.StatusAccepted, []string{more, `{"manifests":1,"tags":0,"more":false}`}[len(before)]
			},
			want:    []string{own + "a/_pierless/repository", own + "a/_pierless/repository"},
			removed: verify.Counts{Repositories: 1, Manifests: 3, Tags: 1},
		},
		"whole, and the rest is gone": {
			pushes: []pushed{one}, answers: func(_ string, before []string) (int, string) {
				return []int{http.StatusAccepted, http.StatusNotFound}[len(before)], more
			},
			want:    []string{own + "a/_pierless/repository", own + "a/_pierless/repository"},
			removed: verify.Counts{Repositories: 1, Manifests: 2, Tags: 1},
		},
		"202 of a proxy": {
			pushes: []pushed{one}, answers: func(string, []string) (int, string) { return http.StatusAccepted, "<html>" },
			want:    []string{own + "a/_pierless/repository", own + "a/manifests/" + digest("one")},
			removed: verify.Counts{Manifests: 1}, remain: verify.Counts{Repositories: 1},
		},
		"open uploads, on this host only": {
			pushes: []pushed{{"POST", own + "a/blobs/uploads/", ""}, {"PATCH", own + "a/blobs/uploads/session?state=1", "x"}}, answers: notWhole,
			want:    []string{own + "a/blobs/uploads/session", own + "a/_pierless/repository"},
			removed: verify.Counts{Uploads: 1}, remain: verify.Counts{Repositories: 1},
		},
		"ended uploads": {
			pushes: []pushed{{"POST", own + "a/blobs/uploads/", ""}, {"DELETE", own + "a/blobs/uploads/session", ""}}, answers: notWhole,
			want: []string{own + "a/_pierless/repository"}, remain: verify.Counts{Repositories: 1},
		},
		"another host": {pushes: []pushed{{"PUT", serve(t, &fake{}) + own + "a/manifests/v1", "one"}}, answers: notWhole},
		"mounts": {
			pushes: []pushed{{"POST", own + "a/blobs/uploads/?mount=" + digest("blob") + "&from=x", ""}}, answers: notWhole,
			want:    []string{own + "a/_pierless/repository", own + "a/blobs/" + digest("blob")},
			removed: verify.Counts{Blobs: 1}, remain: verify.Counts{Repositories: 1},
		},
		"the repository of others": { // blobs and tags may belong to their images
			pushes: []pushed{{"PUT", "/v2/other/a/manifests/v1", "one"}, {"PUT", "/v2/other/a/blobs/uploads/x?digest=" + digest("{}"), "{}"}}, answers: notWhole,
			tags: []string{"v1", "theirs"}, want: []string{"/v2/other/a/manifests/" + digest("one")}, removed: verify.Counts{Manifests: 1},
		},
		"a way out of the own repositories": {
			pushes: []pushed{{"PUT", own + "a/%2e%2e/%2e%2e/other/manifests/v1", "one"}}, answers: notWhole,
			want: []string{own + "a/%2e%2e/%2e%2e/other/manifests/" + digest("one")}, removed: verify.Counts{Manifests: 1},
		},
		"names with the words of paths": {
			pushes: []pushed{{"PUT", own + "manifests/blobs/manifests/v1", "one"}}, answers: notWhole,
			want:    []string{own + "manifests/blobs/_pierless/repository", own + "manifests/blobs/manifests/" + digest("one")},
			removed: verify.Counts{Manifests: 1}, remain: verify.Counts{Repositories: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{answers: func(string, []string) (int, string) { return http.StatusAccepted, "" }}
			c, err := verify.NewClient(verify.ClientOptions{URL: serve(t, f)})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.pushes {
				if r := c.Do(t.Context(), verify.Request{Method: p.method, Target: p.target, Body: []byte(p.body)}); r.Status/100 != 2 {
					t.Fatal(r)
				}
			}
			f.deleted, f.answers, f.tags = nil, tt.answers, tt.tags
			did := c.CleanUp(t.Context(), verify.CleanUpOptions{Prefix: "own/1-"})
			if !slices.Equal(f.deleted, tt.want) || did.Removed != tt.removed || did.Remaining != tt.remain {
				t.Errorf("%+v\n%s\nwant %+v, %+v\n%s", did, strings.Join(f.deleted, "\n"), tt.removed, tt.remain, strings.Join(tt.want, "\n"))
			}
			if again := c.CleanUp(t.Context(), verify.CleanUpOptions{Prefix: "own/1-"}); again.Removed != (verify.Counts{}) {
				t.Errorf("the second clean-up deletes %+v", again)
			}
		})
	}
}

// TestCleanUpLostAnswer: content whose answer was lost is deleted.
func TestCleanUpLostAnswer(t *testing.T) {
	s := newSite(t)
	before := s.contents()
	manifest := imageOf("lost")
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := record(s.handler, r)
		if r.Method == http.MethodPut {
			panic(http.ErrAbortHandler)
		}
		got.send(w)
	}))
	c, err := verify.NewClient(verify.ClientOptions{URL: srv})
	if err != nil {
		t.Fatal(err)
	}
	reply := c.Do(t.Context(), verify.Request{
		Method: "PUT", Target: "/v2/team/app/manifests/v2", Body: manifest, Header: http.Header{"Content-Type": {oci.MediaTypeImageManifest}},
	})
	if reply.Status != 0 {
		t.Fatal(reply)
	}
	s.do(http.StatusOK, "GET", "/v2/team/app/manifests/v2", "", nil)
	s.wantSame(before, &verify.Report{CleanUp: c.CleanUp(t.Context(), verify.CleanUpOptions{Prefix: "own/1-"})})
	s.do(http.StatusNotFound, "GET", "/v2/team/app/manifests/v2", "", nil)
}

// TestCleanUpEnds: a registry that is gone, and one that always has more to delete, do not keep it
// from ending.
func TestCleanUpEnds(t *testing.T) {
	f := &fake{answers: func(string, []string) (int, string) { return http.StatusAccepted, `{"more":true}` }}
	srv := httptest.NewServer(f)
	c, err := verify.NewClient(verify.ClientOptions{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	push := func() {
		for i := range 100 {
			c.Do(t.Context(), verify.Request{Method: "PUT", Target: fmt.Sprintf("/v2/own/1-%d/manifests/v1", i), Body: []byte{byte(i)}})
		}
	}
	push()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if did := c.CleanUp(ctx, verify.CleanUpOptions{Prefix: "own/1-"}); did.Remaining.Manifests != 100 || did.Reason == "" {
		t.Errorf("without time: %+v", did)
	}
	push()
	srv.Close()
	if did := c.CleanUp(t.Context(), verify.CleanUpOptions{Prefix: "own/1-"}); did.Remaining.Manifests != 100 || !strings.Contains(did.Reason, "no response") {
		t.Errorf("without a registry: %+v", did)
	}
}
