package verify_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/verify"
)

// broken is a registry with one fault, and the cases that must see it.
type broken struct {
	name   string
	caught []string
	wrap   func(http.Handler) http.Handler
}

// TestBrokenRegistries: the suite can fail. Each broken registry is Pierless behind
// a wrapper that does one thing wrong.
func TestBrokenRegistries(t *testing.T) {
	if !storetest.Embedded {
		t.Skip("wrappers do not see what is fetched from S3 itself")
	}
	inner := newRegistry(t)
	for _, b := range brokenRegistries() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			report := run(t, verify.Options{URL: serve(t, b.wrap(inner)), Username: testUser, Password: testPassword, Only: b.caught, Keep: true})
			if len(report.Results) != len(b.caught) {
				t.Errorf("of the cases %v, %d exist", b.caught, len(report.Results))
			}
			for _, r := range report.Results {
				if r.Status != verify.Failed {
					t.Errorf("%s: %s %s, want it to fail", r.ID, r.Status, r.Detail)
				}
				if r.Exchange == nil && r.Group != verify.Concurrency {
					t.Errorf("%s: no exchange shows the fault", r.ID)
				}
			}
		})
	}
}

// TestEveryCaseCanFail: a case that no broken registry fails is suspect.
func TestEveryCaseCanFail(t *testing.T) {
	caught := map[string]bool{}
	names := map[string]bool{}
	for _, b := range brokenRegistries() {
		if names[b.name] {
			t.Errorf("two broken registries are named %q", b.name)
		}
		names[b.name] = true
		for _, id := range b.caught {
			caught[id] = true
		}
	}
	if len(names) < 60 {
		t.Errorf("%d broken registries, want at least 60", len(names))
	}
	for _, c := range verify.Cases() {
		if !caught[c.ID] {
			t.Errorf("no broken registry is caught by %s", c.ID)
		}
	}
}

func brokenRegistries() []broken {
	return slices.Concat(
		brokenPulls(), brokenRanges(),
		brokenPushes(), brokenChunks(), brokenManifests(),
		brokenTags(), brokenReferrers(), brokenDeletes(),
		brokenForClients(), brokenHostile(), brokenConcurrency(),
	)
}

// when tells which requests a fault is in.
type when func(*http.Request) bool

// on matches methods ("GET|HEAD") and a regular expression of the path and query.
func on(methods, target string) when {
	re := regexp.MustCompile(target)
	return func(r *http.Request) bool {
		return slices.Contains(strings.Split(methods, "|"), r.Method) && re.MatchString(r.URL.RequestURI())
	}
}

// Requests by what they are about.
const (
	toManifest  = `/manifests/`
	toTag       = `/manifests/[^:]*$`
	toDigest    = `/manifests/sha`
	toBlob      = `/blobs/sha`
	toUploads   = `/blobs/uploads/(\?.*)?$`
	toSession   = `/blobs/uploads/[^?/]`
	toTags      = `/tags/list`
	toReferrers = `/referrers/`
)

// reply is an answer that a wrapper may change before it is sent. A Content-Length
// in the header is sent as it is, right or wrong; none is made up.
type reply struct {
	request *http.Request
	status  int
	header  http.Header
	body    []byte
}

// setBody changes the body, and the length with it.
func (r *reply) setBody(b []byte) {
	r.body = b
	r.header.Set("Content-Length", strconv.Itoa(len(b)))
}

func (r *reply) ok() bool { return r.status >= 200 && r.status < 300 }

// record returns what the handler answers.
func record(h http.Handler, r *http.Request) *reply {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return &reply{r, rec.Code, rec.Header(), rec.Body.Bytes()}
}

func (r *reply) send(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header()[k] = v
	}
	if r.header.Get("Content-Length") == "" && r.request.Method == http.MethodHead {
		w.Header()["Content-Length"] = nil
	}
	w.WriteHeader(r.status)
	if r.request.Method != http.MethodHead {
		_, _ = w.Write(r.body) // a length that is a lie ends in an error here
	}
}

// answers changes the answers to some requests.
func answers(match when, change func(*reply)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			got := record(next, r)
			change(got)
			got.send(w)
		})
	}
}

// successes changes the answers that are successes.
func successes(match when, change func(*reply)) func(http.Handler) http.Handler {
	return answers(match, func(r *reply) {
		if r.ok() {
			change(r)
		}
	})
}

// drops leaves headers out.
func drops(match when, headers ...string) func(http.Handler) http.Handler {
	return answers(match, func(r *reply) {
		for _, h := range headers {
			r.header.Del(h)
		}
	})
}

// sets sends a header with another value in successes.
func sets(match when, header, value string) func(http.Handler) http.Handler {
	return successes(match, func(r *reply) { r.header.Set(header, value) })
}

// turns sends another status instead of one.
func turns(match when, from, to int) func(http.Handler) http.Handler {
	return answers(match, func(r *reply) {
		if r.status == from {
			r.status = to
		}
	})
}

// requests changes some requests before the registry sees them.
func requests(match when, change func(*http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) {
				change(r)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// refuses answers some requests without asking the registry.
func refuses(match when, status int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
		})
	}
}

// setRequestBody changes the body of a request, and its length.
func setRequestBody(r *http.Request, b []byte) {
	r.Body = io.NopCloser(bytes.NewReader(b))
	r.ContentLength = int64(len(b))
}

// requestBody reads the body of a request and puts it back.
func requestBody(r *http.Request) []byte {
	b, _ := io.ReadAll(r.Body) // what a client cut off is cut off here
	setRequestBody(r, b)
	return b
}
