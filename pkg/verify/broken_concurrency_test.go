package verify_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
)

func brokenConcurrency() []broken {
	return slices.Concat(brokenWriters(), brokenUploaders(), brokenRaceDeletes(), brokenReaders())
}

func brokenWriters() []broken {
	putTag, putDigest, putBlob := on("PUT", toTag), on("PUT", toDigest), on("PUT", toSession)
	mount := on("POST", `\?.*mount=`)
	crowd := on("POST", `-\d\d/blobs/uploads/\?.*mount=`) // without the one that tries whether mounts are offered
	return []broken{
		{
			"one lock for all pushes of manifests",
			[]string{"race-one-tag", "race-many-tags", "race-one-manifest-many-tags", "race-shared-base"},
			collides(putTag, raceRepo, collisionIs(http.StatusServiceUnavailable)),
		},
		{"a tag that moves is a conflict", []string{"race-one-tag"}, collides(putTag, racePath, collisionIs(http.StatusConflict))},
		{"the slower push of a tag is not stored", []string{"race-one-tag", "race-many-tags"}, collides(putTag, raceRepo, pretends)},
		{
			"tags kept in one file",
			[]string{"race-many-tags", "race-one-manifest-many-tags", "race-shared-base"},
			collides(putTag, raceRepo, losesTag),
		},
		{"a tag between two manifests", []string{"race-one-tag"}, sets(on("GET", toTag), "Docker-Content-Digest", anyDigest)},
		{"referrers kept in one file", []string{"race-referrers"}, collides(putDigest, raceRepo, pretends)},
		{"one lock for all uploads", []string{"race-shared-base", "race-one-blob", "race-uploads-apart"}, collides(putBlob, raceRepo, collisionIs(http.StatusServiceUnavailable))},
		{"a digest that is being uploaded is a conflict", []string{"race-one-blob"}, collides(putBlob, raceDigest, collisionIs(http.StatusConflict))},
		{"a rename that is in the way", []string{"race-one-blob", "race-one-blob-many-repositories"}, collides(putBlob, raceDigest, collisionIs(http.StatusInternalServerError))},
		{"the slower upload goes on for ever", []string{"race-one-blob"}, collides(putBlob, raceDigest, collisionIs(http.StatusAccepted))},
		{"the slower repository gets no link", []string{"race-one-blob-many-repositories"}, collides(putBlob, raceDigest, pretends)},
		{"a repository made twice", []string{"race-shared-base"}, collides(on("POST", toUploads), raceRepo, collisionIs(http.StatusConflict))},
		{"mounts collide", []string{"race-mounts"}, collides(crowd, raceDigest, collisionIs(http.StatusInternalServerError))},
		{"the slower mount gets no link", []string{"race-mounts"}, collides(crowd, raceDigest, pretends)},
		{"mounts done later", []string{"race-mounts"}, late(mount, on("GET|HEAD", toBlob), raceRepo, false)},
	}
}

func brokenUploaders() []broken {
	return []broken{
		{"one session for all", []string{"race-uploads-apart"}, oneSession},
		{"chunks put where they come", []string{"race-chunk-same", "race-chunk-different"}, chunksInTurn},
		{"the slower chunk is thrown away", []string{"race-chunk-different"}, collides(on("PATCH", toSession), racePath, pretends)},
		{"a chunk in the way", []string{"race-chunk-losers"}, collides(on("PATCH", toSession), racePath, collisionIs(http.StatusInternalServerError))},
		{"chunks that refuse each other", []string{"race-chunk-losers"}, refuses(on("PATCH", toSession), http.StatusConflict)},
		{"uploads stored later", []string{"race-upload-put", "race-one-blob", "race-cancel-put", "race-fresh-blob"}, late(on("PUT", toSession), on("GET|HEAD", toBlob), raceRepo, false)},
		{"a PUT in the way", []string{"race-upload-put-losers"}, collides(on("PUT", toSession), racePath, collisionIs(http.StatusInternalServerError))},
		{"PUTs that refuse each other", []string{"race-upload-put-losers"}, refuses(on("PUT", toSession), http.StatusConflict)},
		{"a cancel that takes the blob", []string{"race-cancel-put"}, cancelTakesBlob},
		{"a cancel that does nothing", []string{"race-cancel-chunk"}, pretending(on("DELETE", toSession))},
		{"a session that comes back", []string{"race-cancel-chunk"}, turns(on("GET", toSession), http.StatusNotFound, http.StatusNoContent)},
		{"half a blob", []string{"race-upload-readers"}, writing(on("PUT", toSession), on("GET|HEAD", toBlob), halfWritten)},
		{"a blob with its first chunk", []string{"race-upload-readers"}, turns(on("GET", toBlob), http.StatusNotFound, http.StatusOK)},
	}
}

