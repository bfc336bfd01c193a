package verify_test

import (
	"net/http"
	"net/url"
	"strings"
)

func brokenManifestNames() []broken {
	const bad = http.StatusBadRequest
	changesTag := func(change func(string) string) func(http.Handler) http.Handler {
		return requests(on("GET|HEAD|PUT", toTag), func(r *http.Request) {
			repo, tag, _ := strings.Cut(r.URL.Path, "/manifests/")
			r.URL.Path, r.URL.RawPath = repo+"/manifests/"+change(tag), ""
		})
	}
	return []broken{
		{"tags begin with a letter", []string{"manifest-tag-characters"}, refuses(on("PUT", `/manifests/_`), bad)},
		{"tags up to 100 characters", []string{"manifest-tag-longest"}, refuses(on("PUT", `/manifests/.{101}`), bad)},
		{"tags cut to 100 characters", []string{"manifest-tag-longest", "manifest-tag-too-long"}, changesTag(func(tag string) string { return tag[:min(len(tag), 100)] })},
		{"tags are not checked", []string{"manifest-tag-too-long", "manifest-tag-malformed"}, turns(on("PUT", toTag), bad, http.StatusCreated)},
		{"bad tag is a fault", []string{"manifest-tag-too-long", "manifest-tag-malformed"}, turns(on("PUT", toTag), bad, http.StatusInternalServerError)},
		{"tags in lower case", []string{"manifest-tag-case"}, changesTag(strings.ToLower)},
		{"hexadecimal tags refused", []string{"manifest-tag-like-digest"}, refuses(on("PUT|GET", `/manifests/(sha256-)?[0-9a-f]{64}`), bad)},
		{"tags with a dash are digests", []string{"manifest-tag-like-digest"}, changesTag(func(tag string) string { return strings.Replace(tag, "sha256-", "sha256:", 1) })},
		{"words of the API are no tags", []string{"manifest-tag-like-route"}, refuses(on("PUT", `/manifests/(list|uploads)$`), http.StatusNotFound)},
		{"single separators in names", []string{"manifest-name-separators"}, refuses(on("POST", `/v2/.*(__|--)`), bad)},
		{"names of few components", []string{"manifest-name-components"}, refuses(on("POST", `/v2/.*(/a){10}`), bad)},
		{"names up to 200 characters", []string{"manifest-name-longest"}, refuses(on("PUT", `/v2/.{200,}/manifests/`), bad)},
		{"routes parsed from the left", []string{"manifest-name-like-route"}, refuses(on("PUT|GET", `/(manifests|referrers)/manifests/`), http.StatusNotFound)},
	}
}

func brokenPushTags() []broken {
	const toTags = `/manifests/sha.*\?tag=`
	return []broken{
		{
			"tags of a push are answered, not set",
			[]string{"manifest-push-tags", "manifest-push-tags-header", "manifest-push-tags-ten", "manifest-push-tags-malformed", "manifest-push-tags-sha512"},
			around(on("PUT", toTags), func(next http.Handler, r *http.Request) *reply {
				tags := r.URL.Query()["tag"]
				r.URL.RawQuery = ""
				got := record(next, r)
				got.header.Set("OCI-Tag", strings.Join(tags, ", "))
				return got
			}),
		},
		{"five tags for each push", []string{"manifest-push-tags-ten"}, requests(on("PUT", toTags), func(r *http.Request) {
			tags := r.URL.Query()["tag"]
			r.URL.RawQuery = url.Values{"tag": tags[:min(len(tags), 5)]}.Encode()
		})},
		{"OCI-Tag forgets one", []string{"manifest-push-tags", "manifest-push-tags-header"}, successes(on("PUT", toTags), func(r *reply) {
			set := r.header.Get("OCI-Tag")
			if i := strings.LastIndex(set, ", "); i > 0 {
				r.header.Set("OCI-Tag", set[:i])
			}
		})},
		{"too many tags are a fault", []string{"manifest-push-tags-many"}, turns(on("PUT", toTags), http.StatusRequestURITooLong, http.StatusInternalServerError)},
		{"bad tags of a push are a fault", []string{"manifest-push-tags-malformed"}, turns(on("PUT", toTags), http.StatusBadRequest, http.StatusInternalServerError)},
		{"tags with sha256 alone", []string{"manifest-push-tags-sha512"}, requests(on("PUT", `/manifests/sha512.*\?tag=`), func(r *http.Request) { r.URL.RawQuery = "" })},
	}
}
