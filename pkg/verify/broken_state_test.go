package verify_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
)

// around handles some requests in a way of its own; next is the registry.
func around(match when, handle func(next http.Handler, r *http.Request) *reply) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) {
				handle(next, r).send(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// ask sends a request of the wrapper's own.
func ask(next http.Handler, method, target string) *reply {
	return record(next, httptest.NewRequest(method, target, http.NoBody))
}

// become answers with a status and nothing else.
func (r *reply) become(status int) {
	r.status, r.header = status, http.Header{}
	r.setBody(nil)
}

// repositoryOf is the path up to the part of the API, "/v2/<name>".
func repositoryOf(path string) string {
	before, _, _ := strings.Cut(path, "/manifests/")
	before, _, _ = strings.Cut(before, "/blobs/")
	before, _, _ = strings.Cut(before, "/tags/list")
	before, _, _ = strings.Cut(before, "/referrers/")
	return before
}

// memory is what a wrapper remembers between requests.
type memory[T any] struct {
	mu sync.Mutex
	m  map[string]T
}

func (m *memory[T]) get(key string) (v T, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, found = m.m[key]
	return v, found
}

func (m *memory[T]) set(key string, v T) (old T, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[string]T{}
	}
	old, found = m.m[key]
	m.m[key] = v
	return old, found
}

// caches answers from what it answered first; only answers that keep says so.
func caches(match when, keep func(*reply) bool) func(http.Handler) http.Handler {
	var seen memory[*reply]
	return around(match, func(next http.Handler, r *http.Request) *reply {
		key := r.Method + " " + r.URL.RequestURI()
		if old, found := seen.get(key); found {
			return &reply{r, old.status, old.header, old.body}
		}
		got := record(next, r)
		if keep(got) {
			seen.set(key, got)
		}
		return got
	})
}

// buries answers 404 for ever for what was deleted once.
func buries(match when) func(http.Handler) http.Handler {
	var dead memory[bool]
	return around(match, func(next http.Handler, r *http.Request) *reply {
		got := record(next, r)
		if r.Method == http.MethodDelete && got.status == http.StatusAccepted {
			dead.set(r.URL.Path, true)
		}
		if _, found := dead.get(r.URL.Path); found && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			got.become(http.StatusNotFound)
		}
		return got
	})
}

// refusesBody answers pushes of manifests whose body has the pattern.
func refusesBody(pattern string, status int) func(http.Handler) http.Handler {
	re := regexp.MustCompile(pattern)
	return refuses(func(r *http.Request) bool {
		return on("PUT", toManifest)(r) && re.Match(requestBody(r))
	}, status)
}

// refusesType answers pushes of manifests of one type.
func refusesType(contentType string, status int) func(http.Handler) http.Handler {
	return refuses(func(r *http.Request) bool {
		return on("PUT", toManifest)(r) && r.Header.Get("Content-Type") == contentType
	}, status)
}

// object is any JSON object.
type object map[string]any

// editsJSON changes the JSON of successes.
func editsJSON(match when, change func(r *reply, body object)) func(http.Handler) http.Handler {
	return successes(match, func(r *reply) { r.editJSON(func(body object) { change(r, body) }) })
}

func (r *reply) editJSON(change func(object)) {
	var body object
	if json.Unmarshal(r.body, &body) != nil {
		return
	}
	change(body)
	b, _ := json.Marshal(body) // it came from JSON
	r.setBody(b)
}

// list is an array of a JSON object.
func (o object) list(key string) []any { l, _ := o[key].([]any); return l }

// manifestText is what wrappers read of a manifest.
type manifestText struct {
	MediaType string
	Config    named
	Layers    []named
	Manifests []named
	Subject   named
}

type named struct{ Digest string }

func readManifest(b []byte) (m manifestText) {
	_ = json.Unmarshal(b, &m) // what is no manifest names nothing
	return m
}
