package verify

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/oci"
)

// maxPolls bounds how often a reader asks while writers are at work.
const maxPolls = 500

// meanwhile runs writers at once. Until the last of them is done, and once more
// after, the readers ask again and again.
func (t *T) meanwhile(writers int, write func(i int), read func()) {
	const readers = 2
	var running atomic.Int64
	running.Store(int64(writers))
	t.parallel(writers+readers, func(i int) {
		if i < writers {
			defer running.Add(-1)
			write(i)
			return
		}
		for range maxPolls {
			if running.Load() == 0 {
				break
			}
			read()
		}
		read()
	})
}

// upload pushes a blob with POST and PUT. Unlike pushBlob it holds that the POST
// succeeds to be part of the rule: sessions are opened in the crowd as well.
func (t *T) upload(repo repository, b blob) *answer {
	return t.finish(t.openUpload(repo), b.digest, b.content)
}

func (t *T) openUpload(repo repository) (location string) {
	return t.post(repo.uploads("")).wantStatus(http.StatusAccepted).location()
}

// finish sends the PUT that closes an upload, with the last bytes or with none.
func (t *T) finish(location string, d oci.Digest, content []byte) *answer {
	return t.put(AddQuery(location, "digest", string(d)), withBody(content), withHeader("Content-Type", octetStream))
}

// versions are n manifests over the same blobs, which are in the repository. Each
// wantHeader another size, so that a mixture of two is seen.
func (t *T) versions(repo repository, n int) []manifest {
	image := t.newImage(repo)
	ms := make([]manifest, n)
	for i := range ms {
		doc := image.doc
		doc.Annotations = t.annotated()
		doc.Annotations["land.pierless.verify.padding"] = strings.Repeat("x", 10*i)
		ms[i] = doc.encode()
	}
	return ms
}

// wantOneOf expects one of the manifests, whole and with its digest.
func (a *answer) wantOneOf(versions []manifest) {
	a.wantStatus(http.StatusOK)
	for _, m := range versions {
		switch {
		case a.digest() != string(m.digest):
		case a.Exchange.Method == http.MethodHead:
			a.wantLength(len(m.content))
			return
		default:
			a.wantBody(m.content)
			return
		}
	}
	a.want(false, "expected one of the %d manifests that were pushed, with its digest in Docker-Content-Digest", len(versions))
}

// wantWhole expects this manifest, whole.
func (a *answer) wantWhole(m manifest) { a.wantOneOf([]manifest{m}) }

// wantMissingOr expects 404, or 200 with these bytes and, where there is one, their
// true length. It tells whether they are there.
func (a *answer) wantMissingOr(content []byte) bool {
	if a.wantStatus(http.StatusOK, http.StatusNotFound).Status == http.StatusNotFound {
		return false
	}
	if a.Exchange.Method == http.MethodHead {
		a.wantLength(len(content))
	} else {
		a.wantBody(content)
	}
	return true
}

// listedTags asks for all tags, and expects them in order and each once. Tags that
// cases of this group make are in lower case: both orders of the spec are the same.
func (t *T) listedTags(repo repository) []string {
	a := t.get(repo.tags("")).wantStatus(http.StatusOK)
	tags := a.tagPage(repo)
	for next := a.next(); next != ""; next = a.next() {
		t.want(len(tags) < 1000, "the tag list has no end")
		a = t.get(next).wantStatus(http.StatusOK)
		tags = append(tags, a.tagPage(repo)...)
	}
	return tags
}

// tagPage reads a page of a tag list.
func (a *answer) tagPage(repo repository) []string {
	var page struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	a.decode(&page)
	a.want(page.Name == string(repo), "expected the name %q", repo)
	for i := 1; i < len(page.Tags); i++ {
		a.want(page.Tags[i-1] != page.Tags[i], "expected each tag once, %q is there twice", page.Tags[i])
		a.want(page.Tags[i-1] < page.Tags[i], "expected the tags in order, %q is before %q", page.Tags[i-1], page.Tags[i])
	}
	return page.Tags
}

// wantContains expects that the list has all of these.
func (t *T) wantContains(what string, list []string, all ...string) {
	for _, s := range all {
		t.want(slices.Contains(list, s), "%s does not have %s, only %d others", what, s, len(list))
	}
}

// sameRange tells whether a Range header speaks of the first n bytes, with or
// without the unit.
func sameRange(header string, n int) bool {
	return strings.TrimPrefix(header, "bytes=") == rangeTo(n)
}
