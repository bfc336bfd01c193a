package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/verify"
)

// TestCases: what every case says about itself.
func TestCases(t *testing.T) {
	ids := map[string]bool{}
	client := regexp.MustCompile(`^every client$|^(docker|podman|buildah|buildx|skopeo|containerd|crane|ko|kaniko|regctl|oras|helm)(, |$)`)
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, c := range verify.Cases() {
		if ids[c.ID] || !form.MatchString(c.ID) {
			t.Errorf("the ID %q is there twice, or is not of the form", c.ID)
		}
		ids[c.ID] = true
		if !strings.HasSuffix(c.Requirement, ".") || strings.ContainsAny(c.Requirement+c.Impact, "—") {
			t.Errorf("%s: the rule %q is no sentence", c.ID, c.Requirement)
		}
		if c.Impact == "" || strings.HasSuffix(c.Impact, ".") {
			t.Errorf("%s: what breaks is %q", c.ID, c.Impact)
		}
		if !slices.Contains([]verify.Level{verify.Must, verify.Should, verify.May}, c.Level) || !slices.Contains(verify.Groups(), c.Group) {
			t.Errorf("%s: no such level or group: %s, %s", c.ID, c.Level, c.Group)
		}
		if c.SpecURL() == "" && !strings.HasPrefix(c.Section, "RFC ") && !strings.HasPrefix(c.Section, "image-spec ") && !client.MatchString(c.Section) {
			t.Errorf("%s: no such section: %q", c.ID, c.Section)
		}
	}
}

func TestRunUnreachable(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	closed := serve(t, wantsBasic("me", "secret")(newRegistry(t)))
	for name, opts := range map[string]verify.Options{
		"nobody there":      {URL: gone.URL},
		"no credentials":    {URL: closed},
		"wrong credentials": {URL: closed, Username: "me", Password: "wrong"},
		"wrong, for a token": {
			URL: serve(t, wantsBearer("me", "secret")(newRegistry(t))), Username: "me", Password: "wrong",
		},
	} {
		if _, err := verify.Run(t.Context(), opts); !errors.Is(err, verify.ErrUnreachable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want ErrUnreachable", name, err)
		}
	}
}

func TestRunAddresses(t *testing.T) {
	addr := serve(t, newRegistry(t))
	for _, good := range []string{addr, addr + "/", addr + "/v2/", strings.TrimPrefix(addr, "http://")} {
		if report := run(t, verify.Options{URL: good, Only: []string{"ping"}}); !report.OK() || report.URL != addr {
			t.Errorf("%s: OK is %t for %s", good, report.OK(), report.URL)
		}
	}
	for _, bad := range []string{"", "ftp://registry.test", "http://", "http://a b"} {
		if _, err := verify.Run(t.Context(), verify.Options{URL: bad}); err == nil || errors.Is(err, verify.ErrUnreachable) {
			t.Errorf("%q: got %v, want an error about the address", bad, err)
		}
	}
}

