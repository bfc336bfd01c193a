package verify_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
)

func brokenForClients() []broken {
	return slices.Concat(brokenClientUploads(), brokenClientReads(), brokenLogins())
}

// accepting matches requests by their Accept lines.
func accepting(match when, test func(lines []string) bool) when {
	return func(r *http.Request) bool { return match(r) && test(r.Header["Accept"]) }
}

// header matches requests that have a header.
func header(name string, values ...string) when {
	return func(r *http.Request) bool {
		got := r.Header.Get(name)
		return got != "" && (len(values) == 0 || slices.Contains(values, got))
	}
}

// query matches requests by a parameter.
func query(key string) when {
	return func(r *http.Request) bool { return r.URL.Query().Has(key) }
}

// all matches where each of them does.
func all(matches ...when) when {
	return func(r *http.Request) bool {
		return !slices.ContainsFunc(matches, func(m when) bool { return !m(r) })
	}
}

func not(match when) when { return func(r *http.Request) bool { return !match(r) } }

func streaming(r *http.Request) bool { return r.ContentLength < 0 }

// toPing are requests to the root.
const toPing = `^/v2/(\?.*)?$`

func brokenClientUploads() []broken {
	session := on("GET|PATCH|PUT|DELETE", toSession)
	put, patch, post := on("PUT", toSession), on("PATCH", toSession), on("POST", toUploads)
	return []broken{
		{"streams need a length", []string{"client-docker-push", "client-podman-push", "client-stream-range", "client-parallel-layers"}, refuses(all(patch, streaming), http.StatusLengthRequired)},
		{"PATCH without Range", []string{"client-docker-push", "client-stream-range", "client-empty-patch", "client-regctl-chunks"}, drops(patch, "Range")},
		{"PATCH says how many bytes, not the last", []string{"client-docker-push", "client-stream-range", "client-regctl-chunks", "client-content-range-unit"}, successes(patch, rangeTooFar)},
		{
			"blob PUT 204",
			[]string{"client-docker-push", "client-podman-push", "client-crane-push", "client-containerd-push", "client-oras-push", "client-regctl-push", "client-regctl-chunks", "client-blob-put-headers"},
			turns(put, http.StatusCreated, http.StatusNoContent),
		},
		{"blob PUT without a digest", []string{"client-blob-put-headers", "client-containerd-push"}, drops(put, "Docker-Content-Digest")},
		{"manifest PUT 202", []string{"client-manifest-put-status", "client-docker-push", "client-podman-push", "client-oras-push"}, turns(on("PUT", toManifest), http.StatusCreated, http.StatusAccepted)},
		{"manifests cannot be pushed again", []string{"client-manifest-put-status", "client-push-again"}, onlyOnce(on("PUT", toManifest), http.StatusConflict)},
		{"HEAD of a missing blob 403", []string{"client-podman-push", "client-crane-push", "client-containerd-push", "client-oras-push", "client-regctl-push"}, turns(on("HEAD", toBlob), http.StatusNotFound, http.StatusForbidden)},
		{"blob found late", []string{"client-docker-push", "client-push-again"}, refuses(on("HEAD", toBlob), http.StatusNotFound)},
		{"manifest by digest found late", []string{"client-oras-push", "client-docker-pull", "client-containerd-pull", "client-oras-pull"}, refuses(on("GET", toDigest), http.StatusNotFound)},
		{"POST of JSON refused", []string{"client-crane-push", "client-post-json"}, refuses(all(post, header("Content-Type", "application/json")), http.StatusUnsupportedMediaType)},
		{"mount 200", []string{"client-docker-mount"}, turns(all(post, query("from")), http.StatusCreated, http.StatusOK)},
		{"mount of what is not there 404", []string{"client-mount-without-from", "client-regctl-push"}, turns(all(post, query("mount")), http.StatusAccepted, http.StatusNotFound)},
		{"mount without from refused", []string{"client-mount-without-from", "client-regctl-push"}, refuses(all(post, query("mount"), not(query("from"))), http.StatusBadRequest)},
		{"mount without from of anything", []string{"client-mount-without-from", "client-regctl-push"}, turns(all(post, query("mount"), not(query("from"))), http.StatusAccepted, http.StatusCreated)},
		{"digest on PATCH refused", []string{"client-patch-digest-ignored", "client-regctl-chunks"}, refuses(all(patch, query("digest")), http.StatusBadRequest)},
		{"digest on PATCH ends the upload", []string{"client-patch-digest-ignored", "client-regctl-chunks"}, requests(all(patch, query("digest")), func(r *http.Request) { r.Method = http.MethodPut })},
		{"Content-Range with a unit a fault", []string{"client-content-range-unit"}, fault500(func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Content-Range"), "bytes") })},
		{"empty PATCH ends before its start", []string{"client-empty-patch"}, answers(patch, func(r *reply) {
			if r.header.Get("Range") == "0-0" {
				r.header.Set("Range", "0--1")
			}
		})},
		{"uploads on another port", []string{"client-location-own-host"}, successes(on("POST|PATCH", `/blobs/uploads/`), func(r *reply) {
			r.header.Set("Location", "http://"+r.request.Host+"1"+r.header.Get("Location"))
		})},
		{"uploads on https", []string{"client-location-own-host"}, successes(post, func(r *reply) { r.header.Set("Location", "https://"+r.request.Host+r.header.Get("Location")) })},
		{"chunks sent on", []string{"client-upload-no-redirect"}, sendsOn(patch, http.StatusTemporaryRedirect, ownHost)},
		{"manifests sent on", []string{"client-upload-no-redirect"}, sendsOn(on("PUT", toManifest), http.StatusPermanentRedirect, ownHost)},
		{"416 without the state", []string{"client-chunk-resume"}, answers(patch, func(r *reply) {
			if r.status == http.StatusRequestedRangeNotSatisfiable {
				r.header.Del("Range")
				r.header.Del("Location")
			}
		})},
		{"one upload for each repository", []string{"client-two-uploads", "client-mixed-uploads", "client-parallel-layers", "client-docker-push"}, oneUpload(post)},
		{"unknown parameters refused", []string{"client-unknown-query"}, refuses(query("account"), http.StatusBadRequest)},
		{"ns of nobody", []string{"client-ns", "client-unknown-query"}, refuses(query("ns"), http.StatusNotFound)},
		{"Expect refused", []string{"client-expect-continue"}, refuses(header("Expect"), http.StatusExpectationFailed)},
		{"refusal without an answer", []string{"client-refused-body"}, hangsUp(session)},
	}
}

// rangeTooFar counts the bytes instead of naming the last.
func rangeTooFar(r *reply) {
	var last int
	_, _ = fmt.Sscanf(r.header.Get("Range"), "0-%d", &last)
	r.header.Set("Range", fmt.Sprintf("0-%d", last+1))
}

// onlyOnce refuses a request to a path that was there before.
func onlyOnce(match when, status int) func(http.Handler) http.Handler {
	var mu sync.Mutex
	seen := map[string]bool{}
	return refuses(func(r *http.Request) bool {
		if !match(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		known := seen[r.URL.Path]
		seen[r.URL.Path] = true
		return known
	}, status)
}

// oneUpload answers each POST with the first upload of the repository.
func oneUpload(match when) func(http.Handler) http.Handler {
	var mu sync.Mutex
	first := map[string]string{}
	return successes(match, func(r *reply) {
		mu.Lock()
		defer mu.Unlock()
		if first[r.request.URL.Path] == "" {
			first[r.request.URL.Path] = r.header.Get("Location")
		}
		r.header.Set("Location", first[r.request.URL.Path])
	})
}

// hangsUp closes the connection instead of an error.
func hangsUp(match when) func(http.Handler) http.Handler {
	return answers(match, func(r *reply) {
		if r.status >= http.StatusBadRequest {
			panic(http.ErrAbortHandler)
		}
	})
}

func ownHost(r *http.Request) string { return r.Host }

// otherHost is another name of the same server.
func otherHost(r *http.Request) string { return strings.Replace(r.Host, "127.0.0.1", "localhost", 1) }

// sendsOn answers with a redirect to a host, where the request is served.
func sendsOn(match when, status int, host func(*http.Request) string) func(http.Handler) http.Handler {
	return answers(all(match, not(query("sent"))), func(r *reply) {
		u := *r.request.URL
		u.Scheme, u.Host = "http", host(r.request)
		q := u.Query()
		q.Set("sent", "1")
		u.RawQuery = q.Encode()
		r.status = status
		r.header = http.Header{"Location": {u.String()}, "Docker-Content-Digest": r.header["Docker-Content-Digest"]}
		r.setBody(nil)
	})
}

// chain is a registry with more than one fault: the first is the outermost.
func chain(wraps ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		for _, w := range slices.Backward(wraps) {
			h = w(h)
		}
		return h
	}
}

func brokenClientReads() []broken {
	manifests, blobs := on("GET|HEAD", toManifest), on("GET", toBlob)
	names := func(lines []string, what string) bool { return strings.Contains(strings.Join(lines, ","), what) }
	return []broken{
		{"only the first Accept line counts", []string{"client-podman-pull", "client-accept-lines"}, refuses(accepting(manifests, func(l []string) bool {
			return len(l) > 0 && !strings.Contains(l[0], oci.MediaTypeImageManifest)
		}), http.StatusNotFound)},
		{"several types in one line not understood", []string{"client-crane-pull", "client-containerd-pull", "client-accept-lines"}, refuses(accepting(manifests, func(l []string) bool {
			return len(l) == 1 && strings.Contains(l[0], ",")
		}), http.StatusNotAcceptable)},
		{"*/* not understood", []string{"client-accept-any"}, refuses(accepting(manifests, func(l []string) bool { return names(l, "*/*") }), http.StatusNotAcceptable)},
		{"no Accept is none", []string{"client-accept-none"}, refuses(accepting(manifests, func(l []string) bool { return len(l) == 0 }), http.StatusNotAcceptable)},
		{"other types a fault", []string{"client-accept-other"}, refuses(accepting(manifests, func(l []string) bool { return !names(l, "oci.image") }), http.StatusInternalServerError)},
		{"converted for old clients", []string{"client-accept-other"}, answers(accepting(on("GET", toManifest), func(l []string) bool { return !names(l, "oci.image") }), func(r *reply) {
			r.setBody([]byte(`{"schemaVersion":1}`))
		})},
		{"picks an image of the index", []string{"client-index-stays", "client-accept-any"}, answers(manifests, func(r *reply) {
			if r.header.Get("Content-Type") == oci.MediaTypeImageIndex {
				r.header.Set("Content-Type", oci.MediaTypeImageManifest)
				r.header.Set("Docker-Content-Digest", anyDigest)
			}
		})},
		{"HEAD without the type", []string{"client-docker-pull", "client-containerd-pull", "client-oras-pull", "client-head-agrees"}, sets(on("HEAD", toManifest), "Content-Type", "application/json")},
		{"HEAD of no bytes", []string{"client-docker-pull", "client-containerd-pull", "client-oras-pull", "client-head-agrees"}, sets(on("HEAD", toManifest), "Content-Length", "0")},
		{
			"blob cache by repository",
			[]string{"client-docker-pull", "client-podman-pull", "client-crane-pull", "client-containerd-pull", "client-oras-pull", "client-parallel-pulls", "client-push-again"},
			blobCacheByRepository(blobs),
		},
		{"blobs elsewhere with a login", []string{"client-blob-redirect"}, chain(
			refuses(all(blobs, query("sent"), not(header("Authorization"))), http.StatusForbidden), sendsOn(blobs, http.StatusTemporaryRedirect, otherHost),
		)},
		{"blobs elsewhere for ever", []string{"client-blob-redirect"}, sendsOn(blobs, http.StatusMovedPermanently, otherHost)},
		{"HEAD sent to a URL that is signed for GET", []string{"client-blob-head-redirect"}, chain(
			refuses(all(on("HEAD", toBlob), query("sent")), http.StatusForbidden), sendsOn(on("HEAD", toBlob), http.StatusTemporaryRedirect, otherHost),
		)},
		{"HEAD sent to a store that knows no length", []string{"client-blob-head-redirect"}, chain(
			drops(all(on("HEAD", toBlob), query("sent")), "Content-Length"), sendsOn(on("HEAD", toBlob), http.StatusTemporaryRedirect, otherHost),
		)},
		{"blobs at a private address", []string{"client-redirect-place"}, sendsOn(blobs, http.StatusTemporaryRedirect, func(*http.Request) string { return "127.0.0.2:1" })},
		{"errors as text", []string{"client-error-json", "client-missing-code"}, errorsAs("404 page not found")},
		{"errors without a message", []string{"client-error-json"}, errorsAs(`{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)},
		{"errors with an unhelpful code", []string{"client-missing-code"}, errorsAs(`{"errors":[{"code":"UNKNOWN","message":"no"}]}`)},
		{"no API version", []string{"client-api-version"}, drops(on("GET", `.`), "Docker-Distribution-Api-Version")},
		{"/v2 not known", []string{"client-ping-no-slash"}, refuses(on("GET", `^/v2$`), http.StatusNotFound)},
		{"304 for any ETag", []string{"client-if-none-match"}, refuses(header("If-None-Match"), http.StatusNotModified)},
		{"304 never", []string{"client-if-none-match"}, requests(header("If-None-Match"), func(r *http.Request) { r.Header.Del("If-None-Match") })},
		{"warnings with a date", []string{"client-warnings"}, sets(on("GET", toTags), "Warning", `299 - "old" "Sat, 21 Nov 2026 05:00:00 GMT"`)},
		{"warnings of another kind", []string{"client-warnings"}, sets(on("GET", toTags), "Warning", `199 registry "old"`)},
		{"warnings without end", []string{"client-warnings"}, successes(on("GET", toPing), func(r *reply) {
			for range 50 {
				r.header.Add("Warning", `299 - "`+strings.Repeat("old ", 25)+`"`)
			}
		})},
	}
}

// blobCacheByRepository answers with the first blob that was asked for.
func blobCacheByRepository(match when) func(http.Handler) http.Handler {
	var mu sync.Mutex
	first := map[string][]byte{}
	digest := regexp.MustCompile(`sha256:.*`)
	return successes(match, func(r *reply) {
		mu.Lock()
		defer mu.Unlock()
		repo := digest.ReplaceAllString(r.request.URL.Path, "")
		if first[repo] == nil {
			first[repo] = r.body
		}
		r.setBody(first[repo])
	})
}

// errorsAs answers all errors with one body.
func errorsAs(body string) func(http.Handler) http.Handler {
	return answers(on("GET|POST|PUT|PATCH|DELETE", `.`), func(r *reply) {
		if r.status >= http.StatusBadRequest {
			r.setBody([]byte(body))
		}
	})
}

// set is a set of strings that many requests share.
type set struct {
	mu sync.Mutex
	m  map[string]bool
}

func newSet() *set { return &set{m: map[string]bool{}} }

func (s *set) add(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[v] = true
}

func (s *set) has(v string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[v]
}
