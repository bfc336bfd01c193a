package verify_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func brokenHostile() []broken {
	return slices.Concat(brokenPaths(), brokenSessions(), brokenBodies(), brokenErrors())
}

// raw matches the request target as it came over the wire.
func raw(methods, target string) when {
	re := regexp.MustCompile(target)
	return func(r *http.Request) bool {
		return slices.Contains(strings.Split(methods, "|"), r.Method) && re.MatchString(r.RequestURI)
	}
}

// serves answers some requests with 200 and a body.
func serves(match when, status int, body string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", r.URL.EscapedPath())
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
}

const methods = "GET|HEAD|PUT|POST|PATCH|DELETE"

// fault500 are the requests that a registry answers with 500.
func fault500(match when) func(http.Handler) http.Handler {
	return refuses(match, http.StatusInternalServerError)
}

func brokenPaths() []broken {
	return []broken{
		{"encoded dots decoded twice", []string{"hostile-path-dots"}, serves(raw("GET", `(?i)%252e|%2f`), http.StatusOK, "{}")},
		{"dots a fault", []string{"hostile-path-dots"}, fault500(raw(methods, `\.\.`))},
		{"pushes to a tag ..", []string{"hostile-path-dots"}, serves(raw("PUT", `/manifests/(%2e){2}`), http.StatusCreated, "")},
		{"files of the machine", []string{"hostile-path-escape"}, serves(raw("GET", `etc/passwd`), http.StatusOK, "root:x:0:0:root:/root:/bin/sh\n")},
		{"climbing is a fault", []string{"hostile-path-escape"}, fault500(raw("GET", `\.\.`))},
		{"NUL a fault", []string{"hostile-path-bytes"}, fault500(raw(methods, `%00`))},
		{"control bytes taken", []string{"hostile-path-bytes"}, serves(raw("PUT", `/manifests/[^?]*%(0a|1b|7f)`), http.StatusCreated, "")},
		{"long paths a fault", []string{"hostile-path-long"}, fault500(func(r *http.Request) bool { return len(r.RequestURI) > 8000 })},
		{"long tags found", []string{"hostile-path-long"}, serves(raw("GET", `/manifests/a{300}`), http.StatusOK, "{}")},
		{"names in upper case taken", []string{"hostile-name-illegal"}, serves(on("POST", `/Upper/`), http.StatusAccepted, "")},
		{"names with double dots taken", []string{"hostile-name-illegal"}, serves(on("PUT", `/a\.\.b/manifests/`), http.StatusCreated, "")},
		{"unicode in names a fault", []string{"hostile-name-illegal"}, fault500(on("POST", `%C3%A9`))},
		{"reserved names not known", []string{"hostile-name-reserved"}, refuses(on(methods, `/(blobs/uploads|manifests|tags/list|referrers)/(blobs|manifests|tags)/`), http.StatusNotFound)},
		{"reserved names cut at the first word", []string{"hostile-name-reserved"}, requests(on("POST|PUT|GET", `/blobs/uploads/blobs/`), func(r *http.Request) { r.Method = http.MethodDelete })},
		{"two underscores refused", []string{"hostile-name-separators"}, refuses(on(methods, `__`), http.StatusBadRequest)},
		{"dots and dashes are one", []string{"hostile-name-separators"}, requests(on(methods, `/a[._-]+b/manifests/`), func(r *http.Request) {
			r.URL.Path, r.URL.RawPath = regexp.MustCompile(`/a[._-]+b/`).ReplaceAllString(r.URL.Path, "/ab/"), ""
		})},
		{"tags of any form", []string{"hostile-tag-illegal"}, serves(on("PUT", `/manifests/-a`), http.StatusCreated, "")},
		{"long tags cut", []string{"hostile-tag-illegal"}, requests(on("PUT", `/manifests/a{129}`), func(r *http.Request) { r.URL.Path = strings.TrimSuffix(r.URL.Path, "a") })},
		{"digests that are none a fault", []string{"hostile-digest-illegal"}, fault500(on("GET", `/blobs/sha256:g`))},
		{"digests of unknown algorithms taken", []string{"hostile-digest-illegal"}, serves(on("PUT", `/manifests/md5:`), http.StatusCreated, "")},
		{"digest not needed", []string{"hostile-digest-illegal"}, serves(all(on("PUT", toSession), not(query("digest"))), http.StatusCreated, "")},
		{"digests in any case", []string{"hostile-digest-case"}, requests(on("GET", `(?i)/sha256:`), func(r *http.Request) {
			i := strings.LastIndex(r.URL.Path, "/")
			r.URL.Path, r.URL.RawPath = r.URL.Path[:i]+strings.ToLower(r.URL.Path[i:]), ""
		})},
		{"a page for every path", []string{"hostile-route-unknown"}, turns(on("GET", `/unheard/`), http.StatusNotFound, http.StatusOK)},
		{"unknown routes a fault", []string{"hostile-route-unknown"}, fault500(on("GET", `/tags/all`))},
		{"POST is PUT", []string{"hostile-method-unknown"}, requests(on("POST", toManifest), func(r *http.Request) { r.Method = http.MethodGet })},
		{"wrong methods a fault", []string{"hostile-method-unknown", "hostile-method-allow"}, turns(on("PATCH|POST|PUT|DELETE", `.`), http.StatusMethodNotAllowed, http.StatusInternalServerError)},
		{"405 without Allow", []string{"hostile-method-allow"}, drops(on(methods, `.`), "Allow")},
		{"the method may be overridden", []string{"hostile-method-override"}, requests(header("X-HTTP-Method-Override"), func(r *http.Request) { r.Method = r.Header.Get("X-HTTP-Method-Override") })},
	}
}