// wantsBasic is a registry for one user.
func wantsBasic(username, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, _ := r.BasicAuth(); u != username || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// wantsBearer is a registry for one user, who needs a token for each repository
// and for each of pull and push. It is its own token server.
func wantsBearer(username, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				if u, p, _ := r.BasicAuth(); u != username || p != password {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				_ = json.NewEncoder(w).Encode(map[string]string{"access_token": r.URL.Query().Get("scope")})
				return
			}
			action := "push"
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				action = "pull"
			}
			scope := "repository:" + strings.TrimPrefix(raceRepo(r), "/v2/") + ":" + action
			if r.Header.Get("Authorization") != "Bearer "+scope {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry",scope="%s"`, r.Host, scope))
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestRunCredentials: with the right ones all is as without.
func TestRunCredentials(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"Basic": wantsBasic("me", "secret"), "Bearer": wantsBearer("me", "secret")} {
		addr := serve(t, wrap(newRegistry(t)))
		withUser := strings.Replace(addr, "http://", "http://me:secret@", 1)
		for _, opts := range []verify.Options{{URL: addr, Username: "me", Password: "secret"}, {URL: withUser}} {
			opts.Groups = []verify.Group{verify.Pull, verify.Concurrency}
			opts.Only = []string{"ping", "blob-*", "manifest-get-*", "race-one-tag"}
			for _, r := range run(t, opts).Results {
				if r.Level == verify.Must && r.Status != verify.Passed && r.Status != verify.NotOffered {
					t.Errorf("%s: %s %s: %s\n%v", name, r.Status, r.ID, r.Detail, r.Exchange)
				}
			}
		}
	}
}

func TestRunSelects(t *testing.T) {
	addr := serve(t, newRegistry(t))
	for _, tt := range []struct {
		groups []verify.Group
		only   []string
		want   []string
	}{
		{nil, []string{"ping"}, []string{"ping"}},
		{nil, []string{"blob-get-m*", "ping"}, []string{"ping", "blob-get-missing"}},
		{[]verify.Group{verify.Pull}, []string{"p?ng", "pi*"}, []string{"ping"}},
	} {
		var got []string
		for _, r := range run(t, verify.Options{URL: addr, Groups: tt.groups, Only: tt.only}).Results {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v %v: ran %v, want %v", tt.groups, tt.only, got, tt.want)
		}
	}
	for _, r := range run(t, verify.Options{URL: addr, Groups: []verify.Group{verify.Concurrency}}).Results {
		if r.Group != verify.Concurrency {
			t.Errorf("%s is of the group %s", r.ID, r.Group)
		}
	}
	for _, opts := range []verify.Options{{Only: []string{"pong"}}, {Only: []string{"["}}, {Groups: []verify.Group{verify.Pull}, Only: []string{"race-*"}}, {Groups: []verify.Group{"none"}}} {
		opts.URL = addr
		if _, err := verify.Run(t.Context(), opts); !errors.Is(err, verify.ErrNoMatch) {
			t.Errorf("%v %v: got %v, want ErrNoMatch", opts.Groups, opts.Only, err)
		}
	}
}

// TestRunProgress: each case is told once, whatever runs at once.
func TestRunProgress(t *testing.T) {
	addr := serve(t, newRegistry(t))
	for _, parallel := range []int{-1, 0, 1, 8} {
		told, last := map[string]int{}, 0
		report := run(t, verify.Options{URL: addr, Groups: []verify.Group{verify.Pull}, Parallel: parallel, Progress: func(done, total int, r verify.Result) {
			if done != last+1 || done > total || r.Status == "" {
				t.Errorf("told %d of %d (%s) after %d", done, total, r.Status, last)
			}
			last = done
			told[r.ID]++
		}})
		for _, r := range report.Results {
			if told[r.ID] != 1 {
				t.Errorf("%d at once: %s was told %d times", parallel, r.ID, told[r.ID])
			}
		}
		if len(told) != len(report.Results) {
			t.Errorf("%d were told, want %d", len(told), len(report.Results))
		}
	}
}

// limited is a registry that takes no larger body.
func limited(limit int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body := requestBody(r); int64(len(body)) > limit {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestRunMaxBody: under a known limit only what needs more is not verified.
func TestRunMaxBody(t *testing.T) {
	const limit = 60_000 // race-one-blob and race-upload-readers need more
	inner := newRegistry(t)
	report := run(t, verify.Options{URL: serve(t, limited(limit)(inner)), MaxBody: limit, Groups: []verify.Group{verify.Pull, verify.Concurrency}})
	for _, r := range report.Results {
		want := verify.Passed
		if slices.Contains([]string{"race-one-blob", "race-one-blob-many-repositories", "race-upload-readers"}, r.ID) {
			want = verify.OverLimit
		}
		if r.Status != want && r.Status != verify.NotOffered {
			t.Errorf("%s: %s %s, want it %s\n%v", r.ID, r.Status, r.Detail, want, r.Exchange)
		}
	}
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"no limit":   limited(1 << 40),
		"not by 413": turns(on("PUT|POST|PATCH", "."), http.StatusCreated, http.StatusInternalServerError),
	} {
		report := run(t, verify.Options{URL: serve(t, wrap(inner)), MaxBody: limit, Only: []string{"race-one-blob"}})
		if r := report.Results[0]; r.Status != verify.Failed || report.OK() {
			t.Errorf("%s: %s %s, want it to fail", name, r.Status, r.Detail)
		}
	}
}

// TestRunKeep: the manifests, tags and uploads of the cases are gone afterwards, or are not. (The blobs of
// a deleted repository wait for the sweep.)
func TestRunKeep(t *testing.T) {
	inner := newRegistry(t)
	for _, keep := range []bool{false, true} {
		var mu sync.Mutex
		var pushed, lists, sessions []string
		addr := serve(t, answers(on("PUT|POST", `/v2/.`), func(r *reply) {
			mu.Lock()
			defer mu.Unlock()
			switch r.status {
			case http.StatusCreated:
				if location := r.header.Get("Location"); strings.Contains(location, "/manifests/") {
					pushed = append(pushed, location)
				}
				lists = append(lists, raceRepo(r.request)+"/tags/list")
			case http.StatusAccepted:
				sessions = append(sessions, r.header.Get("Location"))
			}
		})(inner))
		run(t, verify.Options{URL: addr, Keep: keep, Only: []string{"manifest-get-by-*", "blob-get", "manifest-get-content-type", "race-chunk-same", "race-upload-put-losers", "race-one-tag"}})
		there := 0
		for _, target := range pushed {
			if record(inner, httptest.NewRequest(http.MethodHead, target, nil)).ok() {
				there++
			}
		}
		for _, target := range lists {
			there += len(tagsOf(record(inner, httptest.NewRequest(http.MethodGet, target, nil))))
		}
		if len(pushed) == 0 || keep && there < len(pushed) || !keep && there > 0 {
			t.Errorf("Keep is %t: of %d that were pushed and their tags %d are there", keep, len(pushed), there)
		}
		for _, target := range sessions {
			if record(inner, httptest.NewRequest(http.MethodGet, target, nil)).ok() {
				t.Errorf("Keep is %t: the upload %s is left", keep, target)
			}
		}
	}
}

// TestRunKeepsCredentials: they are sent to the registry alone, and not where it
// sends the client.
func TestRunKeepsCredentials(t *testing.T) {
	inner := newRegistry(t)
	for name, wrap := range map[string]func(http.Handler) http.Handler{"Basic": wantsBasic("me", "secret"), "Bearer": wantsBearer("me", "secret")} {
		asked := 0
		var mu sync.Mutex
		elsewhere := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			if r.Header.Get("Authorization") != "" {
				t.Errorf("%s: the credentials were sent to another host", name)
			}
			inner.ServeHTTP(w, r)
		}))
		redirects := answers(on("GET|PUT", `/blobs/`), func(r *reply) {
			r.status = http.StatusTemporaryRedirect
			r.header.Set("Location", elsewhere+r.request.URL.RequestURI())
			r.setBody(nil)
		})
		// The answer is the other host's: the registry itself does nothing.
		empty := redirects(http.NotFoundHandler())
		registry := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") && (r.Method == http.MethodGet || r.Method == http.MethodPut) {
				empty.ServeHTTP(w, r)
				return
			}
			inner.ServeHTTP(w, r)
		})
		report := run(t, verify.Options{URL: serve(t, wrap(registry)), Username: "me", Password: "secret", Only: []string{"blob-get", "blob-empty"}})
		for _, r := range report.Results {
			if r.Status != verify.Passed {
				t.Errorf("%s: %s %s: %s\n%v", name, r.Status, r.ID, r.Detail, r.Exchange)
			}
		}
		if asked == 0 {
			t.Errorf("%s: nobody came to the other host", name)
		}
	}
}

// TestRunSameHost: absolute locations on the registry's own host are asked with
// credentials, however the address was written.
func TestRunSameHost(t *testing.T) {
	registry := newRegistry(t)
	var srv *httptest.Server
	srv = httptest.NewServer(wantsBasic("me", "secret")(answers(on("POST", toUploads), func(r *reply) {
		r.header.Set("Location", "http://localhost:"+portOf(srv.URL)+r.header.Get("Location"))
	})(registry)))
	t.Cleanup(srv.Close)
	report := run(t, verify.Options{URL: "http://LOCALHOST:" + portOf(srv.URL), Username: "me", Password: "secret", Only: []string{"blob-get"}})
	if r := report.Results[0]; r.Status != verify.Passed {
		t.Errorf("%s %s\n%v", r.Status, r.Detail, r.Exchange)
	}
}

func portOf(addr string) string {
	u, _ := url.Parse(addr) // of httptest
	return u.Port()
}