// pretending answers some requests with success and does nothing.
func pretending(match when) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) {
				pretends(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// oneSession has one upload for all clients of a repository.
func oneSession(next http.Handler) http.Handler {
	var mu sync.Mutex
	first := map[string]*reply{}
	return answers(on("POST", toUploads), func(r *reply) {
		mu.Lock()
		defer mu.Unlock()
		if old := first[raceRepo(r.request)]; old != nil {
			r.header = old.header
		} else {
			first[raceRepo(r.request)] = r
		}
	})(next)
}

// chunksInTurn takes chunks one after the other and does not look where they belong.
func chunksInTurn(next http.Handler) http.Handler {
	var mu sync.Mutex
	chunk := on("PATCH", toSession)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if chunk(r) {
			mu.Lock()
			defer mu.Unlock()
			r.Header.Del("Content-Range")
		}
		next.ServeHTTP(w, r)
	})
}

// cancelTakesBlob takes the blob away with the session that it was uploaded in.
func cancelTakesBlob(next http.Handler) http.Handler {
	closed := newEvents()
	session := on("PUT|DELETE", toSession)
	var mu sync.Mutex
	digests := map[string]string{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !session(r):
			next.ServeHTTP(w, r)
		case r.Method == http.MethodPut:
			mu.Lock()
			digests[r.URL.Path] = raceDigest(r)
			mu.Unlock()
			got := record(next, r)
			closed.happened(r.URL.Path)
			// The answer must not be late, or else the case has gone on.
			closed.wait(r.URL.Path + " taken")
			got.send(w)
		default:
			closed.wait(r.URL.Path)
			mu.Lock()
			d := digests[r.URL.Path]
			mu.Unlock()
			record(next, httptest.NewRequest(http.MethodDelete, raceRepo(r)+"/blobs/"+d, nil))
			closed.happened(r.URL.Path + " taken")
			pretends(next, w, r)
		}
	})
}

func brokenRaceDeletes() []broken {
	return []broken{
		{"a tag that moves is a fault", []string{"race-delete-no-fault"}, movesAreFaults},
		{"a delete with yesterday's tags", []string{"race-delete-moved-tags"}, deleteWithOldTags},
		{
			"deletes done later",
			[]string{"race-delete-moved-tags", "race-fresh-delete", "race-fresh-delete-tag"},
			late(on("DELETE", toManifest), on("GET|HEAD", toManifest), raceRepo, false),
		},
		{"blob deletes done later", []string{"race-fresh-delete-blob"}, late(on("DELETE", toBlob), on("GET|HEAD", toBlob), raceRepo, false)},
		{"blob deletes that catch up", []string{"race-delete-blob-push"}, late(on("DELETE", toBlob), on("GET|HEAD", toBlob), racePath, true)},
		{"deleted tags stay listed", []string{"race-delete-tag-push", "race-delete-manifest-list"}, tagsStayListed},
		{"tag deletes that do nothing", []string{"race-delete-tag-push", "race-fresh-delete-tag"}, pretending(on("DELETE", toTag))},
		{"deleted for ever", []string{"race-delete-manifest-again"}, graves(on("DELETE", toDigest), on("GET|HEAD", toDigest), nil)},
		{"blobs deleted for ever", []string{"race-delete-blob-push"}, graves(on("DELETE", toBlob), on("GET|HEAD", toBlob), nil)},
		{"a tag goes with its manifest", []string{"race-delete-tag-push", "race-fresh-delete-tag"}, tagTakesManifest},
		{
			"blobs deleted everywhere",
			[]string{"race-delete-blob-mount", "race-delete-blob-elsewhere"},
			graves(on("DELETE", toBlob), on("GET|HEAD", `-other/blobs/sha`), on("POST|PUT", `(mount|digest)=`)),
		},
	}
}

// graves answers 404 to reads of what was once deleted, in whatever repository. A
// delete waits for the requests that must come first, if there are such.
func graves(remove, read, first when) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		happened := newEvents()
		name := func(r *http.Request) string { return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] }
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case remove(r):
				if first != nil {
					happened.wait(name(r) + " first")
				}
				next.ServeHTTP(w, r)
				happened.happened(name(r))
			case first != nil && first(r) && strings.Contains(raceRepo(r), "-other"):
				next.ServeHTTP(w, r)
				happened.happened(raceDigest(r) + " first")
			case read(r) && happened.has(name(r)):
				w.WriteHeader(http.StatusNotFound)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// tagTakesManifest deletes the manifest where its tag is deleted.
