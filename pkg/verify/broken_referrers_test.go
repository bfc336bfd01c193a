package verify_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func brokenReferrers() []broken {
	return slices.Concat(brokenSubjects(), brokenReferrerLists(), brokenReferrerPages())
}

// editsReferrers changes each entry of lists; nil leaves it out.
func editsReferrers(change func(r *reply, entry object) any) func(http.Handler) http.Handler {
	return editsJSON(on("GET", toReferrers), func(r *reply, body object) {
		list := []any{}
		for _, e := range body.list("manifests") {
			if changed := change(r, e.(map[string]any)); changed != nil {
				list = append(list, changed)
			}
		}
		body["manifests"] = list
	})
}

// without leaves fields out of each entry for which this is so.
func without(field string, so func(object) bool) func(http.Handler) http.Handler {
	return editsReferrers(func(_ *reply, entry object) any {
		if so(entry) {
			delete(entry, field)
		}
		return entry
	})
}

func isIndex(entry object) bool { return entry["mediaType"] == oci.MediaTypeImageIndex }

func hasConfigType(entry object) bool {
	t, _ := entry["artifactType"].(string)
	return strings.Contains(t, ".config.")
}

func brokenSubjects() []broken {
	var seen memory[bool]
	pushes := on("PUT", toManifest)
	return []broken{
		{"subject must be there", []string{"manifest-subject-missing"}, around(pushes, func(next http.Handler, r *http.Request) *reply {
			subject := readManifest(requestBody(r)).Subject.Digest
			if subject == "" || ask(next, "HEAD", repositoryOf(r.URL.Path)+"/manifests/"+subject).ok() {
				return record(next, r)
			}
			got := &reply{request: r}
			got.become(http.StatusBadRequest)
			return got
		})},
		{"no OCI-Subject", []string{"manifest-subject-header", "manifest-subject-header-index"}, drops(pushes, "OCI-Subject")},
		{"OCI-Subject has the manifest's own digest", []string{"manifest-subject-header", "manifest-subject-header-index"}, successes(pushes, func(r *reply) {
			if r.header.Get("OCI-Subject") != "" {
				r.header.Set("OCI-Subject", r.header.Get("Docker-Content-Digest"))
			}
		})},
		{"OCI-Subject at the first push alone", []string{"manifest-subject-header"}, successes(pushes, func(r *reply) {
			if _, again := seen.set(r.request.URL.Path, true); again {
				r.header.Del("OCI-Subject")
			}
		})},
		{"no OCI-Subject for an index", []string{"manifest-subject-header-index"}, answers(pushes, func(r *reply) {
			if r.request.Header.Get("Content-Type") == oci.MediaTypeImageIndex {
				r.header.Del("OCI-Subject")
			}
		})},
	}
}

