package verify_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

func brokenTags() []broken { return slices.Concat(brokenTagLists(), brokenTagPages()) }

// editsTags changes the tags of lists.
func editsTags(change func(r *reply, tags []any) []any) func(http.Handler) http.Handler {
	return editsJSON(on("GET", toTags), func(r *reply, body object) { body["tags"] = change(r, body.list("tags")) })
}

// always changes the tags whatever was asked for.
func always(change func([]any) []any) func(http.Handler) http.Handler {
	return editsTags(func(_ *reply, tags []any) []any { return change(tags) })
}

func brokenTagLists() []broken {
	lists := on("GET", toTags)
	var deleted, sha512 memory[string]
	return []broken{
		{"a tag is not listed", []string{"tags-list", "tags-pages-by-link"}, always(func(tags []any) []any { return tags[:max(len(tags)-1, 0)] })},
		{"tags are listed twice", []string{"tags-list", "tags-many", "tags-n-large"}, always(func(tags []any) []any { return append(tags, tags...) })},
		{"list has another's name", []string{"tags-form"}, editsJSON(lists, func(_ *reply, body object) { body["name"] = "library" })},
		{"tags are a string", []string{"tags-form"}, successes(lists, func(r *reply) {
			r.editJSON(func(body object) {
				b, _ := json.Marshal(body["tags"])
				body["tags"] = string(b)
			})
		})},
		{"list is text", []string{"tags-content-type"}, sets(lists, "Content-Type", "text/plain; charset=utf-8")},
		{"newest tag first", []string{"tags-order", "tags-n"}, always(func(tags []any) []any { slices.Reverse(tags); return tags })},
		{"lists are cached", []string{"tags-at-once"}, caches(lists, (*reply).ok)},
		{"digests are listed", []string{"tags-only-tags", "tags-none"}, always(func(tags []any) []any { return append(tags, anyDigest) })},
		{"digests of sha512 are tags", []string{"tags-only-tags"}, chain(
			successes(on("PUT", `/manifests/sha512`), func(r *reply) {
				repo, digest, _ := strings.Cut(r.request.URL.Path, "/manifests/")
				sha512.set(repo, digest)
			}),
			editsTags(func(r *reply, tags []any) []any {
				if digest, found := sha512.get(repositoryOf(r.request.URL.Path)); found {
					return append(tags, digest)
				}
				return tags
			}),
		)},
		{"tags of repositories below", []string{"tags-repositories-apart"}, around(lists, func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			var below object
			_ = json.Unmarshal(ask(next, "GET", repositoryOf(r.URL.Path)+"/below/tags/list").body, &below)
			got.editJSON(func(body object) { body["tags"] = append(body.list("tags"), below.list("tags")...) })
			return got
		})},
		{"no tags are null", []string{"tags-none"}, always(func(tags []any) []any {
			if len(tags) == 0 {
				return nil
			}
			return tags
		})},
		{"no tags are 404", []string{"tags-none", "tags-n-zero", "tags-last-end"}, successes(lists, func(r *reply) {
			if strings.Contains(string(r.body), `"tags":[]`) {
				r.become(http.StatusNotFound)
			}
		})},
		{"list of nothing is a fault", []string{"tags-missing-repository"}, answers(on("GET", `-tags-missing-repository/`), func(r *reply) { r.become(http.StatusInternalServerError) })},
		{"deleted tags are listed", []string{"tags-after-delete", "delete-manifest-tags-list"}, chain(
			around(on("DELETE", toManifest), func(next http.Handler, r *http.Request) *reply {
				before := ask(next, "GET", repositoryOf(r.URL.Path)+"/tags/list")
				deleted.set(repositoryOf(r.URL.Path), string(before.body))
				return record(next, r)
			}),
			successes(lists, func(r *reply) {
				if old, found := deleted.get(repositoryOf(r.request.URL.Path)); found {
					r.setBody([]byte(old))
				}
			}),
		)},
		{"lists of 100 without Link", []string{"tags-many"}, successes(lists, func(r *reply) {
			r.editJSON(func(body object) {
				tags := body.list("tags")
				body["tags"] = tags[:min(len(tags), 100)]
			})
		})},
	}
}

func brokenTagPages() []broken {
	lists := on("GET", toTags)
	forgets := func(key string) func(*http.Request) {
		return func(r *http.Request) {
			q := r.URL.Query()
			q.Del(key)
			r.URL.RawQuery = q.Encode()
		}
	}
	changesLink := func(change func(string) string) func(http.Handler) http.Handler {
		return successes(lists, func(r *reply) {
			if link := r.header.Get("Link"); link != "" {
				r.header.Set("Link", change(link))
			}
		})
	}
	return []broken{
		{"n ignored", []string{"tags-n", "tags-n-zero", "tags-n-invalid", "tags-last"}, requests(lists, forgets("n"))},
		{"last ignored", []string{"tags-last", "tags-last-without-n", "tags-last-missing", "tags-last-end", "tags-pages-by-last", "tags-pages-by-link"}, requests(lists, forgets("last"))},
		{"n up to the number of tags", []string{"tags-n-large"}, refuses(on("GET", `n=(8|100)$`), http.StatusBadRequest)},
		{"n one short", []string{"tags-n", "tags-last"}, successes(on("GET", `tags/list\?.*n=`), func(r *reply) {
			r.header.Del("Link")
			r.editJSON(func(body object) {
				tags := body.list("tags")
				body["tags"] = tags[:max(len(tags)-1, 0)]
			})
		})},
		{"n of 0 with a Link", []string{"tags-n-zero"}, sets(on("GET", `n=0`), "Link", `</v2/x/tags/list?n=0>; rel="next"`)},
		{"bad n is a fault", []string{"tags-n-invalid"}, turns(lists, http.StatusBadRequest, http.StatusInternalServerError)},
		{"last is in the page", []string{"tags-last", "tags-last-without-n", "tags-last-end", "tags-pages-by-last", "tags-pages-by-link"}, editsTags(func(r *reply, tags []any) []any {
			if last := r.request.URL.Query().Get("last"); last != "" {
				return append([]any{last}, tags...)
			}
			return tags
		})},
		{"last must be there", []string{"tags-last-missing"}, around(on("GET", `last=`), func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			if !ask(next, "HEAD", repositoryOf(r.URL.Path)+"/manifests/"+r.URL.Query().Get("last")).ok() {
				got.editJSON(func(body object) { body["tags"] = []any{} })
			}
			return got
		})},
		{"Link leads to the same page", []string{"tags-pages-by-link"}, changesLink(func(link string) string { return strings.ReplaceAll(link, "last=", "after=") })},
		{"Link skips a tag", []string{"tags-pages-by-link"}, changesLink(func(link string) string { return strings.ReplaceAll(link, "last=b", "last=c") })},
		{"Link is a bare URL", []string{"tags-link-form"}, changesLink(func(link string) string { return strings.TrimSuffix(strings.Trim(link, "<"), `>; rel="next"`) })},
		{"Link without a relation", []string{"tags-link-form"}, changesLink(func(link string) string { return strings.TrimSuffix(link, `; rel="next"`) })},
		{"Link always", []string{"tags-link-more", "tags-last-end"}, successes(lists, func(r *reply) {
			r.header.Set("Link", `<`+r.request.URL.Path+`?last=zzzz>; rel="next"`)
		})},
	}
}