func brokenSessions() []broken {
	put, patch := on("PUT", toSession), on("PATCH", toSession)
	return []broken{
		{"ids with dots a fault", []string{"hostile-session-guessed"}, fault500(raw(methods, `/blobs/uploads/\.\.%2f`))},
		{"uploads of all repositories", []string{"hostile-session-elsewhere"}, anyRepository(on("PATCH|PUT", toSession))},
		{"uploads ended from elsewhere", []string{"hostile-session-elsewhere"}, anyRepository(on("DELETE", toSession))},
		{"one digest checked, another stored", []string{"hostile-digest-twice"}, storesLastDigest(put)},
		{"mount names a fault", []string{"hostile-mount-names"}, fault500(all(on("POST", toUploads), func(r *http.Request) bool { return strings.Contains(r.URL.Query().Get("from"), "..") }))},
		{"mounts of digests that are none", []string{"hostile-mount-names"}, serves(on("POST", `mount=sha256%3Aabc`), http.StatusCreated, "")},
		{"unreadable Content-Range a fault", []string{"hostile-content-range", "hostile-content-range-refused"}, fault500(header("Content-Range", "abc", "-1-3"))},
		{"unreadable Content-Range ignored", []string{"hostile-content-range-refused"}, requests(patch, func(r *http.Request) { r.Header.Del("Content-Range") })},
		{"unreadable Content-Range promises a blob", []string{"hostile-content-range"}, chain(
			serves(all(patch, header("Content-Range", "5-1")), http.StatusAccepted, ""), turns(put, http.StatusBadRequest, http.StatusCreated),
		)},
		{"half a blob is one", []string{"hostile-blob-cut"}, requests(put, takesWhatCame)},
		{"half a manifest is one", []string{"hostile-manifest-cut"}, requests(on("PUT", toManifest), takesWhatCame)},
	}
}

// anyRepository finds an upload in the repository beside it.
func anyRepository(match when) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			body := requestBody(r)
			got := record(next, r)
			if got.status == http.StatusNotFound {
				setRequestBody(r, body)
				r.URL.Path = strings.Replace(r.URL.Path, "-other/", "/", 1)
				got = record(next, r)
			}
			got.send(w)
		})
	}
}

// takesWhatCame forgets that the client broke off.
func takesWhatCame(r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	setRequestBody(r, b)
	*r = *r.WithContext(context.WithoutCancel(r.Context()))
}