func brokenReferrerLists() []broken {
	lists := on("GET", toReferrers)
	var tagged memory[bool]
	return []broken{
		{"no referrers API", []string{"referrers-api"}, refuses(on("GET", toReferrers), http.StatusNotFound)},
		{"no referrers are null", []string{"referrers-empty"}, editsJSON(lists, func(_ *reply, body object) {
			if len(body.list("manifests")) == 0 {
				body["manifests"] = nil
			}
		})},
		{"referrers of an unknown manifest are 404", []string{"referrers-empty", "referrers-before-subject", "referrers-form"}, around(lists, func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			if !ask(next, "HEAD", strings.Replace(r.URL.Path, "/referrers/", "/manifests/", 1)).ok() {
				got.become(http.StatusNotFound)
			}
			return got
		})},
		{"referrers are any JSON", []string{"referrers-content-type"}, sets(lists, "Content-Type", "application/json")},
		{"referrers without mediaType", []string{"referrers-form"}, editsJSON(lists, func(_ *reply, body object) { delete(body, "mediaType") })},
		{"referrers of schema 1", []string{"referrers-form"}, editsJSON(lists, func(_ *reply, body object) { body["schemaVersion"] = 1 })},
		{"referrers of size 0", []string{"referrers-image", "referrers-index"}, editsReferrers(func(_ *reply, entry object) any { entry["size"] = 0; return entry })},
		{"referrers are all images", []string{"referrers-index"}, editsReferrers(func(_ *reply, entry object) any { entry["mediaType"] = oci.MediaTypeImageManifest; return entry })},
		{
			"referrers listed by artifact type",
			[]string{"referrers-image", "referrers-index"},
			editsReferrers(func(_ *reply, entry object) any { entry["mediaType"] = entry["artifactType"]; return entry }),
		},
		{"indexes do not refer", []string{"referrers-index", "referrers-artifact-type", "referrers-annotations"}, editsReferrers(func(_ *reply, entry object) any {
			if isIndex(entry) {
				return nil
			}
			return entry
		})},
		{"tagged manifests do not refer", []string{"referrers-by-tag"}, chain(
			successes(on("PUT", toTag), func(r *reply) { tagged.set(r.header.Get("Docker-Content-Digest"), true) }),
			editsReferrers(func(_ *reply, entry object) any {
				if found, _ := tagged.get(entry["digest"].(string)); found {
					return nil
				}
				return entry
			}),
		)},
		{"no artifactType", []string{"referrers-artifact-type", "referrers-artifact-type-config"}, without("artifactType", func(object) bool { return true })},
		{"no artifactType for an index", []string{"referrers-artifact-type"}, without("artifactType", isIndex)},
		{"artifactType is the manifest's alone", []string{"referrers-artifact-type-config"}, without("artifactType", hasConfigType)},
		{"empty artifactType", []string{"referrers-artifact-type-omitted"}, editsReferrers(func(_ *reply, entry object) any {
			if _, set := entry["artifactType"]; !set {
				entry["artifactType"] = ""
			}
			return entry
		})},
		{"no annotations", []string{"referrers-annotations"}, without("annotations", func(object) bool { return true })},
		{"long annotations left out", []string{"referrers-annotations"}, editsReferrers(func(_ *reply, entry object) any {
			if all, set := entry["annotations"].(map[string]any); set {
				delete(all, "long")
			}
			return entry
		})},
		{"referrers are cached", []string{"referrers-at-once"}, caches(lists, (*reply).ok)},
		{"referrers before their subject are forgotten", []string{"referrers-before-subject"}, forgetsEarly()},
		{"referrers of referrers in one list", []string{"referrers-of-referrers"}, around(lists, func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			got.editJSON(func(body object) {
				for _, e := range body.list("manifests") {
					var below object
					target := repositoryOf(r.URL.Path) + "/referrers/" + e.(map[string]any)["digest"].(string)
					_ = json.Unmarshal(ask(next, "GET", target).body, &below)
					body["manifests"] = append(body.list("manifests"), below.list("manifests")...)
				}
			})
			return got
		})},
		{"an entry for each push", []string{"referrers-once"}, entryForEachPush()},
		{"referrers of all repositories", []string{"referrers-repositories-apart"}, around(lists, func(next http.Handler, r *http.Request) *reply {
			got := record(next, r)
			var other object
			repo := repositoryOf(r.URL.Path)
			_ = json.Unmarshal(ask(next, "GET", repo+"-other"+strings.TrimPrefix(r.URL.Path, repo)).body, &other)
			got.editJSON(func(body object) { body["manifests"] = append(body.list("manifests"), other.list("manifests")...) })
			return got
		})},
		{"referrers of sha256 alone", []string{"referrers-sha512"}, refuses(on("GET", `/referrers/sha512`), http.StatusBadRequest)},
		{"referrers of a bad digest are 404", []string{"referrers-invalid-digest"}, turns(lists, http.StatusBadRequest, http.StatusNotFound)},
		{"referrers of a bad digest are a fault", []string{"referrers-invalid-digest"}, turns(lists, http.StatusBadRequest, http.StatusInternalServerError)},
	}
}

// forgetsEarly forgets referrers that came before their subject.
func forgetsEarly() func(http.Handler) http.Handler {
	var early memory[bool]
	return chain(
		around(on("PUT", toManifest), func(next http.Handler, r *http.Request) *reply {
			subject := readManifest(requestBody(r)).Subject.Digest
			if subject != "" && !ask(next, "HEAD", repositoryOf(r.URL.Path)+"/manifests/"+subject).ok() {
				early.set(string(oci.SHA256.FromBytes(requestBody(r))), true)
			}
			return record(next, r)
		}),
		editsReferrers(func(_ *reply, entry object) any {
			if found, _ := early.get(entry["digest"].(string)); found {
				return nil
			}
			return entry
		}),
	)
}

