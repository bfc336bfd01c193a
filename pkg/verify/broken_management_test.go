package verify_test

import (
	"net/http"
	"strings"
)

func brokenDeletes() []broken {
	const accepted = http.StatusAccepted
	return []broken{
		{"deletes are swallowed", []string{"delete-tag", "tags-after-delete"}, refuses(on("DELETE", toTag), accepted)},
		{
			"manifest deletes are swallowed",
			[]string{"delete-manifest", "delete-manifest-tags", "delete-manifest-tags-list", "delete-manifest-missing", "delete-index-child", "referrers-after-delete"},
			refuses(on("DELETE", toDigest), accepted),
		},
		{
			"blob deletes wait for the sweep",
			[]string{"delete-blob", "delete-blob-missing", "delete-blob-mounted-from", "delete-blob-mounted-to", "delete-blob-twice-pushed", "delete-blob-in-use"},
			refuses(on("DELETE", toBlob), accepted),
		},
		{"deletes are 200", []string{"delete-tag", "delete-manifest", "delete-blob"}, turns(on("DELETE", `.`), accepted, http.StatusOK)},
		{"no deletion is 403", []string{"delete-tag", "delete-manifest", "delete-blob", "delete-missing-repository"}, refuses(on("DELETE", `.`), http.StatusForbidden)},
		{"blob hits are cached", []string{"delete-blob"}, caches(on("GET|HEAD", toBlob), (*reply).ok)},
		{"tag delete takes the manifest", []string{"delete-tag-keeps-others", "delete-tag-last"}, around(on("DELETE", toTag), func(next http.Handler, r *http.Request) *reply {
			d := ask(next, "HEAD", r.URL.Path).header.Get("Docker-Content-Digest")
			got := record(next, r)
			ask(next, "DELETE", repositoryOf(r.URL.Path)+"/manifests/"+d)
			return got
		})},
		{
			"deleting nothing is 202",
			[]string{"delete-tag-missing", "delete-manifest-missing", "delete-missing-repository", "delete-blob-missing"},
			turns(on("DELETE", `.`), http.StatusNotFound, accepted),
		},
		{
			"deleting nothing is a fault",
			[]string{"delete-tag-missing", "delete-manifest-missing", "delete-missing-repository", "delete-blob-missing"},
			turns(on("DELETE", `.`), http.StatusNotFound, http.StatusInternalServerError),
		},
		{
			"tombstones are for ever",
			[]string{"delete-tag-then-push", "delete-manifest-then-push", "delete-blob-then-push"},
			buries(on("GET|HEAD|PUT|DELETE", `/(manifests|blobs)/`)),
		},
		{"manifest delete takes tags that have moved", []string{"delete-manifest-moved-tag"}, takesMovedTags()},
		{
			"manifest delete takes along what it names",
			[]string{"delete-manifest-keeps-others", "delete-index-keeps-children", "delete-referrer-keeps-subject"},
			around(on("DELETE", toDigest), func(next http.Handler, r *http.Request) *reply {
				m := readManifest(ask(next, "GET", r.URL.Path).body)
				got := record(next, r)
				repo := repositoryOf(r.URL.Path)
				for _, b := range append(m.Layers, m.Config) {
					ask(next, "DELETE", repo+"/blobs/"+b.Digest)
				}
				for _, c := range append(m.Manifests, m.Subject) {
					ask(next, "DELETE", repo+"/manifests/"+c.Digest)
				}
				return got
			}),
		},
		{
			"deletes are for all repositories",
			[]string{"delete-manifest-repositories-apart", "delete-blob-mounted-from", "delete-blob-mounted-to", "delete-blob-twice-pushed", "delete-source-keeps-mount"},
			around(on("DELETE", `/(manifests|blobs)/sha`), func(next http.Handler, r *http.Request) *reply {
				repo := repositoryOf(r.URL.Path)
				rest := strings.TrimPrefix(r.URL.Path, repo)
				got := record(next, r)
				ask(next, "DELETE", strings.TrimSuffix(repo, "-other")+rest)
				ask(next, "DELETE", strings.TrimSuffix(repo, "-other")+"-other"+rest)
				return got
			}),
		},
		{"child delete breaks the index", []string{"delete-index-child"}, around(on("DELETE", toDigest), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			ask(next, "DELETE", repositoryOf(r.URL.Path)+"/manifests/v1")
			return got
		})},
		{
			"blob stays while a mount holds it",
			[]string{"delete-blob-mounted-from", "delete-blob-mounted-to", "delete-blob-twice-pushed"},
			around(on("DELETE", toBlob), func(next http.Handler, r *http.Request) *reply {
				repo := repositoryOf(r.URL.Path)
				elsewhere := strings.TrimSuffix(repo, "-other")
				if elsewhere == repo {
					elsewhere += "-other"
				}
				if !ask(next, "HEAD", elsewhere+strings.TrimPrefix(r.URL.Path, repo)).ok() {
					return record(next, r)
				}
				got := &reply{request: r}
				got.become(accepted)
				return got
			}),
		},
	}
}

// takesMovedTags deletes with a manifest every tag that it ever had.
func takesMovedTags() func(http.Handler) http.Handler {
	var had memory[string]
	return chain(
		around(on("PUT", toTag), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			had.set(repositoryOf(r.URL.Path)+"/manifests/"+got.header.Get("Docker-Content-Digest"), r.URL.Path)
			return got
		}),
		around(on("DELETE", toDigest), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			if tag, found := had.get(r.URL.Path); found {
				ask(next, "DELETE", tag)
			}
			return got
		}),
	)
}
