package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// removal is a run of the simulation in which repositories are deleted beside pushes.
type removal struct {
	s     *sim
	ended map[string]int // the step at which the delete of a repository ended
	last  []*lastPush
}

// lastPush is the last image of a pusher.
type lastPush struct {
	client
	began int // step
	done  bool
}

// pusher pushes an image again and again, as one process that remembers the repository: three times,
// and further until a push began after the delete.
func (v *removal) pusher(c client) func(context.Context, *Registry) error {
	p := &lastPush{client: c}
	v.last = append(v.last, p)
	return func(ctx context.Context, r *Registry) (err error) {
		for round := 0; round < 3 || round < 20 && !p.after(v); round++ {
			for range 5 {
				p.began, p.done = v.s.steps, false
				if err = c.push(ctx, r); err == nil || errors.Is(err, errCrashed) {
					break
				}
			}
			if p.done = err == nil; errors.Is(err, errCrashed) {
				return err
			}
		}
		return err
	}
}

// after reports whether the last push began after the delete of its repository.
func (p *lastPush) after(v *removal) bool {
	ended, deleted := v.ended[p.repo]
	return deleted && p.began >= ended
}

// remover deletes both repositories after some steps, as a client that repeats what fails. Most
// pushers remember their repositories by then.
func (v *removal) remover(steps int, within time.Duration) func(context.Context, *Registry) error {
	return func(ctx context.Context, r *Registry) error {
		r.opts.VerifyFor = within
		for range steps {
			_ = r.opts.Sleep(ctx, 0)
		}
		for _, repo := range []string{"r", "q"} {
			err := removeAll(ctx, r, repo)
			v.ended[repo] = v.s.steps
			if errors.Is(err, errCrashed) {
				return err
			}
		}
		return nil
	}
}

// removeAll repeats the delete of a repository until it is done.
func removeAll(ctx context.Context, r *Registry, repo string) (err error) {
	for range 50 {
		did, err := r.DeleteRepository(ctx, repo)
		switch {
		case errors.Is(err, errCrashed):
			return err
		case errors.Is(err, oci.NewError(oci.NameUnknown, "")), err == nil && !did.More:
			return nil
		}
	}
	return errors.New("the delete of the repository does not end")
}

// check demands that each image which was pushed after the delete of its repository is there, with
// its tag, and that the lists have the repository. Then it deletes both repositories beside
// collections, and demands that the lists do not have them.
func (v *removal) check(t *testing.T, kept bool) {
	t.Helper()
	v.s.decide = func(*pending) fate { return lives }
	alone(t, v.s, func(ctx context.Context, r *Registry, _ simBlobs) {
		list, err := r.Repositories(ctx, "", MaxPage, nil)
		for _, p := range v.last {
			if !p.done || !kept || !p.after(v) {
				continue
			}
			tags, tagsErr := r.Tags(ctx, p.repo, "", MaxPage)
			switch {
			case !v.s.world.resolves(p.repo, p.tag, p.manifest()):
				t.Errorf("%s:%s was pushed after the delete and is lost", p.repo, p.tag)
			case err != nil || tagsErr != nil:
				t.Errorf("lists: %v, %v", err, tagsErr)
			case !slices.Contains(list.Names, p.repo):
				t.Errorf("%s was pushed after the delete, and the catalog is %q", p.repo, list.Names)
			case !slices.Contains(tags.Names, p.tag):
				t.Errorf("%s:%s was pushed after the delete, and the tags are %q", p.repo, p.tag, tags.Names)
			}
		}
	})
	for len(v.s.late) > 0 {
		_ = v.s.late[0]()
		v.s.late = v.s.late[1:]
	}
	v.s.spawn(0, collector)
	v.s.spawn(0, func(ctx context.Context, r *Registry) error {
		for _, repo := range []string{"r", "q"} {
			if err := removeAll(ctx, r, repo); err != nil {
				t.Error(err)
			}
			list, err := r.Repositories(ctx, "", MaxPage, nil)
			if _, tagsErr := r.Tags(ctx, repo, "", MaxPage); !errors.Is(tagsErr, oci.NewError(oci.NameUnknown, "")) || err != nil || slices.Contains(list.Names, repo) {
				t.Errorf("%s was deleted; the catalog is %q (%v), the tags say %v", repo, list.Names, err, tagsErr)
			}
		}
		return nil
	})
	v.s.run()
}

// smallSkew is the error of a clock that the rule for remembered repositories allows: a process may
// remember a row for a quarter of a grace, so two clocks may differ by less than three quarters.
func smallSkew(s *sim) time.Duration {
	return time.Duration(s.rng.Int64N(int64(simGrace*2/3))) - simGrace/3
}