// entryForEachPush lists a referrer as often as it was pushed.
func entryForEachPush() func(http.Handler) http.Handler {
	var pushes memory[int]
	return chain(
		successes(on("PUT", toManifest), func(r *reply) {
			d := r.header.Get("Docker-Content-Digest")
			n, _ := pushes.get(d)
			pushes.set(d, n+1)
		}),
		editsJSON(on("GET", toReferrers), func(_ *reply, body object) {
			list := []any{}
			for _, e := range body.list("manifests") {
				n, _ := pushes.get(e.(map[string]any)["digest"].(string))
				list = append(list, slices.Repeat([]any{e}, max(n, 1))...)
			}
			body["manifests"] = list
		}),
	)
}

func brokenReferrerPages() []broken {
	lists := on("GET", toReferrers)
	filtered := on("GET", `/referrers/.*artifactType=`)
	changesLink := func(pattern, with string) func(http.Handler) http.Handler {
		re := regexp.MustCompile(pattern)
		return successes(lists, func(r *reply) {
			if link := r.header.Get("Link"); link != "" {
				r.header.Set("Link", re.ReplaceAllString(link, with))
			}
		})
	}
	unfiltered := requests(filtered, func(r *http.Request) {
		q := r.URL.Query()
		q.Del("artifactType")
		r.URL.RawQuery = q.Encode()
	})
	return []broken{
		{"first page of referrers alone", []string{"referrers-pages", "referrers-filter-pages"}, drops(lists, "Link")},
		{"Link of referrers leads back", []string{"referrers-pages", "referrers-filter-pages"}, changesLink(`last=[^&>]*`, "last=")},
		{"Link of referrers loses the filter", []string{"referrers-filter-pages"}, changesLink(`artifactType=[^&>]*&?`, "")},
		{"referrers twice", []string{"referrers-pages", "referrers-filter-pages", "referrers-once"}, editsJSON(lists, func(_ *reply, body object) {
			body["manifests"] = slices.Repeat(body.list("manifests"), 2)
		})},
		{"no filter", []string{"referrers-filter"}, unfiltered},
		{
			"filter said and not applied",
			[]string{"referrers-filter", "referrers-filter-header", "referrers-filter-none", "referrers-filter-exact", "referrers-filter-config"},
			chain(sets(filtered, "OCI-Filters-Applied", "artifactType"), unfiltered),
		},
		{"filter not said", []string{"referrers-filter-header"}, drops(lists, "OCI-Filters-Applied")},
		{"filter always said", []string{"referrers-filter-header"}, sets(lists, "OCI-Filters-Applied", "artifactType")},
		{"no match is 404", []string{"referrers-filter-none"}, successes(filtered, func(r *reply) {
			r.editJSON(func(body object) {
				if len(body.list("manifests")) == 0 {
					r.status = http.StatusNotFound
				}
			})
		})},
		{"filter matches the beginning", []string{"referrers-filter-exact"}, around(filtered, func(next http.Handler, r *http.Request) *reply {
			got := ask(next, "GET", r.URL.Path)
			got.request = r
			got.header.Set("OCI-Filters-Applied", "artifactType")
			wanted := r.URL.Query().Get("artifactType")
			got.editJSON(func(body object) {
				body["manifests"] = slices.DeleteFunc(body.list("manifests"), func(e any) bool {
					t, _ := e.(map[string]any)["artifactType"].(string)
					return !strings.HasPrefix(t, wanted)
				})
			})
			return got
		})},
		{"filter is decoded twice", []string{"referrers-filter-exact"}, requests(filtered, func(r *http.Request) {
			r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, "%2B", "+")
		})},
		{"filter looks at artifactType alone", []string{"referrers-filter-config"}, editsReferrers(func(r *reply, entry object) any {
			if filtered(r.request) && hasConfigType(entry) {
				return nil
			}
			return entry
		})},
	}
}