// storesLastDigest checks the one digest of two that is right, and gives the blob
// out under the other too.
func storesLastDigest(match when) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		wrong := newSet()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			digests := r.URL.Query()["digest"]
			if match(r) && len(digests) == 2 {
				own := string(oci.SHA256.FromBytes(requestBody(r)))
				for _, d := range digests {
					if d != own {
						wrong.add(d)
					}
				}
				r.URL.RawQuery = url.Values{"digest": {own}}.Encode()
			}
			if r.Method == http.MethodGet && wrong.has(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]) {
				w.WriteHeader(http.StatusOK)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func brokenBodies() []broken {
	put := on("PUT", toManifest)
	holds := func(text string) when {
		return func(r *http.Request) bool { return put(r) && bytes.Contains(requestBody(r), []byte(text)) }
	}
	equals := func(text string) when {
		return func(r *http.Request) bool { return put(r) && string(requestBody(r)) == text }
	}
	manyRanges := func(r *http.Request) bool { return strings.Count(r.Header.Get("Range"), ",") > 100 }
	evil := func(r *http.Request) bool {
		u, err := url.PathUnescape(r.RequestURI)
		return err == nil && strings.Contains(u, "\r\nX-Evil: 1")
	}
	return []broken{
		{"deep nesting a fault", []string{"hostile-manifest-bombs"}, fault500(holds("[[[[[[[["))},
		{"many layers a fault", []string{"hostile-manifest-bombs"}, fault500(holds("{},{},{},{},"))},
		{"large manifests cut when they are stored", []string{"hostile-manifest-bombs"}, successes(on("GET", toDigest), func(r *reply) { r.setBody(r.body[:min(len(r.body), 10_000)]) })},
		{"null layers a fault", []string{"hostile-manifest-shapes"}, fault500(holds(`"layers":null`))},
		{"null subject a fault", []string{"hostile-manifest-shapes"}, fault500(holds(`"subject":null`))},
		{"a manifest may be a list", []string{"hostile-manifest-no-object"}, serves(equals("[]"), http.StatusCreated, "")},
		{"a manifest may be empty", []string{"hostile-manifest-no-object"}, serves(equals(""), http.StatusCreated, "")},
		{"negative sizes taken", []string{"hostile-manifest-sizes"}, serves(holds(`"size": -1`), http.StatusCreated, "")},
		{"large sizes a fault", []string{"hostile-manifest-sizes"}, fault500(holds(`"size": 1e400`))},
		{"byte order marks taken off", []string{"hostile-manifest-bytes"}, serves(holds("\xef\xbb\xbf"), http.StatusCreated, "")},
		{"invalid UTF-8 a fault", []string{"hostile-manifest-bytes"}, fault500(holds("\xff\xfe"))},
		{"long media types a fault", []string{"hostile-media-type"}, fault500(func(r *http.Request) bool { return len(r.Header.Get("Content-Type")) > 4000 })},
		{"odd Accept a fault", []string{"hostile-media-type"}, fault500(header("Accept", ";;;"))},
		{"many ranges a fault", []string{"hostile-ranges-many", "hostile-ranges-amplified"}, fault500(manyRanges)},
		{"each range served", []string{"hostile-ranges-amplified"}, successes(manyRanges, func(r *reply) { r.setBody(bytes.Repeat(r.body, 400)) })},
		{"line ends become headers", []string{"hostile-header-injection"}, answers(evil, func(r *reply) { r.header.Set("X-Evil", "1") })},
		{"line ends a fault", []string{"hostile-header-injection"}, fault500(evil)},
		{"trusts X-Forwarded-Host", []string{"hostile-forwarded-host"}, successes(all(on("POST", toUploads), header("X-Forwarded-Host")), func(r *reply) {
			r.header.Set("Location", "https://"+r.request.Header.Get("X-Forwarded-Host")+r.header.Get("Location"))
		})},
		{"unreadable credentials a fault", []string{"hostile-authorization"}, fault500(func(r *http.Request) bool {
			_, _, ok := r.BasicAuth()
			return strings.HasPrefix(r.Header.Get("Authorization"), "Basic") && !ok
		})},
		{"unsigned tokens a fault", []string{"hostile-authorization"}, fault500(header("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30."))},
		{"negative pages a fault", []string{"hostile-page-size"}, fault500(on("GET", `/tags/list\?n=-`))},
		{"huge pages allocated", []string{"hostile-page-size"}, fault500(func(r *http.Request) bool {
			n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
			return err == nil && n > 1<<30
		})},
		{"filter put into the query of the database", []string{"hostile-filter"}, fault500(on("GET", `/referrers/.*%27`))},
	}
}

func brokenErrors() []broken {
	return []broken{
		{"errors as another JSON", []string{"hostile-error-format"}, errorsAs(`{"message":"not found"}`)},
		{"errors as a list", []string{"hostile-error-format"}, errorsAs(`[{"code":"NAME_INVALID"}]`)},
		{"codes in lower case", []string{"hostile-error-format", "hostile-error-codes"}, errorsAs(`{"errors":[{"code":"not_found"}]}`)},
		{"codes of its own", []string{"hostile-error-codes"}, errorsAs(`{"errors":[{"code":"NOT_FOUND"}]}`)},
		{"stack traces", []string{"hostile-error-leaks"}, errorsAs("panic: runtime error\n\ngoroutine 7 [running]:\n/src/handler.go:12")},
		{"paths in errors", []string{"hostile-error-leaks"}, errorsAs(`{"errors":[{"code":"BLOB_UNKNOWN","message":"open /var/lib/registry/docker/registry/v2/blobs: no such file"}]}`)},
	}
}