// plain is a registry over a world in memory, with a clock and without a scheduler.
type plain struct {
	*Registry
	mu    sync.Mutex // one call at a time
	w     *world
	clock time.Time
	after func(what string) // is called after each call, if set, with its kind

	process func() *Registry // starts another process over the same world
}

func newPlain(t *testing.T) *plain {
	t.Helper()
	p := &plain{w: newWorld(t.Errorf), clock: time.Unix(1_000_000, 0)}
	p.w.now = func() time.Time { return p.clock }
	at := func(what string, call func() error) error {
		p.mu.Lock()
		err := call()
		after := p.after
		p.mu.Unlock()
		if after != nil {
			after(what)
		}
		return err
	}
	p.process = func() *Registry {
		return New(simMetadata{p.w, at}, simBlobs{p.w, at}, Options{
			Grace: simGrace, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return p.clock },
		})
	}
	p.Registry = p.process()
	return p
}

// once runs f after the n-th call of a kind.
func (p *plain) once(what string, n int, f func()) {
	p.after = func(is string) {
		if is != what {
			return
		}
		if n--; n == 0 {
			p.after = nil
			f()
		}
	}
}

// write writes rows behind the back of the rules.
func (p *plain) write(t *testing.T, writes ...Write) {
	t.Helper()
	for _, w := range writes {
		w.Op = Put
		if _, err := p.meta.Update(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeleteRepository: the counts, the content that stays, and a push by a process that remembers the
// repository.
func TestDeleteRepository(t *testing.T) {
	r, ctx := newPlain(t), t.Context()
	images := []client{
		{repo: "r", tag: "a", layers: []string{"one"}},
		{repo: "r", tag: "b", layers: []string{"two"}, big: true},
		{repo: "r", tag: "c", layers: []string{"two"}, big: true},
		{repo: "other", tag: "a", layers: []string{"one"}},
	}
	for _, c := range images {
		if err := c.push(ctx, r.Registry); err != nil {
			t.Fatal(err)
		}
	}
	u, err := r.StartUpload(ctx, "r", "")
	if err != nil {
		t.Fatal(err)
	}
	gone, pending := oci.SHA256.FromBytes([]byte("no manifest")), oci.SHA256.FromBytes([]byte("a push"))
	r.write(t, Write{Key: tagKey("r", "dangling"), Attrs: encode(tagRow{Digest: gone})}, Write{Key: edgeKey("r", gone, "dangling")},
		Write{Key: tagKey("r", "early"), Attrs: encode(tagRow{Digest: pending})},
		Write{Key: manifestKey("r", pending), Attrs: encode(manifestRow{State: manifestPending, Renewed: r.now()})})
	if did, err := r.DeleteRepository(ctx, "r"); err != nil || did != (oci.DeletedRepository{Manifests: 2, Tags: 5}) {
		t.Errorf("%+v, %v", did, err)
	}
	for key := range r.w.rows {
		if key == manifestKey("r", pending) || !strings.HasPrefix(key.PK[1:], "#r") || strings.HasPrefix(key.PK, "Q#") {
			continue
		}
		t.Errorf("left: %v", key)
	}
	if r.w.rows[manifestKey("r", pending)] == nil {
		t.Error("the pending manifest is gone")
	}
	if _, err := r.UploadStatus(ctx, "r", u.ID); err != nil {
		t.Errorf("the upload: %v", err)
	}
	wantLists(t, r.Registry, "r", false)
	_, err = r.DeleteRepository(ctx, "r")
	wantCode(t, "again", err, oci.NameUnknown)
	_, err = r.DeleteRepository(ctx, "nothing")
	wantCode(t, "no repository", err, oci.NameUnknown)
	if !r.knows("r") {
		t.Error("the process does not remember the repository: the test tells nothing")
	}
	if err := images[0].push(ctx, r.Registry); err != nil {
		t.Error(err)
	}
	wantLists(t, r.Registry, "r", true)
	r.clock = r.clock.Add(2 * simGrace)
	if _, err := r.Collect(ctx, MaxPage); err != nil {
		t.Error(err)
	}
	wantLists(t, r.Registry, "r", true)
	if state := r.w.rows[repositoryKey("r")].text(attrState); state != string(repositoryLive) {
		t.Errorf("after the review, the catalog row is %q", state)
	}
	if err := r.DeleteTag(ctx, "r", "a"); err != nil { // an image without a tag is one
		t.Error(err)
	}
	if did, err := r.DeleteRepository(ctx, "r"); err != nil || did.Manifests != 1 {
		t.Errorf("%+v, %v", did, err)
	}
	r.clock = r.clock.Add(2 * simGrace)
	for range 3 {
		if _, err := r.Collect(ctx, MaxPage); err != nil {
			t.Error(err)
		}
	}
	if r.w.rows[repositoryKey("r")] != nil {
		t.Error("the catalog row is left")
	}
}

// wantLists demands that the catalog has a repository, and that it has a list of tags, or neither.
func wantLists(t *testing.T, r *Registry, repo string, want bool) {
	t.Helper()
	list, err := r.Repositories(t.Context(), "", MaxPage, nil)
	filtered, filteredErr := r.Repositories(t.Context(), "", MaxPage, func(string) bool { return true })
	_, tagsErr := r.Tags(t.Context(), repo, "", MaxPage)
	if errors.Is(tagsErr, oci.NewError(oci.NameUnknown, "")) == want {
		t.Errorf("tags of %s: %v", repo, tagsErr)
	}
	if err := errors.Join(err, filteredErr); err != nil || !slices.Equal(list.Names, filtered.Names) || slices.Contains(list.Names, repo) != want {
		t.Errorf("catalog %q and %q, %v; %s should be listed: %t", list.Names, filtered.Names, err, repo, want)
	}
}

// TestDeleteRepositoryInSteps: a call that has no time deletes one manifest, and says that it must be
// repeated.
func TestDeleteRepositoryInSteps(t *testing.T) {
	r, ctx := newPlain(t), t.Context()
	for _, tag := range []string{"a", "b", "c"} {
		if err := (client{repo: "r", tag: tag, layers: []string{tag}}).push(ctx, r.Registry); err != nil {
			t.Fatal(err)
		}
	}
	r.opts.VerifyFor = -1
	for _, want := range []oci.DeletedRepository{{Manifests: 1, Tags: 1, More: true}, {Manifests: 1, Tags: 1, More: true}, {Manifests: 1, Tags: 1}} {
		if did, err := r.DeleteRepository(ctx, "r"); err != nil || did != want {
			t.Errorf("%+v, %v, want %+v", did, err, want)
		}
		wantLists(t, r.Registry, "r", want.More)
	}
}

// TestDeleteRepositoryBesideAReview: a collection has seen a manifest of an idle repository, which is
// deleted before the collection ends the mark.
func TestDeleteRepositoryBesideAReview(t *testing.T) {
	r, ctx, c := newPlain(t), t.Context(), client{repo: "r", tag: "a", layers: []string{"one"}}
	if err := c.push(ctx, r.Registry); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteRepository(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if err := c.push(ctx, r.Registry); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(2 * simGrace)
	review := Row{Key: reviewKey("r", 0, "due")}
	r.write(t, Write{Key: review.Key, Attrs: encode(reviewRow{Kind: reviewRepo, Repo: "r"})})
	r.once("query", 1, func() {
		if did, err := r.DeleteRepository(ctx, "r"); err != nil || did.Manifests != 1 {
			t.Errorf("%+v, %v", did, err)
		}
	})
	if err := r.reviewRepository(ctx, review, "r", &Collected{}); err != nil || r.after != nil {
		t.Errorf("%v", err)
	}
	wantLists(t, r.Registry, "r", false)
}

// TestDeleteRepositoryBesideAPush: a tag has no manifest, and a push publishes it after the delete has
// looked for manifests, or after it has looked for that of the tag.
func TestDeleteRepositoryBesideAPush(t *testing.T) {
	for name, at := range map[string]struct {
		call string
		n    int
	}{"after all manifests": {"query", 1}, "after that of the tag": {"get", 2}} {
		t.Run(name, func(t *testing.T) {
			r, ctx, c := newPlain(t), t.Context(), client{repo: "r", tag: "a", layers: []string{"one"}}
			d := oci.SHA256.FromBytes(c.manifest())
			r.write(t, Write{Key: tagKey("r", "a"), Attrs: encode(tagRow{Digest: d})})
			r.once(at.call, at.n, func() {
				if err := c.push(ctx, r.Registry); err != nil {
					t.Error(err)
				}
			})
			if did, err := r.DeleteRepository(ctx, "r"); err != nil && !errors.Is(err, oci.NewError(oci.NameUnknown, "")) || did.Tags != 0 {
				t.Errorf("%+v, %v", did, err)
			}
			if m, err := r.FindManifest(ctx, "r", oci.Reference{Tag: "a"}); err != nil || m.Digest != d {
				t.Errorf("the pushed tag: %+v, %v", m, err)
			}
		})
	}
}

// TestReviewBesideAPush: a review finds an idle repository without manifests, and a process that does
// not remember it pushes before the review deletes the catalog row.
func TestReviewBesideAPush(t *testing.T) {
	r, ctx, c := newPlain(t), t.Context(), client{repo: "r", tag: "a", layers: []string{"one"}}
	if err := c.push(ctx, r.Registry); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteRepository(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(2 * simGrace)
	review := Row{Key: reviewKey("r", 0, "due")}
	r.write(t, Write{Key: review.Key, Attrs: encode(reviewRow{Kind: reviewRepo, Repo: "r"})})
	r.once("query", 1, func() {
		if err := c.push(ctx, r.process()); err != nil {
			t.Error(err)
		}
	})
	if err := r.reviewRepository(ctx, review, "r", &Collected{}); err != nil || r.after != nil {
		t.Errorf("%v", err)
	}
	wantLists(t, r.Registry, "r", true)
}

// TestEarlyReview: the review of a push is due soon after the delete of the repository, and leaves the
// row to a process that remembers it.
func TestEarlyReview(t *testing.T) {
	r, ctx, c := newPlain(t), t.Context(), client{repo: "r", tag: "a", layers: []string{"one"}}
	for range 2 {
		if err := c.push(ctx, r.Registry); err != nil {
			t.Fatal(err)
		}
		r.clock = r.clock.Add(simGrace - time.Minute)
	}
	r.clock = r.clock.Add(2*time.Minute - simGrace)
	if _, err := r.DeleteRepository(ctx, "r"); err != nil {
		t.Fatal(err)
	}
	if did, err := r.Collect(ctx, MaxPage); err != nil || did.Repos != 0 || did.Later == 0 {
		t.Errorf("%+v, %v", did, err)
	}
	if !r.knows("r") {
		t.Error("the process does not remember the repository: the test tells nothing")
	}
	if err := c.push(ctx, r.Registry); err != nil {
		t.Fatal(err)
	}
	wantLists(t, r.Registry, "r", true)
}

// TestPagesWithoutIdle: pages of the catalog have the same names for every size, whatever is left out,
// and the pages of a caller with few permissions end with More false.
func TestPagesWithoutIdle(t *testing.T) {
	r, ctx := newPlain(t), t.Context()
	w := r.w
	var want []string
	calls := 0
	for i := range 40 {
		repo := fmt.Sprintf("r%02d", i)
		state := repositoryLive
		if i%3 > 0 || i > 30 {
			state = repositoryIdle
		}
		if i%5 == 0 {
			w.rows[manifestKey(repo, "sha256:b")] = encode(manifestRow{State: manifestLive})
		}
		w.rows[manifestKey(repo, "sha256:a")] = encode(manifestRow{State: manifestPending})
		w.rows[repositoryKey(repo)] = encode(repositoryRow{State: state})
		if state == repositoryLive || i%5 == 0 {
			want = append(want, repo)
		}
	}
	w.rows[repositoryKey("old")] = Attrs{} // of an earlier version
	want = append([]string{"old"}, want...)
	for n := range 45 {
		for _, readable := range []func(string) bool{nil, func(repo string) bool { calls++; return repo != "r36" }} {
			var got []string
			for page, last := (List{More: n > 0}), ""; page.More; {
				var err error
				if page, err = r.Repositories(ctx, last, n, readable); err != nil {
					t.Fatal(err)
				}
				if len(page.Names) > n || page.More && len(page.Names) < n {
					t.Errorf("a page of %d has %d names, more: %t", n, len(page.Names), page.More)
				}
				if readable != nil && page.More && page.Names[len(page.Names)-1] == want[len(want)-1] {
					t.Error("More tells that there are others")
				}
				if got = append(got, page.Names...); page.More {
					last = page.Names[len(page.Names)-1]
				}
			}
			if n > 0 && !slices.Equal(got, want) {
				t.Errorf("pages of %d: %q, want %q", n, got, want)
			}
		}
	}
	if calls == 0 {
		t.Error("the filter was not asked")
	}
}

// TestPagesOfACaller: a full page of a caller with few permissions does not tell that others follow.
func TestPagesOfACaller(t *testing.T) {
	r := newPlain(t)
	for i := range MaxPage + 1 {
		r.w.rows[repositoryKey(fmt.Sprintf("r%04d", i))] = Attrs{}
	}
	last := fmt.Sprintf("r%04d", MaxPage)
	page, err := r.Repositories(t.Context(), "", MaxPage, func(repo string) bool { return repo != last })
	if err != nil || len(page.Names) != MaxPage || page.More {
		t.Errorf("%d names, more: %t, %v", len(page.Names), page.More, err)
	}
}