func tagTakesManifest(next http.Handler) http.Handler {
	return requests(on("DELETE", toTag), func(r *http.Request) {
		repo, tag := raceRepo(r), r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if d := tagged(next, repo, tag); d != "" {
			r.URL.Path = repo + "/manifests/" + d
		}
	})(next)
}

// tagged is the digest that a tag stands for, or empty.
func tagged(next http.Handler, repo, tag string) string {
	return record(next, httptest.NewRequest(http.MethodHead, repo+"/manifests/"+tag, nil)).header.Get("Docker-Content-Digest")
}

// deleteWithOldTags deletes the tags of a manifest as they were when the delete
// began. A tag that moves waits until the delete has begun, and the delete until
// one has moved.
func deleteWithOldTags(next http.Handler) http.Handler {
	happened := newEvents()
	remove, push := on("DELETE", toDigest), on("PUT", toTag)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo := raceRepo(r)
		switch {
		case remove(r):
			var old []string
			for _, tag := range tagsOf(record(next, httptest.NewRequest(http.MethodGet, repo+"/tags/list", nil))) {
				if strings.HasSuffix(r.URL.Path, tagged(next, repo, tag)) {
					old = append(old, tag)
				}
			}
			happened.happened(repo + " begun")
			happened.wait(repo + " moved")
			for _, tag := range old {
				record(next, httptest.NewRequest(http.MethodDelete, repo+"/manifests/"+tag, nil))
			}
			next.ServeHTTP(w, r)
		case push(r):
			tag := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
			d := tagged(next, repo, tag)
			moves := d != "" && d != string(oci.SHA256.FromBytes(requestBody(r)))
			if moves {
				happened.wait(repo + " begun")
			}
			got := record(next, r)
			if moves {
				happened.happened(repo + " moved")
			}
			got.send(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// tagList is the body of a tag list.
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func tagsOf(r *reply) []string {
	var list tagList
	_ = json.Unmarshal(r.body, &list) // of the registry itself
	return list.Tags
}

// changedTags changes the tags of a tag list.
func changedTags(change func(*http.Request, []string) []string) func(*reply) {
	return func(r *reply) {
		list := tagList{strings.TrimPrefix(raceRepo(r.request), "/v2/"), change(r.request, tagsOf(r))}
		b, _ := json.Marshal(list) // strings only
		r.setBody(b)
	}
}

// tagsStayListed lists every tag that ever was.
func tagsStayListed(next http.Handler) http.Handler {
	var mu sync.Mutex
	ever := map[string][]string{}
	remember := successes(on("PUT", toTag), func(r *reply) {
		mu.Lock()
		defer mu.Unlock()
		path := r.request.URL.Path
		repo := raceRepo(r.request)
		ever[repo] = append(ever[repo], path[strings.LastIndex(path, "/")+1:])
	})
	list := successes(on("GET", toTags), changedTags(func(r *http.Request, _ []string) []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Sorted(slices.Values(ever[raceRepo(r)])))
	}))
	return remember(list(next))
}

func brokenReaders() []broken {
	reads := on("GET|HEAD", `/v2/.`)
	moreTags, between, latest := on("PUT", `/manifests/[a-g]\d\d$`), on("PUT", `/manifests/[bdfhjlnp]$`), on("PUT", `/manifests/latest$`)
	tags := func(change func(tags []string) []string) func(*heldWrite, *reply) bool {
		return func(_ *heldWrite, r *reply) bool {
			changedTags(func(_ *http.Request, tags []string) []string { return change(tags) })(r)
			return true
		}
	}
	referrers := func(change func(ds []oci.Descriptor) []oci.Descriptor) func(*heldWrite, *reply) bool {
		return func(_ *heldWrite, r *reply) bool {
			var index oci.Index
			_ = json.Unmarshal(r.body, &index) // of the registry itself
			index.Manifests = change(index.Manifests)
			b, _ := json.Marshal(index)
			r.setBody(b)
			return true
		}
	}
	attach := on("PUT", toDigest)
	layers := func(r *http.Request) bool { return on("PUT", toSession)(r) && r.ContentLength > 10_000 }
	return []broken{
		{
			"a cache that nothing leaves",
			[]string{
				"race-fresh-tag", "race-fresh-manifest", "race-fresh-blob", "race-fresh-tag-list", "race-fresh-referrers",
				"race-fresh-delete", "race-fresh-delete-tag", "race-fresh-delete-blob",
			},
			nodeCaches(reads, 1),
		},
		{"a cache of tags that nothing leaves", []string{"race-fresh-tag", "race-fresh-delete", "race-fresh-delete-tag"}, nodeCaches(on("GET|HEAD", toTag), 1)},
		{
			"two nodes, one with a cache",
			[]string{
				"race-fresh-tag", "race-fresh-manifest", "race-fresh-blob", "race-fresh-tag-list", "race-fresh-referrers",
				"race-fresh-delete", "race-fresh-delete-tag", "race-fresh-delete-blob",
			},
			nodeCaches(reads, 2),
		},
		{
			"manifests stored later",
			[]string{"race-fresh-tag", "race-fresh-manifest", "race-fresh-tag-list", "race-fresh-referrers"},
			late(on("PUT", toManifest), reads, raceRepo, false),
		},
		{"manifest half written", []string{"race-manifest-readers", "race-tag-readers"}, writing(either(on("PUT", `/manifests/v`), afterFirst(latest)), on("GET|HEAD", toManifest), halfWritten)},
		{"a tag that is gone while it moves", []string{"race-tag-readers"}, writing(afterFirst(latest), on("GET|HEAD", toTag), readIs(http.StatusNotFound))},
		{"a new digest over old bytes", []string{"race-tag-readers"}, writing(afterFirst(latest), on("GET", toTag), func(h *heldWrite, r *reply) bool {
			same := bytes.Equal(h.body, r.body)
			r.header.Set("Docker-Content-Digest", h.digest())
			return !same
		})},
		{"readers wait for writers", []string{"race-pull-undisturbed"}, writing(layers, on("GET", toManifest), readIs(http.StatusServiceUnavailable))},
		{"blobs locked by pushes", []string{"race-pull-undisturbed"}, writing(on("PUT", `/manifests/v`), on("GET", toBlob), readIs(http.StatusInternalServerError))},
		{"tags twice while one is pushed", []string{"race-tag-list-readers"}, writing(moreTags, on("GET", toTags), tags(func(tags []string) []string {
			return append(tags, tags[len(tags)-1])
		}))},
		{"tags out of order while one is pushed", []string{"race-tag-list-readers"}, writing(moreTags, on("GET", toTags), tags(func(tags []string) []string {
			slices.Reverse(tags)
			return tags
		}))},
		{"tags missing while one is pushed", []string{"race-tag-list-readers"}, writing(moreTags, on("GET", toTags), tags(func(tags []string) []string {
			return tags[:1]
		}))},
		{"half a tag list", []string{"race-tag-list-readers"}, writing(moreTags, on("GET", toTags), func(_ *heldWrite, r *reply) bool {
			r.setBody(r.body[:len(r.body)/2])
			return true
		})},
		{"pages that skip a tag", []string{"race-tag-list-pages"}, writing(between, on("GET", `/tags/list\?.*last=`), tags(func(tags []string) []string {
			return tags[min(1, len(tags)):]
		}))},
		{"pages counted from the start", []string{"race-tag-list-pages"}, writing(between, on("GET", `/tags/list\?.*last=`), func(_ *heldWrite, r *reply) bool {
			changedTags(func(req *http.Request, tags []string) []string {
				return append([]string{req.URL.Query().Get("last")}, tags...)
			})(r)
			return true
		})},
		{"referrers twice while one is pushed", []string{"race-referrers-readers"}, writing(attach, on("GET", toReferrers), referrers(func(ds []oci.Descriptor) []oci.Descriptor {
			return append(ds, ds...)
		}))},
		{"referrers missing while one is pushed", []string{"race-referrers-readers"}, writing(attach, on("GET", toReferrers), referrers(func([]oci.Descriptor) []oci.Descriptor {
			return []oci.Descriptor{}
		}))},
		{"no referrers API while one is pushed", []string{"race-referrers-readers"}, writing(attach, on("GET", toReferrers), readIs(http.StatusNotFound))},
	}
}

// movesAreFaults answers 500 to a push of a tag that was pushed before.
func movesAreFaults(next http.Handler) http.Handler {
	var seen sync.Map
	return refuses(func(r *http.Request) bool {
		if !on("PUT", toTag)(r) {
			return false
		}
		_, known := seen.LoadOrStore(r.URL.Path, true)
		return known
	}, http.StatusInternalServerError)(next)
}
